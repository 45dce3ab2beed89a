"""After another write at any step of a refresh, no value is lost, no deleted one returns, no new one turns invalid."""

import asyncio

import pytest
from tests.adapters.refresh.refresh_kit import ACCOUNT, HOUR, account_state, answer, store, stored
from tests.adapters.refresh.stepping import SteppedStore, Steps
from tests.support.databases import both_stores

from vault_adapters import ReauthorizationRequiredError, TokenKind, TokenSet, VaultError
from vault_adapters.composition import open_vault_over
from vault_adapters.stores.postgres.store import open_postgres_store
from vault_adapters.stores.sqlite.store import open_sqlite_store
from vault_adapters.testing import ScriptedRefresher
from vault_domain.rules.timing import RefreshTiming

pytestmark = pytest.mark.exhaustive

ACCESS, REFRESH = ACCOUNT.key(TokenKind.ACCESS_TOKEN), ACCOUNT.key(TokenKind.REFRESH_TOKEN)


@pytest.fixture
def store_kind():
    """Run over Postgres, where writers of one account meet: SQLite lets in one writer at a time."""
    return "postgres"


@pytest.fixture
async def the_store(config, clock):
    url = config.database_url.reveal()
    if url.startswith("sqlite"):
        opening = open_sqlite_store(url.removeprefix("sqlite:///"), migrate=True, clock=clock.now)
    else:
        schema = config.postgres_schema
        opening = open_postgres_store(url, migrate=True, clock=clock.now, schema=schema)
    async with opening as opened:
        yield opened


# The other writes, and the tokens that may be stored after them.


async def store_set(vault):
    await store(vault, 7)


async def store_access(vault):
    await vault.store_token(ACCESS, "access-7")


async def store_refresh(vault):
    await vault.store_token(REFRESH, "refresh-7")


async def store_access_set(vault):
    await vault.store_token_set(ACCOUNT, TokenSet("access-7", expires_in=HOUR))


async def delete_account(vault):
    await vault.delete_account(ACCOUNT)


async def delete_and_store(vault):
    await vault.delete_account(ACCOUNT)
    await store(vault, 7)


async def delete_access(vault):
    await vault.delete_token(ACCESS)


async def delete_refresh(vault):
    await vault.delete_token(REFRESH)


async def delete_provider(vault):
    await vault.delete_provider_tokens("t1", "acme")


async def mark_access(vault):
    await vault.mark_token_invalid(await vault.get_token(ACCESS), "invalid_token")


async def mark_refresh(vault):
    await vault.mark_token_invalid(await vault.get_token(REFRESH), "revoked")


PLACES = ["before read", "after read", "before claim", "after claim", "provider", "before commit", "after commit"]
OTHERS = [store_set, store_access, store_refresh, store_access_set, delete_account, delete_and_store, delete_access,
          delete_refresh, delete_provider, mark_access, mark_refresh]  # fmt: skip


def may_be_stored(other, place, rejects):
    """Return the expected token of each kind after another write during a refresh (None: no token).

    A kind that is left out is not checked.
    """
    sent = place in ("provider", "before commit")
    late = place == "after commit"
    if rejects:
        return {
            store_set: {"access_token": "access-7", "refresh_token": "refresh-7"},
            store_access: {"access_token": "access-7"},
            store_refresh: {"refresh_token": "refresh-7"},
            store_access_set: {"access_token": "access-7"},
            delete_account: {},
            delete_and_store: {"access_token": "access-7", "refresh_token": "refresh-7"},
            delete_access: {"access_token": None},
            delete_refresh: {"refresh_token": None},
            delete_provider: {},
            mark_access: {"access_token": "access-0 invalid: invalid_token"},
            mark_refresh: {"access_token": "access-0"},
        }[other]
    won = {"access_token": "access-1", "refresh_token": "refresh-1"}
    return {
        store_set: {"access_token": "access-7", "refresh_token": "refresh-7"},
        # The token that was written keeps its value; the other one is refreshed if the request had been sent.
        store_access: {"access_token": "access-7"} | ({"refresh_token": "refresh-1"} if sent or late else {}),
        store_refresh: {"refresh_token": "refresh-7"} if sent or late else {},
        store_access_set: {"access_token": "access-7"} | ({"refresh_token": "refresh-1"} if sent or late else {}),
        delete_account: {},
        delete_and_store: {"access_token": "access-7", "refresh_token": "refresh-7"},
        delete_access: {"access_token": None, "refresh_token": "refresh-1"} if late else {},
        delete_refresh: {"refresh_token": None},
        delete_provider: {},
        mark_access: {"access_token": "access-1 invalid: invalid_token"} if late else won,
        # A strict provider that revoked the old refresh token may have revoked its replacement too.
        mark_refresh: won | {"refresh_token": "refresh-1 unknown: revoked"} if sent else {},
    }[other]


async def interleave(config, the_store, clock, place, other, rejects):
    """Return what is stored in the end, the caller's result, and the refresher."""
    steps = Steps(place)

    async def ask(request):
        await steps.at("provider")
        if rejects:
            raise ReauthorizationRequiredError(reason="invalid_grant")
        return answer(1)

    # The script has one answer: a second call fails, so that it cannot change what is stored.
    refresher = ScriptedRefresher(ask)
    stepped = SteppedStore(the_store, steps)
    async with (
        open_vault_over(the_store, config) as vault,
        open_vault_over(stepped, config, refreshers={"acme": refresher}) as refreshing,
    ):
        await store(vault)
        clock.advance(HOUR)
        call = asyncio.create_task(refreshing.ensure_access_token(ACCOUNT))
        async with asyncio.timeout(20):
            await steps.reached.wait()
            await other(vault)
            steps.go_on.set()
            [result] = await asyncio.gather(call, return_exceptions=True)
        return await stored(vault), result, refresher


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("other", OTHERS)
async def test_a_refresh_and_another_write(config, the_store, clock, place, other):
    found, result, refresher = await interleave(config, the_store, clock, place, other, rejects=False)
    expected = may_be_stored(other, place, rejects=False)
    if other in (delete_account, delete_provider):
        assert found == {}
    assert {kind: found.get(kind) for kind in expected} == expected
    if isinstance(result, VaultError):
        assert result.code in ("reauthorization_required", "token_not_found", "provider_configuration")
    else:
        assert result.value.reveal() in ("access-1", "access-7")
    assert len(refresher.calls) <= 2
    assert not any(row["lease_until"] for row in account_state(config))


@pytest.mark.parametrize("place", ["provider", "before reject"])
@pytest.mark.parametrize("other", OTHERS)
async def test_a_refused_refresh_and_another_write(config, the_store, clock, place, other):
    found, _, _ = await interleave(config, the_store, clock, place, other, rejects=True)
    expected = may_be_stored(other, place, rejects=True)
    if other in (delete_account, delete_provider):
        assert found == {}
    assert {kind: found.get(kind) for kind in expected} == expected
    # Only the value that was refused may become invalid, never what was stored meanwhile.
    assert not {text for text in found.values() if "-7 invalid" in text}
    if other in (store_access, store_access_set, delete_access):
        assert found["refresh_token"] == "refresh-0 invalid: invalid_grant"
    if other is mark_refresh:
        assert found["refresh_token"].startswith("refresh-0 invalid")
    assert not any(row["lease_until"] for row in account_state(config))


@both_stores
async def test_two_refreshes_of_one_account_stop_at_each_step(config, the_store, clock):
    """Wherever the first refresh stops, both together call the provider once, and both callers get the same token."""
    for place in [*PLACES[:4], "provider", "before commit", "after commit"]:
        steps = Steps(place)

        async def ask(request, steps=steps):
            await steps.at("provider")
            return answer(1)

        async def ask_again(request):
            return answer(2)

        first, second = ScriptedRefresher(ask), ScriptedRefresher(ask_again)
        async with (
            open_vault_over(SteppedStore(the_store, steps), config, refreshers={"acme": first}) as one,
            open_vault_over(the_store, config, refreshers={"acme": second}) as two,
        ):
            await store(two)
            clock.advance(HOUR)
            calls = [asyncio.create_task(one.ensure_access_token(ACCOUNT))]
            await steps.reached.wait()
            calls.append(asyncio.create_task(two.ensure_access_token(ACCOUNT)))
            await asyncio.sleep(0.1)
            steps.go_on.set()
            tokens = await asyncio.gather(*calls)
            assert len({token.value.reveal() for token in tokens}) == 1, place
            assert len(first.calls) + len(second.calls) == 1, place
            await two.delete_account(ACCOUNT)


async def test_nothing_is_sent_with_too_little_left_of_the_lease(sqlite_config):
    """A process that was held up between claim and request gives the lease back and claims again."""
    places = []

    class CountingSteps(Steps):
        async def at(self, place):
            places.append(place)
            await super().at(place)

    steps = CountingSteps("after claim")
    refresher = ScriptedRefresher(answer(1))
    path = sqlite_config.database_url.reveal().removeprefix("sqlite:///")
    async with open_sqlite_store(path, migrate=True, clock=None) as store_below:
        stepped = SteppedStore(store_below, steps)
        async with open_vault_over(stepped, sqlite_config, refreshers={"acme": refresher}) as vault:
            await vault.store_token_set(ACCOUNT, TokenSet("access-0", "refresh-0", expires_in=0))
            call = asyncio.create_task(vault.ensure_access_token(ACCOUNT))
            await steps.reached.wait()
            await asyncio.sleep(RefreshTiming().slack.total_seconds() + 0.1)
            assert refresher.calls == []
            steps.go_on.set()
            assert (await call).value.reveal() == "access-1"
    assert places.count("before claim") == 2
    assert len(refresher.calls) == 1
