"""Many values in one call: more than a statement stores, and data keys that change meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, CONFIG, ContractFixtures, key, row_of, tokens_of
from vault_domain.entities.account import TokenKey, TokenKind
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.imported import ImportedToken, ImportedWrite, ImportOutcome
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import SealedToken, TokenWrite
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.change import DataKeyInactiveError
from vault_domain.ports.late_writes import LateWrites

HOUR = timedelta(hours=1)
MANY = 1100


class BulkCases(ContractFixtures):
    """`Accounts.store` of many values, and `Accounts.begin_import`."""

    async def test_each_of_many_values_keeps_what_belongs_to_it(
        self, vault: TokenVault, clock: ManualClock, happened: list[AuditEvent]
    ) -> None:
        keys = [TokenKey(f"t{number % 7}", "google", _kind(number), f"{number * 37 % MANY}") for number in range(MANY)]
        ends = {each: None if number % 3 else clock.now() + HOUR * number for number, each in enumerate(keys)}
        for generation in (1, 2):
            values = {each: f"v{each.identifier}-{generation}" for each in keys}
            infos = await vault.store_tokens([(each, values[each], ends[each]) for each in keys])
            assert [info.key for info in infos] == keys
            assert {info.key: info.expires_at for info in infos} == ends
            assert {info.generation for info in infos} == {generation}
            found = await vault.get_tokens(keys)
            assert {each: token.value.reveal() for each, token in found.items()} == values
            events = [event for event in happened if event.action is AuditAction.TOKEN_STORED]
            assert [(each.tenant_id, each.account, each.kind) for each in events[-MANY:]] == [
                (each.tenant_id, each.account, each.kind) for each in keys
            ]
            assert {event.generation for event in events[-MANY:]} == {generation}

    async def test_a_data_key_that_is_not_active_undoes_all_of_many(
        self, vault: TokenVault, store: Store, happened: list[AuditEvent]
    ) -> None:
        await vault.store_token(ACCESS, "v")
        sealed = await _sealed(store)
        await vault.keys.rotate_data_key("t1")
        await vault.store_token(ACCESS, "w")
        happened.clear()
        writes = [TokenWrite(key(str(number)), await _sealed(store)) for number in range(MANY)]
        writes[-1] = TokenWrite(key("last"), sealed)
        with pytest.raises(DataKeyInactiveError):
            await store.accounts.store(LateWrites.of(writes), actor=None)
        assert set(await tokens_of(vault)) == {ACCESS}
        assert happened == []
        change = await store.accounts.store(LateWrites.of(writes[:-1]), actor="me")
        assert [info.key for info in change.result] == [write.key for write in writes[:-1]]
        assert {event.actor for event in change.events} == {"me"}

    async def test_an_error_while_values_are_sealed_undoes_all_of_many(self, vault: TokenVault, store: Store) -> None:
        await vault.store_token(ACCESS, "v")
        sealed = await _sealed(store)
        keys = [key(f"{number:04d}") for number in range(MANY)]

        def take(indexes: Sequence[int]) -> list[TokenWrite]:
            if MANY - 1 in indexes:
                raise RuntimeError("cannot seal")
            return [TokenWrite(keys[index], sealed) for index in indexes]

        with pytest.raises(RuntimeError):
            await store.accounts.store(LateWrites(keys, take), actor=None)
        assert set(await tokens_of(vault)) == {ACCESS}
        assert await vault.store_token(ACCESS, "w")

    async def test_a_data_key_that_is_rotated_while_many_are_stored(self, store: Store) -> None:
        """The first vault seals under a data key that it holds and that another vault has rotated."""
        items = [(key(str(number)), "v") for number in range(MANY)]
        async with self.vault_over(store, CONFIG) as first, self.vault_over(store, CONFIG) as other:
            await first.store_token(ACCESS, "v")
            await other.keys.rotate_data_key("t1")
            assert len(await first.store_tokens(items)) == MANY
            found = await other.get_tokens([each for each, _ in items])
            assert {token.value.reveal() for token in found.values()} == {"v"}

    async def test_a_batch_may_be_prepared_while_another_is_not_stored_yet(
        self, vault: TokenVault, store: Store
    ) -> None:
        await vault.store_token(ACCESS, "v")
        sealed = await _sealed(store)
        prepare = store.accounts.begin_import("dump", overwrite=False, actor=None)
        batches = [
            await prepare(LateWrites.of(writes))
            for writes in ([_imported("a", sealed), _imported("b", sealed)], [_imported("b", sealed)])
        ]
        assert set(await tokens_of(vault)) == {ACCESS}
        outcomes = [(await batch()).result for batch in batches]
        assert outcomes == [[ImportOutcome.IMPORTED] * 2, [ImportOutcome.SKIPPED]]
        assert set(await tokens_of(vault)) == {ACCESS, key("a"), key("b")}


async def _sealed(store: Store) -> SealedToken:
    row = await row_of(store)
    return row.sealed


def _imported(identifier: str, sealed: SealedToken) -> ImportedWrite:
    return ImportedToken(key(identifier), Secret("v")).seal(sealed)


def _kind(number: int) -> TokenKind:
    return TokenKind.API_KEY if number % 2 else TokenKind.ACCESS_TOKEN
