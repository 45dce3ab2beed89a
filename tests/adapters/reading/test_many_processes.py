"""Processes change tokens at random while others read them from their caches; nobody reads what is too old."""

import asyncio
import contextlib
import random
import secrets
import time
from datetime import timedelta

import psycopg
import pytest
from tests.adapters.reading.reading_kit import terminate_listeners
from tests.support.processes import Call, start_processes

from vault_adapters import Account, TokenKind, TokenSet, VaultConfig, VaultError, open_vault
from vault_adapters.testing import ScriptedRefresher

pytestmark = pytest.mark.processes

SECRET = "a secret of the tests of many processes, long enough"
ACCOUNTS = 4
WRITING_SECONDS = 1.2
BOUND = 2.5
"""Seconds after which no reader may see what was replaced. The caches would keep it for an hour."""

READING_SECONDS = WRITING_SECONDS + BOUND + 0.5


def config_of(url, **settings):
    return VaultConfig(url, encryption_secret=SECRET, scrypt_log2_n=14, **settings)


def accounts_of(writer):
    return [Account(f"tenant-{writer}", "acme", str(number)) for number in range(ACCOUNTS)]


class Writer:
    """Changes its own accounts at random."""

    def __init__(self, vault, number, chance):
        self.vault, self.accounts, self.chance = vault, accounts_of(number), chance

    async def change(self):
        """Make a change; return the accounts that it concerns and the value that a reader then gets."""
        kind = self.chance.choice([self.store, self.store_set, self.store_set, self.refresh, self.mark, self.delete])
        account = self.chance.choice(self.accounts)
        if self.chance.random() < 0.1:
            await self.vault.erase_tenant(account.tenant_id)
            return self.accounts, None
        return [account], await kind(account)

    async def store(self, account):
        await self.vault.store_token(account.key(TokenKind.ACCESS_TOKEN), value := new_value())
        return value

    async def store_set(self, account):
        await self.vault.store_token_set(account, TokenSet(value := new_value(), "refresh", expires_in=3600))
        return value

    async def refresh(self, account):
        return (await self.vault.refresh_account(account)).value.reveal()

    async def mark(self, account):
        token = await self.vault.get_token(account.key(TokenKind.ACCESS_TOKEN))
        if token is None:
            return None
        await self.vault.mark_token_invalid(token, "revoked")
        return f"{token.value.reveal()} invalid"

    async def delete(self, account):
        await self.vault.delete_account(account)


def new_value():
    return secrets.token_hex(8)


async def refreshed(request):
    return TokenSet(new_value(), "refresh", expires_in=3600)


async def write(url, number):
    """Make changes; return each with its begin and end, by the monotonic clock, which all processes share."""
    chance, history = random.Random(number), []
    refreshers = {"acme": ScriptedRefresher(*[refreshed] * 5000)}
    async with open_vault(config_of(url), refreshers=refreshers) as vault:
        writer, end = Writer(vault, number, chance), time.monotonic() + WRITING_SECONDS
        while (began := time.monotonic()) < end:
            with contextlib.suppress(VaultError):  # there is nothing to refresh
                concerned, value = await writer.change()
                ended = time.monotonic()
                history += [[each.tenant_id, each.identifier, began, ended, value] for each in concerned]
            await asyncio.sleep(chance.random() * 0.02)
    return history


async def read(url, writers, seed):
    """Read all accounts at random; return what each read returned, with its begin and end."""
    chance = random.Random(seed)
    accounts = [account for writer in range(writers) for account in accounts_of(writer)]
    history = []
    async with open_vault(config_of(url, read_cache=timedelta(hours=1))) as vault:
        end = time.monotonic() + READING_SECONDS
        while time.monotonic() < end:
            account = chance.choice(accounts)
            began = time.monotonic()
            token = await vault.get_token(account.key(TokenKind.ACCESS_TOKEN))
            ended = time.monotonic()
            value = None if token is None else token.value.reveal()
            if token is not None and token.info.status == "invalid":
                value += " invalid"
            history.append([account.tenant_id, account.identifier, began, ended, value])
            await asyncio.sleep(chance.random() * 0.004)
    return history


def too_old(writes, reads):
    """Return the reads of values that had been replaced for longer than the bound when the read began."""
    changes = {}
    for tenant_id, name, began, ended, value in sorted(writes, key=lambda each: each[2]):
        changes.setdefault((tenant_id, name), [(0.0, 0.0, None)]).append((began, ended, value))
    found = []
    for tenant_id, name, began, ended, value in reads:
        history = changes.get((tenant_id, name), [(0.0, 0.0, None)])
        until = [ended_ for _, ended_, _ in history[1:]] + [float("inf")]
        fits = any(
            stored == value and since <= ended and gone >= began - BOUND
            for (since, _, stored), gone in zip(history, until, strict=True)
        )
        if not fits:
            found.append((tenant_id, name, began, value))
    return found


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_no_reader_sees_what_is_too_old(kind, tmp_path, request):
    url = f"sqlite:///{tmp_path}/vault.db" if kind == "sqlite" else request.getfixturevalue("url")
    asyncio.run(prepare(url))
    jobs = [*(Call(write, [url, n]) for n in range(2)), *(Call(read, [url, 2, n]) for n in range(2))]
    with start_processes(jobs) as group:
        group.go()
        ended = 0
        if kind == "postgres":
            stop = time.monotonic() + WRITING_SECONDS
            while time.monotonic() < stop:
                time.sleep(0.3)
                with contextlib.suppress(psycopg.Error):
                    ended += terminate_listeners(url)
        first, second, *reads = group.results()
    reads = [each for history in reads for each in history]
    assert len(first) > 10
    assert len(reads) > 200
    assert len({value for *_, value in reads}) > 5
    assert too_old([*first, *second], reads) == []
    assert kind == "sqlite" or ended > 0


async def prepare(url):
    async with open_vault(config_of(url)) as vault:
        await vault.store_token(accounts_of(0)[0].key(TokenKind.API_KEY), "first")
