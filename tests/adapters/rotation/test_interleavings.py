"""Other writers change the same rows at every moment between two store calls of a key rotation."""

from contextlib import asynccontextmanager

import pytest
from tests.adapters.rotation.gated import GatedStore
from tests.adapters.rotation.place import NEW, OLD, Place
from tests.support.databases import both_stores

from vault_adapters import Account, KeyUnavailableError, Rotation, TokenKey, TokenKind, TokenNotFoundError, TokenSet
from vault_adapters.composition import open_vault_over
from vault_adapters.stores.postgres.store import open_postgres_store
from vault_adapters.stores.sqlite.store import open_sqlite_store

pytestmark = pytest.mark.exhaustive


class Provider:
    """Answers every refresh with an access token; the refresh token stays valid."""

    rotation = Rotation.non_rotating()
    spends = TokenKind.REFRESH_TOKEN

    async def refresh(self, request):
        return TokenSet("refreshed", expires_in=3600)


@asynccontextmanager
async def gated_vault(place, secret=OLD, previous=None):
    """Open a vault over a gated store, and an ordinary vault over the same database."""
    if place.is_sqlite:
        opened = open_sqlite_store(place.url.removeprefix("sqlite:///"), migrate=True, clock=None)
    else:
        opened = open_postgres_store(place.url, migrate=True, schema=place.settings["postgres_schema"], pool_size=3)
    refreshers = {"acme": Provider()}
    async with opened as store:
        gated = GatedStore(store)
        async with (
            open_vault_over(gated, place.config(secret, previous), refreshers=refreshers) as vault,
            place.vault(secret, previous, refreshers=refreshers) as beside,
        ):
            yield gated, vault, beside


async def connect(vault, tenant):
    account = Account(tenant, "acme")
    await vault.store_token_set(account, TokenSet("first", "refresh", expires_in=3600))
    return account


async def value_of(vault, account):
    token = await vault.get_token(account.key(TokenKind.ACCESS_TOKEN))
    return None if token is None else (token.value.reveal(), token.info.generation)


ACTIONS = {
    "store": (lambda vault, a: vault.store_token(a.key(TokenKind.ACCESS_TOKEN), "stored"), ("stored", 2)),
    "delete": (lambda vault, a: vault.delete_token(a.key(TokenKind.ACCESS_TOKEN)), None),
    "refresh": (lambda vault, a: vault.refresh_account(a), ("refreshed", 2)),
    "rotate": (lambda vault, a: vault.keys.rotate_data_key(a.tenant_id), ("first", 1)),
    "reencrypt": (lambda vault, a: vault.keys.reencrypt(a.tenant_id), ("first", 1)),
    "erase": (lambda vault, a: vault.erase_tenant(a.tenant_id), None),
}


@both_stores
@pytest.mark.parametrize("action", ACTIONS)
async def test_something_happens_to_a_row_while_it_is_reencrypted(place, action):
    act, expected = ACTIONS[action]
    async with gated_vault(place) as (gated, vault, beside):

        async def rotate_all(tenant):
            await vault.keys.rotate_data_key(tenant)
            return await vault.keys.reencrypt(tenant)

        await connect(vault, "counted")
        moments = await gated.moments_of(lambda: rotate_all("counted"))
        assert moments >= 12
        for at in range(moments):
            tenant = f"t{at}"
            account = await connect(vault, tenant)
            try:
                report = await gated.run(at, lambda a=account: act(beside, a), lambda t=tenant: rotate_all(t))
            except AssertionError:
                assert action == "erase"  # the run ends before this moment, because nothing is left to rotate
                continue
            assert report.unreadable == ()
            for reader in (vault, beside):
                assert await value_of(reader, account) == expected
            await vault.keys.reencrypt(tenant)
            if action == "erase":  # no data key is made for a tenant without values
                assert place.rows(
                    "SELECT count(*) FROM {data_key} WHERE state <> 'destroyed' AND tenant_id = ?", tenant
                ) == [(0,)]
            under = place.rows(
                "SELECT count(*) FROM {token} t JOIN {data_key} d USING (tenant_id, data_key_id) "
                "WHERE d.state <> 'active' AND tenant_id = ?",
                tenant,
            )
            assert under == [(0,)]
            assert await value_of(beside, account) == expected


class Overtaken:
    """A real port of key rotation that runs `act` once, after it has read a page of rows."""

    def __init__(self, port):
        self._port = port
        self.act = None

    def __getattr__(self, name):
        return getattr(self._port, name)

    async def rows_to_reseal(self, *place):
        rows = await self._port.rows_to_reseal(*place)
        act, self.act = self.act, None
        if act is not None:
            await act()
        return rows


async def test_what_overtook_a_run_and_was_rotated_away_again_is_brought_over_by_it_too(place):
    """After a run read its rows, a value is replaced and the data key rotated. The run re-encrypts this value too."""
    async with open_sqlite_store(place.url.removeprefix("sqlite:///"), migrate=True, clock=None) as store:
        gated = GatedStore(store)
        gated.keys = overtaken = Overtaken(store.keys)
        async with open_vault_over(gated, place.config()) as vault, place.vault() as beside:
            account = await connect(vault, "t1")

            async def overtake():
                await beside.store_token(account.key(TokenKind.ACCESS_TOKEN), "newer")
                await beside.keys.rotate_data_key("t1")

            await vault.keys.rotate_data_key("t1")
            overtaken.act = overtake
            report = await vault.keys.reencrypt("t1")
            assert (report.overtaken, report.remaining) == (1, 0)
            assert await value_of(vault, account) == ("newer", 2)


WORK = {
    "store": (lambda vault, a: vault.store_token(a.key(TokenKind.ACCESS_TOKEN), "stored"), ("stored", 2)),
    "refresh": (lambda vault, a: vault.refresh_account(a), ("refreshed", 2)),
    "read": (lambda vault, a: vault.get_token(a.key(TokenKind.ACCESS_TOKEN)), ("first", 1)),
    "delete": (lambda vault, a: vault.delete_token(a.key(TokenKind.ACCESS_TOKEN)), None),
}


@both_stores
@pytest.mark.parametrize("work", WORK)
async def test_keys_are_rotated_in_the_middle_of(place, work):
    do, expected = WORK[work]
    async with gated_vault(place) as (gated, vault, beside):
        # Call `do` once before the count, because a process's first refresh also reads the pauses of clients.
        await do(vault, await connect(vault, "first"))
        account = await connect(vault, "counted")
        moments = await gated.moments_of(lambda: do(vault, account))
        assert moments >= 2
        for at in range(moments):
            account = await connect(vault, f"t{at}")

            async def rotate(account=account):
                await beside.keys.rotate_data_key(account.tenant_id)
                assert not (await beside.keys.reencrypt(account.tenant_id)).incomplete

            await gated.run(at, rotate, lambda a=account: do(vault, a))
            for reader in (vault, beside):
                assert await value_of(reader, account) == expected


@both_stores
@pytest.mark.parametrize("work", ["store", "refresh"])
async def test_a_tenant_is_erased_in_the_middle_of(place, work):
    do, _ = WORK[work]
    async with gated_vault(place) as (gated, vault, beside):
        # Call `do` once before the count, because a process's first refresh also reads the pauses of clients.
        await do(vault, await connect(vault, "first"))
        account = await connect(vault, "counted")
        moments = await gated.moments_of(lambda: do(vault, account))
        for at in range(moments):
            account = await connect(vault, f"t{at}")
            outcome = "done"
            try:
                await gated.run(at, lambda a=account: beside.erase_tenant(a.tenant_id), lambda a=account: do(vault, a))
            except TokenNotFoundError:
                outcome = "not found"
            value = await value_of(beside, account)
            if work == "refresh":
                # A refresh that ends after the erasure restores nothing.
                assert value is None
                assert place.rows("SELECT count(*) FROM {account} WHERE tenant_id = ?", account.tenant_id) == [(0,)]
            else:
                # The value was either stored before the erasure, and erased, or stored after it under a new data key.
                assert outcome == "done"
                assert value in (None, ("stored", 1))
            states = place.rows("SELECT state FROM {data_key} WHERE tenant_id = ? ORDER BY state", account.tenant_id)
            assert states == ([("destroyed",)] if value is None else [("active",), ("destroyed",)])


MASTER_ACTIONS = {
    "a process that knows only the old secret makes a tenant": "old",
    "a process that knows both makes a tenant": "both",
    "another rotator comes by": "rotate",
    "a tenant is erased": "erase",
}


@pytest.mark.parametrize("action", MASTER_ACTIONS.values(), ids=MASTER_ACTIONS)
async def test_something_happens_while_the_master_key_is_rotated(tmp_path, action):
    at, moments = 0, 1
    while at < moments:
        moments = await rotate_while(Place(f"sqlite:///{tmp_path}/{at}.db"), at, action)
        at += 1
    assert moments >= 14


async def rotate_while(place, at, action):
    """Rotate the master key, and do something at one moment; return how many moments there were."""
    key = TokenKey("made meanwhile", "acme", TokenKind.API_KEY)
    refused = []
    async with place.vault(OLD) as old_only, gated_vault(place, NEW, OLD) as (gated, vault, beside):
        await old_only.store_token(TokenKey("t1", "acme", TokenKind.API_KEY), "one")
        await old_only.store_token(TokenKey("t2", "acme", TokenKind.API_KEY), "two")

        async def act():
            if action == "rotate":
                assert not (await beside.keys.rotate_master_key()).incomplete
            elif action == "erase":
                await beside.erase_tenant("t2")
            else:
                refused.append(await attempt((old_only if action == "old" else beside), key))

        report = await gated.run(at, act, vault.keys.rotate_master_key)
        assert not report.incomplete
    async with place.vault(NEW) as new_only:
        assert (await new_only.get_token(TokenKey("t1", "acme", TokenKind.API_KEY))).value.reveal() == "one"
        if refused == [None]:
            assert (await new_only.get_token(key)).value.reveal() == "made"
        elif action in ("old", "both"):
            assert action == "old"  # too late: the only master key that it knows is retired
            assert refused == ["retired_master_key"]
    assert place.states() == ["retired", "active"]
    return gated.passed


async def attempt(vault, key):
    """Make a tenant; return why that was refused, or None."""
    try:
        await vault.store_token(key, "made")
    except KeyUnavailableError as error:
        return error.reason
    return None
