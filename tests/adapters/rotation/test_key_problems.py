"""An account whose tenant's own key is denied is shown as that in every process, until the key is back."""

import asyncio
import time
from datetime import timedelta

import pytest
from tests.adapters.web.conftest import browsing
from tests.support.databases import both_stores
from tests.support.transit_server import running

from vault_adapters import Account, ConnectionState, TokenKey, TokenKind, TokenSet, Tuning
from vault_adapters.crypto.key_problems import with_own_keys
from vault_adapters.web import dashboard

OWN, OTHER, ENDED = (Account(tenant, "acme", "ann") for tenant in ("own", "other", "ended"))
CONNECTED, RETRYING, REAUTHORIZE = ConnectionState


@pytest.fixture(scope="module")
def transit():
    with running() as server:
        yield server


@pytest.fixture
async def key(place, transit, tmp_path):
    """Store three accounts, two of them of tenants with keys of their own; give the name of these keys."""
    place.settings.update(tuning=Tuning(key_service_tokens=transit.tokens(tmp_path)), data_key_ttl=timedelta(seconds=1))
    key = f"shown-{place.is_sqlite}-{tmp_path.name}"
    async with place.vault() as vault:
        for account in (OWN, OTHER, ENDED):
            await vault.store_token_set(account, TokenSet("access", "refresh", expires_in=3600))
        for account in (OWN, ENDED):
            await vault.keys.set_tenant_master_key(account.tenant_id, transit.uri(key))
        ended = await vault.get_token(ENDED.key(TokenKind.REFRESH_TOKEN))
        await vault.mark_token_invalid(ended, "invalid_grant")
    return key


async def shown(vault):
    """Return state and reason of all accounts, as each of the ways to ask tells them."""
    every = {info.account.tenant_id: (info.state, info.reason) for info in (await vault.list_accounts()).items}
    for account in (OWN, OTHER, ENDED):
        one = await vault.get_account(account)
        [listed] = (await vault.list_accounts(account.tenant_id)).items
        assert (one.state, one.reason) == (listed.state, listed.reason) == every[account.tenant_id]
        assert (await vault.list_accounts(account.tenant_id, state=one.state)).items == (one,)
    return every


@pytest.mark.parametrize(("mode", "reason"), [("denied", "key_denied"), ("sealed", "tenant_key_unavailable")])
async def test_a_key_that_is_denied_is_shown_by_a_process_that_never_opened_a_value(place, transit, key, mode, reason):
    intact = {
        "own": (CONNECTED, None),
        "other": (CONNECTED, None),
        "ended": (REAUTHORIZE, "invalid_grant"),  # its user has to act in any case
    }
    async with place.vault() as vault:
        assert await shown(vault) == intact
        transit.make(key, mode)
        assert (await vault.get_account(OWN)).state is CONNECTED, "its data key is still held, so its values open"
        await asyncio.sleep(1.1)
        assert await shown(vault) == {**intact, "own": (RETRYING, reason)}
        assert (await vault.list_accounts(state=CONNECTED)).items == (await vault.get_account(OTHER),)
    async with place.vault() as vault:
        assert await shown(vault) == {**intact, "own": (RETRYING, reason)}
        async with browsing(dashboard(vault)) as browser:
            page = (await browser.get("/account?tenant=own&provider=acme&identifier=ann")).text
            assert "own master key cannot be used" in page
            assert "Somebody must act." in page
        transit.make(key, "ok")
        for _ in range(100):  # until the pause is over
            if (await vault.get_account(OWN)).reason is None:
                break
            await asyncio.sleep(0.2)
        assert await shown(vault) == intact


async def test_a_key_that_hangs_does_not_hold_up_the_list(place, transit, key):
    transit.make(key, "hang")
    async with place.vault() as vault:
        began = time.monotonic()
        assert (await vault.get_account(OTHER)).state is CONNECTED
        assert time.monotonic() - began < 1
        assert len((await vault.list_accounts()).items) == 3
        assert time.monotonic() - began < 3
        await asyncio.sleep(4)  # the call to the key service has ended in vain
        began = time.monotonic()
        assert (await vault.get_account(OWN)).reason == "tenant_key_unavailable"
        assert time.monotonic() - began < 3


async def test_a_denied_key_is_found_among_many_tenants(place, transit, key):
    transit.make(key, "denied")
    async with place.vault() as vault:
        many = [TokenKey(f"tenant-{number:03}", "acme", TokenKind.API_KEY) for number in range(120)]
        await vault.store_tokens([(each, "value") for each in many])
    async with place.vault() as vault:
        infos = (await vault.list_accounts()).items
        assert len(infos) == 123
        assert [info.account for info in infos if info.reason == "key_denied"] == [OWN]


@both_stores
async def test_the_data_keys_between_the_first_and_the_last_tenant_are_read_by_pages(place, transit, key):
    """Of few tenants among many others, those that were not reached count as if they had keys of their own."""
    names = [f"t{number:04}" for number in range(1700)]
    async with place.vault() as vault:
        await vault.store_tokens([(TokenKey(name, "acme", TokenKind.API_KEY), "value") for name in names])
        for name in ("t0001", "t1100", "t1699", "z"):
            await vault.keys.set_tenant_master_key(name, transit.uri(key))
        repository = vault._services.listing._cipher._keyring._repository
        assert await with_own_keys(repository, set(names)) == {"t0001", "t1100", "t1699"}
        assert await with_own_keys(repository, set(names) - {"t1100"}) == {"t0001", "t1699"}
        few = set(names[::30])
        found = await with_own_keys(repository, few)
        assert {name for name in few if name > "t1000"} <= found
        assert not {name for name in few if name < "t0900"} & found
