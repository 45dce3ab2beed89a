"""How a store counts refusals of a client, paces the client's requests, and decides whether to condemn a credential."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ContractFixtures, events_of
from vault_adapters.testing.contract.refreshing import LEASE, MINUTE, SECOND, answer, claimed, due_at, state_of
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.audit import CLIENT_ACTIONS, AuditAction, AuditEvent
from vault_domain.entities.clients import CLIENT_MISMATCH, INVALID_CLIENT, MASS_REJECTION, ClientRecord, ClientScope
from vault_domain.entities.request_limit import RequestLimit
from vault_domain.entities.token import TokenInfo, TokenStatus
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.client_ledger import Verdict
from vault_domain.rules.clients import ClientRules, mark_of

CLIENT, OTHER = b"a" * 16, b"b" * 16
RULES = ClientRules()
REFUSED = ClientScope("google", CLIENT, INVALID_CLIENT)
REJECTED = ClientScope("google", CLIENT, MASS_REJECTION)
ANN, BOB, CEM, DOT = (Account("t1", "google", name) for name in ("ann", "bob", "cem", "dot"))


class ClientCases(ContractFixtures, given=("stored_account",)):
    """`ClientLedger`: refusals count across all processes, and nothing is condemned while a whole fleet is rejected."""

    async def test_three_accounts_pause_their_client(self, vault: TokenVault, store: Store, clock: ManualClock) -> None:
        began = clock.now()
        for account in (ANN, ANN, BOB):
            change = await store.clients.refuse(REFUSED, account, RULES)
            assert (change.result.opened_at, list(change.events)) == (None, [])
            clock.advance(MINUTE)
        change = await store.clients.refuse(REFUSED, CEM, RULES)
        now = clock.now()
        marks = tuple(mark_of(account) for account in (ANN, BOB, CEM))
        expected = ClientRecord(REFUSED, began, now, marks, now, now)
        assert change.result == expected
        assert await store.clients.records("google") == ([expected], now)
        [event] = change.events
        assert event == AuditEvent(AuditAction.CLIENT_PAUSED, now, code=INVALID_CLIENT, provider="google")
        assert await bare_client_events(vault) == [event]

    async def test_a_paused_client_is_paused_once(self, vault: TokenVault, store: Store, clock: ManualClock) -> None:
        paused = await pause(store)
        clock.advance(MINUTE)
        change = await store.clients.refuse(REFUSED, DOT, RULES)
        marks = tuple(mark_of(account) for account in (BOB, CEM, DOT))
        assert change.result == evolve(paused, refused_at=clock.now(), marks=marks)
        assert list(change.events) == []
        assert len(await client_events(vault)) == 1

    async def test_a_success_between_begins_the_count_again(self, store: Store, clock: ManualClock) -> None:
        for account in (ANN, BOB):
            await store.clients.refuse(REFUSED, account, RULES)
        clock.advance(SECOND)
        await connect(store, DOT, refreshed=True)
        change = await store.clients.refuse(REFUSED, CEM, RULES)
        assert change.result == ClientRecord(REFUSED, clock.now(), clock.now(), (mark_of(CEM),))

    @pytest.mark.parametrize("client", [OTHER, None])
    async def test_a_success_of_another_client_is_none(
        self, store: Store, clock: ManualClock, client: bytes | None
    ) -> None:
        await store.clients.refuse(REFUSED, ANN, RULES)
        clock.advance(SECOND)
        await connect(store, DOT, client=client, refreshed=True)
        await store.clients.refuse(REFUSED, BOB, RULES)
        assert (await store.clients.refuse(REFUSED, CEM, RULES)).result.opened_at == clock.now()

    async def test_a_client_without_a_name_has_all_successes(self, store: Store, clock: ManualClock) -> None:
        scope = evolve(REFUSED, client=None)
        await store.clients.refuse(scope, ANN, RULES)
        clock.advance(SECOND)
        await connect(store, DOT, refreshed=True)
        assert (await store.clients.refuse(scope, BOB, RULES)).result.marks == (mark_of(BOB),)

    async def test_a_success_is_none_for_a_mismatch(self, store: Store, clock: ManualClock) -> None:
        scope = evolve(REFUSED, reason=CLIENT_MISMATCH)
        await store.clients.refuse(scope, ANN, RULES)
        clock.advance(SECOND)
        await connect(store, DOT, refreshed=True)
        assert (await store.clients.refuse(scope, BOB, RULES)).result.marks == (mark_of(ANN), mark_of(BOB))

    async def test_scopes_are_counted_apart(self, store: Store) -> None:
        others = [
            evolve(REFUSED, provider="google2"),
            evolve(REFUSED, client=None),
            evolve(REFUSED, client=OTHER),
            evolve(REFUSED, reason=CLIENT_MISMATCH),
        ]
        for scope in others:
            for account in (ANN, BOB):
                await store.clients.refuse(scope, account, RULES)
        assert (await store.clients.refuse(REFUSED, CEM, RULES)).result.opened_at is None
        every, _ = await store.clients.records()
        assert {record.scope for record in every} == {REFUSED, *others}
        at_google, _ = await store.clients.records("google")
        assert {record.scope for record in at_google} == {REFUSED, *others[1:]}

    async def test_one_process_takes_a_probe(self, store: Store, clock: ManualClock) -> None:
        paused = await pause(store)
        clock.advance(MINUTE)
        assert await store.clients.take_probe(REFUSED, paused.probe_at)
        assert not await store.clients.take_probe(REFUSED, paused.probe_at)
        [record], _ = await store.clients.records("google")
        assert record == evolve(paused, probe_at=clock.now())

    async def test_turns_are_shared_and_limited(self, store: Store, clock: ManualClock) -> None:
        limit = RequestLimit(8, timedelta(minutes=10))
        start = clock.now()
        waits = await asyncio.gather(*(store.clients.take_turn("google", CLIENT, "t1", limit) for _ in range(5)))
        assert sorted(waits) == [timedelta(0)] * 2 + [limit.interval] * 3
        assert await store.clients.take_turn("google", OTHER, "t1", limit) == timedelta(0)
        assert await store.clients.take_turn("google", None, "t1", limit) == timedelta(0)
        assert await store.clients.take_turn("google2", CLIENT, "t1", limit) == timedelta(0)
        clock.advance(limit.interval)
        assert await store.clients.take_turn("google", CLIENT, "t1", limit) == timedelta(0)
        assert await store.clients.take_turn("google", CLIENT, "t1", limit) == limit.interval
        clock.set(start - timedelta(days=1))
        assert await store.clients.take_turn("google", CLIENT, "t1", limit) == timedelta(0)

    async def test_tenants_reserve_turns_one_after_another(self, store: Store, clock: ManualClock) -> None:
        limit, near = RequestLimit(1, timedelta(seconds=2)), timedelta(seconds=10)
        one = limit.interval

        async def turn(tenant_id: str, ahead: timedelta = timedelta(0)) -> timedelta:
            return await store.clients.take_turn("google", CLIENT, tenant_id, limit, ahead)

        assert await turn("t1") == timedelta(0)
        assert [await turn("t1", near), await turn("t1", near), await turn("t2", near)] == [one, one, 2 * one]
        assert [await turn("t2"), await turn("t3")] == [2 * one, 3 * one]
        clock.advance(one)
        assert [await turn("t2"), await turn("t1"), await turn("t1")] == [one, timedelta(0), 2 * one]
        clock.advance(one)
        assert await turn("t2") == timedelta(0)
        assert await turn("t2", timedelta(microseconds=1)) == one
        assert await turn("t3") == one  # t2's turn would have come too late, so none was reserved

    async def test_what_is_not_paused_has_no_probe(self, store: Store) -> None:
        assert not await store.clients.take_probe(REFUSED, None)
        await store.clients.refuse(REFUSED, ANN, RULES)
        assert not await store.clients.take_probe(REFUSED, None)

    async def test_a_pause_ends_once(self, vault: TokenVault, store: Store, clock: ManualClock) -> None:
        await pause(store)
        clock.advance(MINUTE)
        change = await store.clients.close(REFUSED)
        event = AuditEvent(AuditAction.CLIENT_RESUMED, clock.now(), code=INVALID_CLIENT, provider="google")
        assert (change.result, list(change.events)) == (True, [event])
        change = await store.clients.close(REFUSED)
        assert (change.result, list(change.events)) == (False, [])
        assert (await store.clients.records("google"))[0] == []
        assert [each.action for each in await client_events(vault)] == [
            AuditAction.CLIENT_PAUSED,
            AuditAction.CLIENT_RESUMED,
        ]

    async def test_a_count_ends_in_silence(self, vault: TokenVault, store: Store) -> None:
        await store.clients.refuse(REFUSED, ANN, RULES)
        change = await store.clients.close(REFUSED)
        assert (change.result, list(change.events)) == (False, [])
        assert (await store.clients.records())[0] == []
        assert await client_events(vault) == []

    async def test_few_rejections_condemn(self, vault: TokenVault, store: Store, clock: ManualClock) -> None:
        fleet = await connect_fleet(store)
        for account in fleet[:4]:
            assert await condemn(store, account) is Verdict.CONDEMNED
            info = await credential_of(store, account)
            assert (info.status, info.error_code) == (TokenStatus.INVALID, "invalid_grant")
            assert info.rejected_at == clock.now()
            assert (await state_of(store, account)).lease_until is None
        events = [each for each in await events_of(vault) if each.action is AuditAction.TOKEN_INVALIDATED]
        assert [(each.account, each.code) for each in events] == [(account, "invalid_grant") for account in fleet[:4]]
        assert (await store.clients.records())[0] == []

    async def test_many_rejections_spare_the_fleet(self, vault: TokenVault, store: Store, clock: ManualClock) -> None:
        fleet = await connect_fleet(store)
        before = [await credential_of(store, account) for account in fleet]
        for account in fleet[:4]:
            await condemn(store, account)
        clock.advance(MINUTE)
        attempt = await claimed(store, fleet[4])
        change = await store.clients.condemn(attempt, "invalid_grant", REJECTED, RULES, actor="me")
        now = clock.now()
        assert change.result is Verdict.SPARED
        assert list(change.events[-1:]) == await bare_client_events(vault)
        assert change.events[-1].code == MASS_REJECTION
        [record], _ = await store.clients.records("google")
        assert record == ClientRecord(REJECTED, now, now, (mark_of(fleet[4]),), now, now)
        taken_back = [evolve(info, updated_at=now) for info in before[:4]]
        assert [await credential_of(store, account) for account in fleet[:4]] == taken_back
        assert await credential_of(store, fleet[4]) == before[4]
        assert (await state_of(store, fleet[4])).leased_until(now) == now + LEASE  # `condemn` does not end the lease
        assert [await due_at(store, account) for account in fleet[:1]] == [now]

    async def test_one_event_reports_each_credential_that_is_valid_again(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        fleet = await connect_fleet(store)
        for account in fleet[:4]:
            await condemn(store, account)
        clock.advance(MINUTE)
        attempt = await claimed(store, fleet[4])
        change = await store.clients.condemn(attempt, "invalid_grant", REJECTED, RULES, actor="me")
        revived = [each for each in change.events if each.action is AuditAction.ACCOUNT_REVIVED]
        stored = [each for each in await events_of(vault) if each.action is AuditAction.ACCOUNT_REVIVED]
        for events in (revived, stored):
            assert {(each.account, each.occurred_at, each.actor, each.code) for each in events} == {
                (account, clock.now(), "me", "invalid_grant") for account in fleet[:4]
            }
            assert len(events) == 4
        assert {each.kind for each in stored} == {(await credential_of(store, fleet[0])).key.kind}

    async def test_while_a_fleet_is_spared_nothing_is_condemned(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        fleet = await connect_fleet(store)
        for account in fleet[:5]:
            await condemn(store, account)
        clock.advance(RULES.longest - SECOND)
        assert await condemn(store, fleet[5]) is Verdict.SPARED
        [record], _ = await store.clients.records("google")
        assert record.refused_at == clock.now()
        assert record.marks == (mark_of(fleet[4]), mark_of(fleet[5]))
        assert len(await client_events(vault)) == 1
        clock.advance(SECOND)
        assert await condemn(store, fleet[6]) is Verdict.CONDEMNED
        assert (await credential_of(store, fleet[6])).status is TokenStatus.INVALID
        [later], _ = await store.clients.records("google")
        assert later == evolve(record, refused_at=clock.now())

    async def test_half_of_all_attempts_are_no_fleet(self, store: Store) -> None:
        fleet = await connect_fleet(store)
        for number in range(5):
            await connect(store, Account("t1", "google", f"good {number}"), refreshed=True)
        for account in fleet[:5]:
            assert await condemn(store, account) is Verdict.CONDEMNED
        assert await condemn(store, fleet[5]) is Verdict.SPARED

    async def test_successes_of_others_save_no_client(self, store: Store, clock: ManualClock) -> None:
        fleet = await connect_fleet(store)
        await connect(store, Account("t1", "google", "long ago"), refreshed=True)
        clock.advance(RULES.window)
        for number, client in enumerate((OTHER, None)):
            await connect(store, Account("t1", "google", f"other {number}"), client=client, refreshed=True)
        await connect(store, Account("t1", "google2", "elsewhere"), refreshed=True)
        await connect(store, Account("t1", "google", "not refreshed"))
        verdicts = [await condemn(store, account) for account in fleet[:5]]
        assert verdicts == [*[Verdict.CONDEMNED] * 4, Verdict.SPARED]

    async def test_rejections_of_long_ago_or_of_other_clients_are_no_fleet(
        self, store: Store, clock: ManualClock
    ) -> None:
        fleet = await connect_fleet(store)
        foreign = [Account("t1", "google", "foreign"), Account("t1", "google2", "elsewhere")]
        await connect(store, foreign[0], client=OTHER)
        await connect(store, foreign[1])
        await condemn(store, fleet[0])
        clock.advance(RULES.window)
        await condemn(store, foreign[0], evolve(REJECTED, client=OTHER))
        await condemn(store, foreign[1], evolve(REJECTED, provider="google2"))
        for account in fleet[1:5]:
            assert await condemn(store, account) is Verdict.CONDEMNED
        assert await condemn(store, fleet[5]) is Verdict.SPARED
        for account in (fleet[0], *foreign):
            assert (await credential_of(store, account)).status is TokenStatus.INVALID
        assert (await credential_of(store, fleet[1])).status is TokenStatus.VALID

    async def test_a_credential_without_a_known_client_belongs_to_each(self, store: Store) -> None:
        fleet = await connect_fleet(store, client=None)
        verdicts = [await condemn(store, account) for account in fleet[:5]]
        assert verdicts == [*[Verdict.CONDEMNED] * 4, Verdict.SPARED]
        assert (await credential_of(store, fleet[0])).status is TokenStatus.VALID

    async def test_the_marks_of_a_host_are_no_rejections(self, vault: TokenVault, store: Store) -> None:
        fleet = await connect_fleet(store)
        for account in fleet[:4]:
            info = await credential_of(store, account)
            await vault.mark_token_invalid(info, "revoked")
        for account in fleet[4:8]:
            assert await condemn(store, account) is Verdict.CONDEMNED
        assert await condemn(store, fleet[8]) is Verdict.SPARED
        assert (await credential_of(store, fleet[0])).error_code == "revoked"

    async def test_a_value_that_another_writer_stored_stays(self, store: Store) -> None:
        fleet = await connect_fleet(store)
        attempt = await claimed(store, fleet[0])
        await connect(store, fleet[0])
        change = await store.clients.condemn(attempt, "invalid_grant", REJECTED, RULES, actor=None)
        assert (change.result, list(change.events)) == (Verdict.MOVED, [])
        info = await credential_of(store, fleet[0])
        assert (info.status, info.rejected_at) == (TokenStatus.VALID, None)


async def connect(store: Store, account: Account, *, client: bytes | None = CLIENT, refreshed: bool = False) -> None:
    """Store an account's tokens under a client, as a vault does."""
    keys = [account.key(kind) for kind in (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN)]
    writes = [evolve(each, client=client, refreshed=refreshed) for each in await answer(store, keys=keys)]
    await store.accounts.store_set(account, writes, label=None, actor=None)


async def connect_fleet(store: Store, client: bytes | None = CLIENT) -> list[Account]:
    """Store the tokens of ten accounts under a client; return the accounts."""
    fleet = [Account("t1", "google", f"fleet {number}") for number in range(10)]
    for account in fleet:
        await connect(store, account, client=client)
    return fleet


async def pause(store: Store) -> ClientRecord:
    """Let the provider refuse three accounts, which pauses their client; return the record of the pause."""
    for account in (ANN, BOB):
        await store.clients.refuse(REFUSED, account, RULES)
    return (await store.clients.refuse(REFUSED, CEM, RULES)).result


async def condemn(store: Store, account: Account, scope: ClientScope = REJECTED) -> Verdict:
    """Claim an account, and ask the store to condemn its credential."""
    attempt = await claimed(store, account, timedelta(minutes=1))
    return (await store.clients.condemn(attempt, "invalid_grant", scope, RULES, actor=None)).result


async def credential_of(store: Store, account: Account) -> TokenInfo:
    """Return the metadata of an account's refresh token."""
    record, _ = await store.accounts.get(account)
    assert record is not None
    return record.tokens[TokenKind.REFRESH_TOKEN]


async def client_events(vault: TokenVault) -> list[AuditEvent]:
    """Return the stored events about clients."""
    return [event for event in await events_of(vault) if event.action in CLIENT_ACTIONS]


async def bare_client_events(vault: TokenVault) -> list[AuditEvent]:
    """Return the stored client events, each without its cursor, to compare them with the events of a `Change`."""
    return [evolve(event, cursor=None) for event in await client_events(vault)]
