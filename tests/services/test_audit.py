"""Pruning, and events about reads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Literal

import pytest
from attrs import evolve
from tests.services.over_dict import OverDict

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, CONFIG, ContractFixtures, events_of, key
from vault_domain.entities.account import TokenKey, TokenKind
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.errors import DecryptionError, InvalidInputError
from vault_domain.entities.page import Cursor
from vault_domain.entities.token import TokenWrite
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.audit_log import AuditLog
from vault_domain.services.tokens import verifying

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


class TestAudit(OverDict, ContractFixtures):
    """What the vault prunes and tells by itself."""

    async def test_a_failing_listener_changes_nothing(self, store: Store) -> None:
        def fail(event: AuditEvent) -> None:
            raise LookupError(event.action)

        async with self.vault_over(store, on_event=fail) as vault:
            await vault.store_token(ACCESS, "v")
            assert await vault.delete_token(ACCESS) is True
            assert len(await events_of(vault)) == 2

    @pytest.mark.parametrize("wrong", [timedelta(0), -DAY, DAY - MINUTE, 1, "400d", None])
    async def test_pruning_needs_an_age_of_a_day_at_least(self, vault: TokenVault, wrong: object) -> None:
        with pytest.raises(InvalidInputError):
            await vault.prune_audit(older_than=wrong)  # type: ignore[arg-type]

    async def test_a_sweep_prunes_if_there_is_a_retention(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        await vault.store_token(ACCESS, "v")
        clock.advance(2 * DAY)
        await vault.refresh_due()
        assert AuditAction.TOKEN_STORED in {event.action for event in await events_of(vault)}
        async with self.vault_over(store, evolve(CONFIG, audit_retention=DAY)) as other:
            await other.refresh_due()
        actions = {event.action for event in await events_of(vault)}
        assert AuditAction.TOKEN_STORED not in actions
        assert AuditAction.AUDIT_PRUNED in actions

    async def test_a_value_that_does_not_decrypt_is_told_once(self, store: Store, vault: TokenVault) -> None:
        await vault.store_token(ACCESS, "v")
        row = (await store.accounts.get(ACCESS)).row
        assert row is not None
        await store.accounts.store([TokenWrite(key("other"), row.sealed)], actor=None)
        async with self.vault_over(store) as one, self.vault_over(store) as another:
            for reader in (one, another, one):
                with pytest.raises(DecryptionError):
                    await reader.get_token(key("other"))
        failed = [event for event in await events_of(vault) if event.action is AuditAction.DECRYPTION_FAILED]
        assert [(event.account, event.generation) for event in failed] == [(key("other").account, 1)]

    @pytest.mark.parametrize(
        ("wanted", "kinds"), [("all", ["access_token", "refresh_token"]), ("secrets", ["refresh_token"]), (None, [])]
    )
    async def test_reads_are_stored_if_the_host_asks_for_it(
        self, store: Store, vault: TokenVault, wanted: Literal["all", "secrets"] | None, kinds: list[str]
    ) -> None:
        await vault.store_token_set(ACCOUNT, TokenSet("a", "r"))
        known = len(await events_of(vault))
        told: list[AuditEvent] = []
        async with self.vault_over(store, evolve(CONFIG, audit_reads=wanted), on_event=told.append) as reader:
            view = reader.with_actor("user:7", reason="support")
            for _ in range(3):
                await view.get_token(ACCESS)
                await view.get_refresh_token(ACCOUNT)
                await view.get_tokens([ACCESS])
                await view.get_access_token(ACCOUNT)
                await view.ensure_access_token(ACCOUNT)
        events = (await events_of(vault))[known:]
        assert {event.action for event in events} <= {AuditAction.TOKEN_READ}
        assert sorted(told, key=repr) == sorted((evolve(event, cursor=None) for event in events), key=repr)
        assert sorted(event.kind or "" for event in events) == kinds
        assert {(event.actor, event.code, event.generation) for event in events} <= {("user:7", "support", 1)}
        with pytest.raises(InvalidInputError):
            vault.with_actor("user:7", reason="Because of a ticket")

    async def test_an_erasure_between_two_pages_of_a_verification_is_no_fault(
        self, store: Store, vault: TokenVault, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(verifying, "EVENTS_AT_ONCE", 3)
        for number in range(6):
            await vault.store_token(TokenKey(f"t{number % 2}", "google", TokenKind.API_KEY, f"u{number}"), "v")
        head = await vault.audit_head()
        audit = Overtaken(store.audit, vault.erase_tenant)
        async with self.vault_over(evolve(store, audit=audit)) as other:
            found = await other.verify_audit([head])
        assert audit.erased
        assert (found.ok, found.findings) == (True, ())


class Overtaken:
    """An audit log of which another process erases a tenant as soon as a page ends with an event of the tenant."""

    def __init__(self, right: AuditLog, erase: Callable[[str], Awaitable[object]]) -> None:
        self._right, self._erase = right, erase
        self.erased: str | None = None

    async def page(self, tenant_id: str | None, *, limit: int, after: Cursor | None) -> list[AuditEvent]:
        events = await self._right.page(tenant_id, limit=limit, after=after)
        if limit == verifying.EVENTS_AT_ONCE == len(events) and self.erased is None and events[-1].tenant_id:
            self.erased = events[-1].tenant_id
            await self._erase(self.erased)
        return events

    def __getattr__(self, name: str) -> object:
        return getattr(self._right, name)
