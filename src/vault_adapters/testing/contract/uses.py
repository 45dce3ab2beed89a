"""The time of a token's last use; the vault records it in batches, some time after the use."""

from __future__ import annotations

from datetime import timedelta

from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import (
    ACCESS,
    ACCOUNT,
    REFRESH,
    ContractFixtures,
    events_of,
    row_of,
    tokens_of,
)
from vault_domain.entities.token import TokenRef
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


class UseCases(ContractFixtures):
    """`Accounts.record_uses`."""

    async def test_recording_a_use_changes_only_the_time_of_last_use(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        await vault.store_token_set(ACCOUNT, TokenSet("a", "r"), label="Ann")
        before, events = await tokens_of(vault), await events_of(vault)
        record = (await store.accounts.read(ACCOUNT)).record
        clock.advance(MINUTE)
        moments = {TokenRef.of(before[ACCESS]): clock.now(), TokenRef.of(before[REFRESH]): clock.now() - SECOND}
        await store.accounts.record_uses(moments)
        used = {key: evolve(info, last_used_at=moments[TokenRef.of(info)]) for key, info in before.items()}
        assert await tokens_of(vault) == used
        assert await events_of(vault) == events
        now = (await store.accounts.read(ACCOUNT)).record
        assert record is not None
        assert now == evolve(record, tokens={key.kind: info for key, info in used.items()})

    async def test_the_time_of_last_use_never_goes_back(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        ref = TokenRef.of(await vault.store_token(ACCESS, "v"))
        for moment in (MINUTE, timedelta(0), MINUTE - SECOND):
            await store.accounts.record_uses({ref: clock.now() + moment})
        assert (await row_of(store)).info.last_used_at == clock.now() + MINUTE

    async def test_a_use_of_a_replaced_value_is_recorded(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        ref = TokenRef.of(await vault.store_token(ACCESS, "v"))
        await vault.store_token(ACCESS, "w")
        await store.accounts.record_uses({ref: clock.now()})
        assert (await vault.store_token(ACCESS, "x")).last_used_at == clock.now()

    async def test_uses_of_tokens_that_are_not_stored_are_dropped(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        gone = TokenRef.of(await vault.store_token(ACCESS, "v"))
        await vault.delete_token(ACCESS)
        await vault.store_token(ACCESS, "another")
        ref = TokenRef.of(await vault.store_token(REFRESH, "r"))
        elsewhere = evolve(ref, key=evolve(REFRESH, tenant_id="t2"))
        await store.accounts.record_uses({gone: clock.now(), elsewhere: clock.now(), ref: clock.now()})
        await store.accounts.record_uses({})
        infos = await tokens_of(vault)
        assert (infos[ACCESS].last_used_at, infos[REFRESH].last_used_at) == (None, clock.now())
        assert await tokens_of(vault, "t2") == {}
