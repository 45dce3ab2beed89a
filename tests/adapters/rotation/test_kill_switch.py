"""The customer disables the tenant's key: within ``data_key_ttl``, no process opens a value; nothing is lost."""

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from tests.adapters.rotation.key_workers import move_for_ever, read_until
from tests.adapters.rotation.place import OLD, Place, read_all
from tests.support.databases import both_stores
from tests.support.fault_proxy import fault_proxy
from tests.support.processes import Call, start_processes
from tests.support.transit_server import running

from vault_adapters import (
    Account,
    DecryptionError,
    KeyUnavailableError,
    Rotation,
    TokenKey,
    TokenKind,
    TokenSet,
    Tuning,
)
from vault_adapters.testing import ScriptedRefresher

pytestmark = pytest.mark.processes

TTL = 2.0
OWN = TokenKey("own", "acme", TokenKind.API_KEY)
OTHER = TokenKey("other", "acme", TokenKind.API_KEY)
ACCOUNT = Account("own", "acme", "refreshed")


@pytest.fixture(scope="module")
def transit():
    with running() as server:
        yield server


@pytest.fixture
def place(place, transit, tmp_path):
    place.settings["tuning"] = Tuning(key_service_tokens=transit.tokens(tmp_path))
    return place


async def refused(call):
    with pytest.raises(KeyUnavailableError) as caught:
        await call
    return caught.value.reason


@pytest.mark.parametrize("mode", ["denied", "disabled"])
async def test_no_process_opens_a_value_when_the_key_is_disabled_and_all_do_again(place, transit, tmp_path, mode):
    key = f"{mode}-{place.is_sqlite}"
    async with place.vault() as vault:
        await vault.store_tokens([(OWN, "one"), (OTHER, "two")])
        await vault.keys.set_tenant_master_key("own", transit.uri(key))
    stop, settings = tmp_path / "stop", {"postgres_schema": place.settings.get("postgres_schema")}
    tokens = str(tmp_path / "tokens.json")
    # One reads from the database, one from its read cache, one from its memory of the last reads.
    memories = ({}, {"read_cache": 3600.0}, {"serve_stale": 3600.0})
    with start_processes(
        [Call(read_until, (place.url, settings, OLD, tokens, TTL, memory, str(stop))) for memory in memories]
    ) as group:
        group.go()
        async with asyncio.timeout(60):
            while len(list(tmp_path.glob("stop-*"))) < len(memories):  # noqa: ASYNC110 - other processes tell of their reads
                await asyncio.sleep(0.05)
        transit.make(key, mode)
        denied = time.time()
        await asyncio.sleep(TTL + 1.5)
        transit.make(key, "ok")
        enabled = time.time()
        await asyncio.sleep(8)
        stop.touch()
        results = group.results(timeout=60)
    for result in results:
        reads, others, reasons = result["own"], result["other"], result["reasons"]
        assert [at for at in reads if at < denied]
        assert [at for at in reads if denied + TTL + 0.3 < at < enabled] == []  # a read may be on its way
        assert reasons == ["key_denied"]
        assert [at for at in reads if at > enabled]
        assert max(b - a for a, b in pairwise(others)) < 1.5


async def test_refreshing_stops_first_and_an_answer_on_its_way_is_kept(place, transit):
    key = f"refresh-{place.is_sqlite}"
    asked, may_answer = asyncio.Event(), asyncio.Event()

    class Provider:
        rotation = Rotation.strict()
        spends = TokenKind.REFRESH_TOKEN
        count = 0

        async def refresh(self, request):
            self.count += 1
            asked.set()
            await may_answer.wait()
            return TokenSet(f"access-{self.count}", f"refresh-{self.count}", expires_in=3600)

    provider = Provider()
    times = {"data_key_ttl": timedelta(seconds=1), "refresh_deadline": timedelta(seconds=9)}
    async with place.vault(refreshers={"acme": provider}, **times) as vault:
        await vault.keys.set_tenant_master_key("own", transit.uri(key))
        soon = datetime.now(UTC) + timedelta(seconds=30)
        await vault.store_token_set(ACCOUNT, TokenSet("access-0", "refresh-0", expires_at=soon))
        refreshing = asyncio.ensure_future(vault.refresh_account(ACCOUNT))
        await asked.wait()
        transit.make(key, "denied")
        await asyncio.sleep(1.2)  # the data key leaves memory while the provider is thinking
        may_answer.set()
        await asyncio.gather(refreshing, return_exceptions=True)
        # No refresh can begin: it needs the opened credential.
        assert await refused(vault.refresh_account(ACCOUNT)) == "key_denied"
        report = await vault.refresh_due()
        assert provider.count == 1
        assert report.claimed <= 1
        assert await refused(vault.get_token(ACCOUNT.key(TokenKind.ACCESS_TOKEN))) == "key_denied"
        status = await vault.keys.status(tenant_id="own")
        assert status.tenant_key_problem == "key_denied"
        transit.make(key, "ok")
        assert (await vault.keys.status(tenant_id="own")).tenant_key_problem is None
        await asyncio.sleep(0.6)
        assert (await vault.get_token(ACCOUNT.key(TokenKind.ACCESS_TOKEN))).value.reveal() == "access-1"
        assert (await vault.refresh_account(ACCOUNT)).value.reveal() == "access-2"
        assert not [event async for event in vault.iter_audit_events() if "decryption" in event.action]


@pytest.mark.parametrize("store_kind", ["postgres"])
async def test_an_answer_in_the_journal_waits_sealed_until_the_key_is_back(place, transit, tmp_path):
    with fault_proxy(place.url) as proxy:
        through = Place(proxy.url, **place.settings)

        class Provider(ScriptedRefresher):
            async def refresh(self, request):
                transit.make("journal", "denied")
                proxy.refuse()
                return await super().refresh(request)

        settings = {"journal_dir": tmp_path / "journal", "data_key_ttl": timedelta(seconds=1)}
        settings["storage_timeout"] = timedelta(seconds=1)
        provider = Provider(TokenSet("access-1", "refresh-1", expires_in=3600))
        async with through.vault(refreshers={"acme": provider}, **settings) as vault:
            await vault.keys.set_tenant_master_key("own", transit.uri("journal"))
            await vault.store_token_set(ACCOUNT, TokenSet("access-0", "refresh-0", expires_in=3600))
            await asyncio.gather(vault.refresh_account(ACCOUNT), return_exceptions=True)
        proxy.heal()
        assert len(list((tmp_path / "journal").glob("*"))) >= 1
        async with through.vault(refreshers={"acme": provider}, **settings) as vault:
            assert await refused(vault.ensure_access_token(ACCOUNT)) == "key_denied"
            assert await read_all(vault, [OTHER]) == [None]
        transit.make("journal", "ok")
        async with through.vault(refreshers={"acme": provider}, **settings) as vault:
            assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-1"


async def test_erasing_a_tenant_needs_no_key(place, transit):
    key = f"erase-{place.is_sqlite}"
    async with place.vault() as vault:
        await vault.store_token(OWN, "one")
        await vault.keys.set_tenant_master_key("own", transit.uri(key))
    transit.make(key, "hang")
    async with place.vault() as vault:
        started = time.monotonic()
        report = await vault.erase_tenant("own")
        assert (report.tokens, report.data_keys, report.wraps) == (1, 1, 1)
        assert time.monotonic() - started < 3
        await vault.store_token(OWN, "afresh")
        assert await read_all(vault, [OWN]) == ["afresh"]
        assert (await vault.keys.status(tenant_id="own")).tenant_master_key is None


async def test_work_for_all_tenants_passes_over_a_tenant_whose_key_is_dead(place, transit):
    key = f"dead-{place.is_sqlite}"
    async with place.vault() as vault:
        await vault.store_tokens([(OWN, "one"), (OTHER, "two")])
        await vault.keys.set_tenant_master_key("own", transit.uri(key))
        assert (await vault.keys.rotate_data_keys()).rotated == 2
    transit.make(key, "sealed")
    async with place.vault() as vault:
        done = await vault.keys.reencrypt()
        assert (done.reencrypted, done.unreadable_count, done.unreadable[0].tenant_id) == (1, 1, "own")
        rotated = await vault.keys.rotate_data_keys()
        assert (rotated.rotated, rotated.unavailable) == (1, 1)
        assert (await vault.keys.status(tenant_id="own")).tenant_key_problem == "tenant_key_unavailable"
        # It cannot leave a key that does not answer, and nothing changes.
        assert await refused(vault.keys.set_tenant_master_key("own", None)) == "tenant_key_unavailable"
        transit.make(key, "ok")
        assert (await vault.keys.status(tenant_id="own")).tenant_key_problem is None  # this ends the pause
        assert (await vault.keys.set_tenant_master_key("own", None)).moved == 2
        assert (await vault.keys.reencrypt()).incomplete is False
        assert await read_all(vault, [OWN, OTHER]) == ["one", "two"]


@both_stores
async def test_a_move_that_is_killed_at_any_moment_leaves_every_value_readable(place, transit, tmp_path):
    uris = [transit.uri(f"killed-{place.is_sqlite}-{number}") for number in range(2)]
    values = [TokenKey("own", "acme", TokenKind.API_KEY, str(number)) for number in range(6)]
    async with place.vault() as vault:
        for key in values:
            await vault.store_token(key, key.identifier)
            await vault.keys.rotate_data_key("own")
    settings = {"postgres_schema": place.settings.get("postgres_schema")}
    chance = random.Random(7)
    for _ in range(4):
        call = Call(move_for_ever, (place.url, settings, OLD, str(tmp_path / "tokens.json"), [*uris, None]))
        with start_processes([call]) as group:
            group.go()
            group[0].wait_for_output("open")
            await asyncio.sleep(chance.uniform(0.02, 0.3))
            group[0].kill()
        async with place.vault() as vault:
            assert await read_all(vault, values) == [key.identifier for key in values]
            target = chance.choice([*uris, None])
            assert not (await vault.keys.set_tenant_master_key("own", target)).incomplete
            assert (await vault.keys.set_tenant_master_key("own", target)).moved == 0
            found = {bytes(wrapped) for (wrapped,) in place.rows("SELECT wrapped FROM {data_key_wrap}")}
            assert {b"transit:" in wrapped for wrapped in found} == {target is not None}


async def test_one_tenants_wrap_opens_nothing_of_another_tenant(place, transit):
    """Both have keys at one engine, even the same key."""
    key = f"shared-{place.is_sqlite}"
    async with place.vault() as vault:
        await vault.store_tokens([(OWN, "one"), (OTHER, "two")])
        for tenant_id in ("own", "other"):
            await vault.keys.set_tenant_master_key(tenant_id, transit.uri(key))
    [(theirs,)] = place.rows("SELECT wrapped FROM {data_key_wrap} WHERE tenant_id = 'other'")
    place.rows("UPDATE {data_key_wrap} SET wrapped = ? WHERE tenant_id = 'own'", bytes(theirs))
    async with place.vault() as vault:
        with pytest.raises(DecryptionError):
            await vault.get_token(OWN)
        assert await read_all(vault, [OTHER]) == ["two"]


async def test_erasing_a_tenant_while_it_moves(place, transit):
    uri = transit.uri(f"erased-{place.is_sqlite}")
    async with place.vault() as vault, place.vault() as another:
        for _ in range(5):
            await vault.store_token(OWN, "one")
            await asyncio.gather(another.keys.set_tenant_master_key("own", uri), vault.erase_tenant("own"))
            assert await read_all(vault, [OWN]) == [None]
            await vault.store_token(OWN, "again")
            assert await read_all(another, [OWN]) == ["again"]


async def test_an_export_passes_no_value_of_a_tenant_whose_key_is_denied(place, transit):
    key = f"export-{place.is_sqlite}"
    async with place.vault() as vault:
        await vault.store_tokens([(OWN, "one"), (OTHER, "two")])
        await vault.keys.set_tenant_master_key("own", transit.uri(key))
    transit.make(key, "denied")
    async with place.vault() as vault:
        assert await refused(vault.export_tokens("own")) == "key_denied"
        [token] = (await vault.export_tokens("other")).items
        assert token.value.reveal() == "two"
