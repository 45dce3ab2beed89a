"""The audit log: its latest events, events about reads, and pruning. `ListingCases` has the cases about its pages."""

from __future__ import annotations

from datetime import datetime, timedelta

from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, ContractFixtures, events_of, key
from vault_domain.entities.account import Account
from vault_domain.entities.audit import LASTING_ACTIONS, AuditAction, AuditEvent
from vault_domain.entities.chain_records import ChainEnd, Seal, Sealing
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
        told: list[datetime] = []

        async def announce(before: datetime) -> None:
            assert len(await store.audit.page(None, limit=100, after=None)) == len(events), "told after a deletion"
            told.append(before)

        border = clock.now() - DAY
        pruned = await store.audit.prune(DAY, actor=None, announce=announce)
        assert told == [border]
        assert pruned.result == len(AuditAction) - len(LASTING_ACTIONS)
        kept = await store.audit.page(None, limit=100, after=None)
        assert {event.action for event in kept} == LASTING_ACTIONS

    async def test_seals_follow_each_other_and_bring_the_ends_of_chains_along(self, store: Store) -> None:
        seals = [Seal(number, 10 * number, b"%d" % number, bytes(32), bytes([number]) * 32) for number in range(4)]
        ends = [ChainEnd(tenant_id, bytes(16), 3, bytes(32)) for tenant_id in ("", "t1", "t2")]
        audit = store.audit
        assert await audit.seals(after=None, limit=1) == []
        assert await audit.chain_ends(["t1"]) == {}
        for number, seal in enumerate(seals[:3]):
            assert await audit.add_seal(Sealing(seal, ends[number : number + 1]))
        assert not await audit.add_seal(Sealing(seals[2], [evolve(ends[0], events=9)], ["t1"], 99))
        assert await audit.seals(after=-1, limit=9) == seals[:3]
        assert await audit.seals(after=0, limit=1) == seals[1:2]
        assert await audit.seals(after=None, limit=1) == seals[2:3]
        assert await audit.chain_ends(["", "t1", "t2", "t3"]) == {end.tenant_id: end for end in ends}
        moved = [evolve(ends[1], secret=b"s" * 16, events=2**40), evolve(ends[0], digest=b"d" * 32)]
        assert await audit.add_seal(Sealing(seals[3], moved, ["t1", "t2"], empty_before=20))
        assert await audit.chain_ends(["", "t1", "t2"]) == {end.tenant_id: end for end in moved}
        emptied = [evolve(seal, body=None) for seal in seals[:2]]
        assert await audit.seals(after=-1, limit=9) == [*emptied, *seals[2:]]

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
        await store.audit.append([Noticed(failed)] * 2, apart=None)
        assert len((await events_of(vault))[known:]) == len(stored) + 3
