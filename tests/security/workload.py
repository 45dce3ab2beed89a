"""A workload that runs a vault through all of its life, with canaries as secrets and with many faults."""

import asyncio
import inspect
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.security.watching import Watcher
from tests.support.databases import Database

from vault_adapters import (
    Account,
    ReauthorizationRequiredError,
    RefreshFailedError,
    Secret,
    TokenKey,
    TokenKind,
    TokenSet,
    TokenVault,
    open_vault,
)
from vault_adapters.testing import ManualClock, ScriptedRefresher
from vault_domain.entities.extra import as_extra
from vault_domain.facade.keys import VaultKeys
from vault_domain.facade.states import VaultStates

HOUR = timedelta(hours=1)


def account(number: int) -> Account:
    """Return one of the accounts of three tenants."""
    return Account(f"t{number % 3}", "google", f"u{number}")


async def live(database: Database, canaries: list[str], watcher: Watcher) -> None:
    """Use every method, with and without faults, and leave the database as a running service leaves it."""
    supply = iter(canaries)
    clock, refresher = ManualClock(), ScriptedRefresher()
    async with open_vault(
        database.config(encryption_secret=next(supply) * 2), clock=clock, refreshers={"google": refresher}
    ) as vault:
        await _store(vault, supply)
        await _use(vault)
        await _refresh(vault, refresher, clock, supply, watcher)
        await _pass_wrong_arguments(vault, supply, watcher)
        await _tamper(database, vault, watcher)
        await _break_the_database(database, vault, supply, watcher)
        await _cancel(vault, supply)
        await _rotate(vault)
        for canary in supply:
            await vault.store_token(TokenKey("t9", "google", TokenKind.API_KEY, "over and over"), canary)
    await watcher.expect(lambda: vault.store_token(account(0).key(TokenKind.API_KEY), canaries[-1]))
    await watcher.expect(lambda: vault.store_tokens([(account(0).key(TokenKind.API_KEY), canaries[-1])]))
    await watcher.expect(lambda: vault.store_token_set(account(0), TokenSet(canaries[-1], canaries[-2])))
    for secret in (canaries[1] * 2, canaries[1][:20], canaries[1] + "\ud800"):
        await watcher.expect(lambda secret=secret: _open_and_close(database, secret))


async def _open_and_close(database: Database, secret: str) -> None:
    async with open_vault(database.config(encryption_secret=secret)):
        pass


async def _store(vault: TokenVault, supply: Iterator[str]) -> None:
    for number in range(40):
        await vault.store_token_set(account(number), TokenSet(next(supply), next(supply), expires_in=3600), label="Ann")
        await vault.store_token(account(number).key(TokenKind.API_KEY), Secret.from_fields(id="1", secret=next(supply)))
    bound = as_extra({"instance": next(supply)}).proved_by(Secret(next(supply)))
    await vault.store_token_set(account(38), TokenSet(next(supply), next(supply), token_type="DPoP", extra=bound))
    await vault.store_tokens([(account(number).key(TokenKind.WEBHOOK_SECRET), next(supply)) for number in range(40)])
    response = {"access_token": next(supply), "refresh_token": next(supply), "id_token": next(supply)}
    await vault.store_token_set(account(0), TokenSet.from_response({**response, "token_type": next(supply)}))


async def _use(vault: TokenVault) -> None:
    await asyncio.gather(*(vault.get_access_token(account(number)) for number in range(40)))
    keys = [account(number).key(kind) for number in range(20) for kind in TokenKind]
    shown = [await vault.get_tokens(keys), [token async for token in vault.iter_tokens("t0")], await vault.health()]
    shown += [[info async for info in vault.iter_accounts("t0")], [event async for event in vault.iter_audit_events()]]
    token = await vault.get_token(keys[0])
    assert token is not None
    await vault.mark_token_invalid(token, "invalid_token")
    await vault.delete_token(keys[-1])
    await vault.delete_account(account(39))


async def _refresh(
    vault: TokenVault, refresher: ScriptedRefresher, clock: ManualClock, supply: Iterator[str], watcher: Watcher
) -> None:
    refresher.then(
        TokenSet(next(supply), next(supply), expires_in=3600),
        RefreshFailedError(reason="temporarily_unavailable", retry_after=timedelta(seconds=1)),
        RefreshFailedError(next(supply), reason=next(supply), outcome_unknown=True, refresh_token=Secret(next(supply))),
        ReauthorizationRequiredError(next(supply), reason="invalid_grant"),
        LookupError(next(supply)),
    )
    await vault.refresh_account(account(3))
    for number in range(4, 8):
        await watcher.expect(lambda number=number: vault.refresh_account(account(number)))
    clock.advance(2 * HOUR)
    for number in range(8, 14):
        await watcher.expect(lambda number=number: vault.ensure_access_token(account(number)))
    await vault.refresh_due()


def _wrong(text: str) -> list[Any]:
    """Return an argument that no parameter takes, in several shapes."""
    refused = f"{text}\0"
    return [
        refused,
        refused.encode(),
        [refused],
        {refused: refused},
        (refused, refused),
        Secret(text),
        [(refused, text)],
    ]


async def _pass_wrong_arguments(vault: TokenVault, supply: Iterator[str], watcher: Watcher) -> None:
    methods = [(vault, *found) for found in inspect.getmembers(TokenVault, inspect.iscoroutinefunction)]
    methods += [(vault.keys, *found) for found in inspect.getmembers(VaultKeys, inspect.iscoroutinefunction)]
    methods += [(vault.states, *found) for found in inspect.getmembers(VaultStates, inspect.iscoroutinefunction)]
    for target, name, method in methods:
        parameters = list(inspect.signature(method).parameters.values())[1:]
        for parameter in parameters:
            for wrong in _wrong(next(supply)):
                arguments = {each.name: _right(each.name) for each in parameters if each.default is each.empty}
                arguments[parameter.name] = wrong
                try:
                    await getattr(target, name)(**arguments)
                except Exception as error:
                    watcher.see(error)
    for make in (Account, TokenKey, TokenSet, Secret, Secret.from_fields, TokenSet.from_response):
        for wrong in _wrong(next(supply)):
            for arguments in ([wrong], [wrong, wrong], ["t", wrong], ["t", "google", wrong]):
                try:
                    make(*arguments)
                except Exception as error:
                    watcher.see(error)
    await watcher.expect(lambda: vault.get_token(next(supply), next(supply), nothing=next(supply)))


def _right(name: str) -> Any:
    """Return an argument that the parameter of that name takes."""
    key = account(1).key(TokenKind.ACCESS_TOKEN)
    return {
        "key": key,
        "keys": [key],
        "value": "v",
        "items": [],
        "rows": [],
        "account": account(1),
        "token_set": TokenSet("v"),
        "within": HOUR,
        "older_than": 24 * HOUR,
        "content": "v",
        "bound_to": "v",
        "state": "v",
        "tenant_id": "nobody",
        "provider": "nobody",
        "error_code": "x",
        "uri": None,
        "token": None,
        "since": datetime(2030, 1, 1, tzinfo=UTC),
        "text": "nobody",
        "method": "GET",
        "url": "https://api.example.com",
    }[name]


async def _tamper(database: Database, vault: TokenVault, watcher: Watcher) -> None:
    # Copy a value of another kind, because a row that got its own value again would still be readable.
    first = "(SELECT blob FROM {token} WHERE kind <> 'webhook_secret' ORDER BY blob LIMIT 1)"
    database.execute(f"UPDATE {{token}} SET blob = {first} WHERE kind = 'webhook_secret'")
    for number in range(3):
        await watcher.expect(lambda number=number: vault.get_token(account(number).key(TokenKind.WEBHOOK_SECRET)))
    keys = [account(number).key(TokenKind.WEBHOOK_SECRET) for number in range(10)]
    await watcher.expect(lambda: vault.get_tokens(keys))


async def _break_the_database(database: Database, vault: TokenVault, supply: Iterator[str], watcher: Watcher) -> None:
    database.execute("ALTER TABLE {audit_event} RENAME TO elsewhere")
    moved = "{elsewhere}" if database.kind == "postgres" else "elsewhere"
    key, token_set = account(2).key(TokenKind.API_KEY), TokenSet(next(supply), next(supply))
    await watcher.expect(lambda: vault.store_token(key, next(supply)))
    await watcher.expect(lambda: vault.store_token(key, Secret(next(supply)), expected_generation=1))
    await watcher.expect(lambda: vault.store_tokens([(key, next(supply)), (account(2).key("webhook_secret"), "w")]))
    await watcher.expect(lambda: vault.store_token_set(account(2), token_set, label="Ann"))
    await watcher.expect(lambda: vault.delete_account(account(2)))
    name = "audit_event" if database.kind == "postgres" else "token_vault_audit_event"
    database.execute(f"ALTER TABLE {moved} RENAME TO {name}")
    await watcher.expect(lambda: vault.store_token(key, next(supply), expected_generation=99))


async def _cancel(vault: TokenVault, supply: Iterator[str]) -> None:
    for ticks in range(8):
        task = asyncio.create_task(vault.store_token(account(5).key(TokenKind.API_KEY), next(supply)))
        for _ in range(ticks):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _rotate(vault: TokenVault) -> None:
    await vault.keys.rotate_data_key("t0")
    await vault.keys.reencrypt()
    await vault.erase_tenant("t1")
