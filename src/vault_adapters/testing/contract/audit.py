"""The audit log: its latest events, events about reads, and pruning. `ListingCases` has the cases about its pages."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, CONFIG, ContractFixtures, events_of, key
from vault_domain.entities.account import Account
from vault_domain.entities.audit import LASTING_ACTIONS, AuditAction, AuditEvent
from vault_domain.entities.errors import DecryptionError, InvalidInputError
from vault_domain.entities.token import TokenWrite
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.audit_log import Noticed

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


class AuditCases(ContractFixtures):
    """`AuditLog.latest`, `append` and `prune`."""

    async def test_the_latest_events_come_last_and_are_followed(self, vault: TokenVault, clock: ManualClock) -> None:
        for number in range(5):
            await vault.store_token(key(number), "v")
            clock.advance(MINUTE)
        since = clock.now()
        await vault.store_token_set(ACCOUNT, TokenSet("a", "r"))
        await vault.delete_account(ACCOUNT)
        await vault.store_token(key(9, provider="github"), "v")
        everything = await events_of(vault)
        for limit in (1, 3, 100):
            page = await vault.latest_audit_events(limit=limit)
            assert list(page.items) == everything[-limit:]
            assert (await vault.audit_events(after=page.next)).items == ()
        of_account = await vault.latest_audit_events(account=ACCOUNT)
        assert [event.account for event in of_account.items] == [ACCOUNT] * 4
        deleted = await vault.latest_audit_events(account=ACCOUNT, action=AuditAction.TOKEN_DELETED)
        assert list(deleted.items) == everything[-3:-1]
        assert list((await vault.latest_audit_events(since=since)).items) == everything[-5:]
        nothing = await vault.latest_audit_events(account=Account("t2", "google"), tenant_id="t2")
        assert nothing.items == ()
        assert nothing.next is not None
        await vault.store_token(key(10), "v")
        [new] = (await vault.audit_events(after=deleted.next)).items
        assert new.account == key(10).account

    async def test_old_events_go_and_lasting_ones_stay(
        self, vault: TokenVault, clock: ManualClock, happened: list[AuditEvent]
    ) -> None:
        await vault.store_token(ACCESS, "v")
        await vault.keys.rotate_data_key("t1")
        await vault.store_token(key("gone", provider="github"), "v")
        clock.advance(10 * DAY)
        border = clock.now()
        await vault.store_token(ACCESS, "v")
        after = (await events_of(vault))[-1].cursor
        clock.advance(10 * DAY)
        await vault.store_token(ACCESS, "v")
        happened.clear()
        assert await vault.with_actor("cron").prune_audit(older_than=10 * DAY) == 3
        stored = await events_of(vault)
        lasting = [event for event in stored if event.action in LASTING_ACTIONS]
        assert [event.action for event in stored if event not in lasting] == [AuditAction.TOKEN_STORED] * 2
        assert AuditAction.DATA_KEY_REPLACED in {event.action for event in lasting}
        pruned = stored[-1]
        assert (pruned.action, pruned.actor, pruned.tenant_id) == (AuditAction.AUDIT_PRUNED, "cron", None)
        assert pruned.code == border.isoformat(timespec="seconds")
        assert happened == [evolve(pruned, cursor=None)]
        # A reader's cursor from before the pruning is still valid, and a second pruning deletes nothing.
        assert [event.action for event in (await vault.audit_events(after=after)).items] == [
            AuditAction.TOKEN_STORED,
            AuditAction.AUDIT_PRUNED,
        ]
        assert await vault.prune_audit(older_than=10 * DAY) == 0
        assert await events_of(vault) == stored

    async def test_no_event_that_must_last_is_pruned(self, store: Store, clock: ManualClock) -> None:
        events = [Noticed(AuditEvent(action, clock.now(), None)) for action in sorted(AuditAction)]
        await store.audit.append(events, apart=None)
        clock.advance(2 * DAY)
        pruned = await store.audit.prune(DAY, actor=None)
        assert pruned.result == len(AuditAction) - len(LASTING_ACTIONS)
        kept = await store.audit.page(None, limit=100, after=None)
        assert {event.action for event in kept} == LASTING_ACTIONS

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

    async def test_a_noted_failure_is_stored_once_an_hour(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        failed = AuditEvent(
            AuditAction.DECRYPTION_FAILED, clock.now(), "t1", ACCOUNT, ACCESS.kind, generation=3, code="tag"
        )
        elsewhere = evolve(failed, tenant_id="t2", account=Account("t2", "google", "ann"))
        others = [evolve(failed, generation=4), evolve(failed, code="key"), elsewhere]
        known = len(await events_of(vault))
        first = await store.audit.append([Noticed(failed, 2 * MINUTE)], apart=HOUR)
        second = await store.audit.append([Noticed(event) for event in (failed, *others)], apart=HOUR)
        stored = (await events_of(vault))[known:]
        expected = [evolve(failed, occurred_at=clock.now() - 2 * MINUTE), *others]
        assert [evolve(event, cursor=None) for event in stored] == expected
        appended = [*first.events, *second.events]
        assert sorted(appended, key=repr) == sorted(expected, key=repr)
        clock.advance(HOUR)
        await store.audit.append([Noticed(failed)], apart=HOUR)
        assert len((await events_of(vault))[known:]) == len(stored) + 1

    async def test_a_value_that_does_not_decrypt_is_told_once(self, store: Store, vault: TokenVault) -> None:
        await vault.store_token(ACCESS, "v")
        row = (await store.tokens.get(ACCESS)).row
        assert row is not None
        await store.tokens.store([TokenWrite(key("other"), row.sealed)], actor=None)
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
