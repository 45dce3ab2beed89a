"""Tokens: stored one by one and many at once, replaced by compare-and-set, marked invalid and deleted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import (
    ACCESS,
    ACCOUNT,
    REFRESH,
    ContractFixtures,
    changes_of,
    events_of,
    key,
    row_of,
    tokens_of,
    value_of,
)
from vault_domain.entities.account import TokenKey, TokenKind
from vault_domain.entities.lifetime import LONGEST_LIFETIME
from vault_domain.entities.token import SealedToken, TokenRef, TokenStatus, TokenWrite
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.change import DataKeyInactiveError

HOUR = timedelta(hours=1)


class TokenCases(ContractFixtures):
    """store_token, store_tokens, get_token, get_tokens, mark_token_invalid, delete_token and delete_provider_tokens."""

    async def test_what_is_stored_comes_back(self, vault: TokenVault, clock: ManualClock) -> None:
        now = clock.now()
        stored = await vault.store_token(ACCESS, "v1", expires_at=now + HOUR, scopes=["b", "a", "b"])
        token = await vault.get_token(ACCESS)
        assert token is not None
        assert token.value.reveal() == "v1"
        assert token.info == stored
        assert (stored.key, stored.status, stored.error_code) == (ACCESS, TokenStatus.VALID, None)
        assert (stored.expires_at, stored.scopes, stored.generation) == (now + HOUR, ("b", "a"), 1)
        assert (stored.created_at, stored.updated_at) == (now, now)
        assert (stored.last_used_at, stored.last_refreshed_at, stored.lifetime) == (None, None, None)
        assert (await tokens_of(vault)) == {ACCESS: stored}

    async def test_an_open_store_answers(self, store: Store) -> None:
        await store.upkeep.ping()

    async def test_what_was_never_stored_is_none(self, vault: TokenVault) -> None:
        assert await vault.get_token(ACCESS) is None
        assert await vault.get_tokens([ACCESS]) == {}
        assert await vault.delete_token(ACCESS) is False
        assert (await vault.list_tokens("t1")).items == ()

    async def test_times_are_exact_and_in_utc(self, vault: TokenVault) -> None:
        moment = datetime.fromisoformat("2031-02-03T04:05:06.789012+05:30")
        stored = await vault.store_token(ACCESS, "v", expires_at=moment)
        assert stored.expires_at == moment
        assert stored.expires_at.utcoffset() == timedelta(0)
        [listed] = (await vault.list_tokens("t1")).items
        assert listed.expires_at == moment
        assert listed.expires_at.utcoffset() == timedelta(0)

    @pytest.mark.parametrize("text", ["1970-01-01T00:00:00+00:00", "9998-12-31T23:59:59.999999+00:00"])
    async def test_the_earliest_and_the_latest_expiry(self, vault: TokenVault, clock: ManualClock, text: str) -> None:
        moment = datetime.fromisoformat(text)
        stored = min(moment, clock.now() + LONGEST_LIFETIME)
        assert (await vault.store_token(ACCESS, "v", expires_at=moment)).expires_at == stored
        assert (await vault.store_token(ACCESS, "v", expires_at=stored)).expires_at == stored

    async def test_of_many_values_those_over_others_count_as_a_refresh(
        self, vault: TokenVault, clock: ManualClock
    ) -> None:
        await vault.store_tokens([(key(number), "v") for number in range(0, 40, 2)])
        clock.advance(HOUR)
        stored = await vault.store_tokens([(key(number), "w") for number in range(40)])
        assert [info.last_refreshed_at for info in stored] == [clock.now(), None] * 20

    async def test_each_stored_value_has_an_id_of_its_own(self, vault: TokenVault) -> None:
        first = await vault.store_token(ACCESS, "v1")
        again = await vault.store_token(ACCESS, "v1")
        await vault.delete_token(ACCESS)
        anew = await vault.store_token(ACCESS, "v1")
        assert len({first.value_id, again.value_id, anew.value_id}) == 3
        assert (await tokens_of(vault))[ACCESS].value_id == anew.value_id

    async def test_deleting_a_provider_leaves_the_others(self, vault: TokenVault) -> None:
        others = [key("a", provider="googl"), key("a", provider="google2"), TokenKey("t2", "google", "api_key", "a")]
        mine = [key("a"), key("b"), key("a", TokenKind.REFRESH_TOKEN), key(None, TokenKind.API_KEY)]
        await vault.store_tokens([(each, "v") for each in others + mine])
        assert await vault.delete_provider_tokens("t1", "google") == 4
        assert await vault.delete_provider_tokens("t1", "google") == 0
        assert set(await vault.get_tokens(others + mine)) == set(others)

    async def test_a_remembered_row_is_confirmed_only_while_it_is_stored(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        info = await vault.store_token(ACCESS, "v", expires_at=clock.now() + HOUR)
        if (await row_of(store)).version is None:
            pytest.skip("the store gives its rows no version")

        async def rotate() -> None:
            await vault.keys.rotate_data_key("t1")
            await vault.keys.reencrypt("t1")

        changes: list[Callable[[], Awaitable[object]]] = [
            lambda: store.accounts.record_uses({TokenRef.of(info): clock.now()}),
            rotate,
            lambda: vault.mark_token_invalid(info, "invalid_token"),
            lambda: vault.store_token(ACCESS, "w"),
            lambda: vault.delete_token(ACCESS),
        ]
        for change in changes:
            known = await row_of(store)
            assert (await store.accounts.get(ACCESS, known)).row is known
            clock.advance(HOUR / 60)
            await change()
            found = (await store.accounts.get(ACCESS, known)).answer
            assert found != known
            assert found == (await store.accounts.get(ACCESS)).answer

    async def test_many_at_once_come_back_in_their_order(self, vault: TokenVault, clock: ManualClock) -> None:
        keys = [TokenKey(f"t{number % 7}", "google", TokenKind.API_KEY, str(number)) for number in range(300)]
        keys = keys[1::2] + keys[-2::-2]
        stored = await vault.store_tokens([(each, f"v{each.identifier}", clock.now() + HOUR) for each in keys])
        assert [info.key for info in stored] == keys
        assert {info.generation for info in stored} == {1}
        found = await vault.get_tokens([*reversed(keys), keys[0]])
        assert list(found) == list(reversed(keys))
        assert all(token.value.reveal() == f"v{each.identifier}" for each, token in found.items())
        assert {info.generation for info in await vault.store_tokens([(each, "w") for each in keys])} == {2}
        assert await vault.store_tokens([]) == []
        assert await vault.get_tokens([]) == {}

    async def test_a_set_is_written_whole_or_not_at_all(self, store: Store, vault: TokenVault) -> None:
        await vault.store_token_set(ACCOUNT, TokenSet("a1", "r1"), label="before")
        before, events = await tokens_of(vault), await events_of(vault)
        for victim in (ACCESS, REFRESH):
            row = await row_of(store, victim)
            good = [TokenWrite(key, row.sealed) for key in (ACCESS, REFRESH)]
            bad = [
                evolve(write, sealed=SealedToken(bytes(16), row.sealed.blob)) if write.key == victim else write
                for write in good
            ]
            with pytest.raises(DataKeyInactiveError):
                await changes_of(store).store_set(ACCOUNT, bad, label="after", actor=None)
            with pytest.raises(DataKeyInactiveError):
                await store.accounts.store(bad, actor=None)
        info = await vault.get_account(ACCOUNT)
        assert info is not None
        assert info.label == "before"
        assert await tokens_of(vault) == before
        assert await events_of(vault) == events
        assert await value_of(vault, ACCESS) == "a1"
