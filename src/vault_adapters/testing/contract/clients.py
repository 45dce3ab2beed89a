"""How a store keeps the records of clients, counts what clients have met, and paces the clients' requests."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ContractFixtures, attempts_of, changes_of, events_of
from vault_adapters.testing.contract.refreshing import MINUTE, SECOND, answer, state_of, token_set, unclaimed
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.audit import CLIENT_ACTIONS, AuditAction, AuditEvent
from vault_domain.entities.clients import (
    CLIENT_REASONS,
    INVALID_CLIENT,
    ClientDecision,
    ClientRecord,
    ClientScope,
)
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.imported import ImportedToken
from vault_domain.entities.request_limit import RequestLimit
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import TokenInfo
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.pages import Condemned, Refreshed
from vault_domain.rules.clients import at_endpoint

CLIENT, OTHER = b"a" * 16, b"b" * 16
HERE, THERE = (at_endpoint(CLIENT, f"https://{name}.example.com/token") for name in ("here", "there"))
SCOPE = ClientScope("google", CLIENT, INVALID_CLIENT)
ANN, BOB, CEM, DOT = (Account("t1", "google", name) for name in ("anna", "bob", "cem", "dot"))
EVE = Account("t2", "google", "eve")


class ClientCases(ContractFixtures, given=("stored_account",)):
    """`ClientStates`: records change by decisions, one after another; rejections and successes are counted."""

    async def test_a_record_is_what_was_decided(self, vault: TokenVault, store: Store, clock: ManualClock) -> None:
        now = clock.now()
        counting = ClientRecord(SCOPE, now, now + SECOND, (b"1234",))
        event = AuditEvent(AuditAction.CLIENT_PAUSED, now, code=INVALID_CLIENT, provider="google")
        paused = evolve(counting, marks=(b"1234", b"5678"), opened_at=now - SECOND, probe_at=now - MINUTE)
        assert await put(store, None, counting) == (None, now)
        assert await put(store, counting, paused, event) == (counting, now)
        assert await put(store, paused, paused) == (paused, now)
        clock.advance(SECOND)
        stored = await store.clients.records("google")
        assert (stored.records, stored.now, stored.restored_at) == ([paused], clock.now(), None)
        assert await client_events(vault) == [event]

    async def test_a_record_that_was_dropped_is_none(self, store: Store, clock: ManualClock) -> None:
        record = ClientRecord(SCOPE, clock.now(), clock.now(), (b"1234",), clock.now(), clock.now())
        await put(store, None, None)
        await put(store, None, record)
        await put(store, record, None)
        await put(store, None, None)
        assert (await store.clients.records()).records == []
        await put(store, None, record)
        assert (await store.clients.records()).records == [record]

    async def test_records_are_kept_apart(self, store: Store, clock: ManualClock) -> None:
        scopes = [
            *(evolve(SCOPE, reason=reason) for reason in CLIENT_REASONS),
            evolve(SCOPE, client=None),
            evolve(SCOPE, client=OTHER),
            evolve(SCOPE, provider="google2"),
        ]
        records = [
            ClientRecord(scope, clock.now(), clock.now(), (bytes([number] * 4),)) for number, scope in enumerate(scopes)
        ]
        for record in records:
            await put(store, None, record)
        assert set((await store.clients.records()).records) == set(records)
        assert set((await store.clients.records("google")).records) == set(records[:-1])
        await put(store, records[0], None)
        assert set((await store.clients.records()).records) == set(records[1:])

    async def test_a_decision_that_fails_changes_nothing(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        event = AuditEvent(AuditAction.CLIENT_PAUSED, clock.now(), code=INVALID_CLIENT, provider="google")
        record = ClientRecord(SCOPE, clock.now(), clock.now(), (b"1234",))
        with pytest.raises(ValueError, match=r"a mark is bytes"):
            await store.clients.change(SCOPE, _failing)
        await put(store, None, record, event)
        assert len(await client_events(vault)) == 1

    async def test_of_many_changes_at_the_same_time_none_is_lost(self, store: Store) -> None:
        async def add() -> None:
            await store.clients.change(SCOPE, _one_more)

        await asyncio.gather(*(add() for _ in range(50)))
        [record] = (await store.clients.records()).records
        assert int.from_bytes(record.marks[0], "big") == 50

    async def test_rejections_of_the_client_or_of_an_unknown_one_count(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        began = clock.now()
        for account, client in ((ANN, CLIENT), (BOB, None), (CEM, OTHER), (EVE, CLIENT)):
            await connect(vault, store, account, client=client)
            await reject(store, account)
        await connect(vault, store, Account("t1", "google2"))
        await reject(store, Account("t1", "google2"))
        await connect(vault, store, Account("t1", "google", "marked"))
        await vault.mark_token_invalid(await credential_of(store, Account("t1", "google", "marked")), "revoked")
        before = began - SECOND
        assert await counts(store, DOT, before) == (3, 1, 0)
        assert await counts(store, ANN, before) == (2, 1, 0)  # the own account is not counted
        assert await counts(store, EVE, before) == (2, 2, 0)
        assert await counts(store, DOT, before, client=OTHER) == (2, 0, 0)
        assert await counts(store, DOT, before, client=None) == (4, 1, 0)
        assert await counts(store, DOT, began) == (0, 0, 0)  # only what came after this time
        await changes_of(store).delete_token(EVE.key(TokenKind.REFRESH_TOKEN), actor=None)
        assert await counts(store, DOT, before) == (2, 0, 0)

    async def test_rejections_of_values_that_were_stored_before_a_time_do_not_count(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        began = clock.now()
        await connect(vault, store, ANN)
        await connect(vault, store, BOB)
        clock.advance(MINUTE)
        await connect(vault, store, BOB)  # of the two values, the later one counts
        for account in (ANN, BOB):
            await reject(store, account)
        assert (await counts(store, DOT, began, stored_since=began))[0] == 2
        assert (await counts(store, DOT, began, stored_since=clock.now()))[0] == 1
        assert (await counts(store, DOT, began, stored_since=clock.now() + SECOND))[0] == 0

    async def test_successes_of_the_client_count(self, vault: TokenVault, store: Store, clock: ManualClock) -> None:
        began = clock.now()
        clock.advance(SECOND)
        for account, client in ((ANN, CLIENT), (BOB, None), (CEM, OTHER), (EVE, CLIENT)):
            await connect(vault, store, account, client=client, refreshed=True)
        await connect(vault, store, Account("t1", "google2"), refreshed=True)
        await connect(vault, store, DOT)
        assert await counts(store, ANN, began) == (0, 0, 2)
        assert await counts(store, ANN, began, client=None) == (0, 0, 4)
        query = Refreshed("google", began, b"")
        first = await store.pages.tokens(query, limit=1, after=None)
        others = await store.pages.tokens(query, limit=9, after=Refreshed.place(first[0]))
        assert [info.key.account for info in first + others] == [ANN, BOB, CEM, EVE]
        assert await counts(store, ANN, clock.now()) == (0, 0, 0)

    async def test_only_a_granted_refresh_is_a_success(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        accounts = [ANN, BOB, CEM, DOT, EVE]
        for account in accounts:
            await connect(vault, store, account, refreshed=account in (CEM, DOT))
        clock.advance(MINUTE)
        began = clock.now() - SECOND
        await connect(vault, store, ANN)  # replaces values, which sets `last_refreshed_at`
        for account in (BOB, CEM):
            await attempts_of(store).release(await claim(store, account))
            await connect(vault, store, account)
        await vault.store_token(DOT.key(TokenKind.ACCESS_TOKEN), "access")  # its grant is older than this value
        imported = ImportedToken(Account("t1", "google", "fay").key(TokenKind.ACCESS_TOKEN), Secret("access"))
        for _ in range(2):  # the second import replaces the value of the first
            await vault.import_tokens([imported], overwrite=True)
        assert await counts(store, ANN, began, client=None) == (0, 0, 0)
        attempt = await claim(store, EVE)
        assert await counts(store, ANN, began, client=None) == (0, 0, 0)
        await grant(store, attempt)
        assert await counts(store, ANN, began) == (0, 0, 1)

    async def test_each_token_endpoint_is_counted_apart(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        began = clock.now() - SECOND
        for account, endpoint in ((ANN, HERE), (BOB, THERE), (CEM, None)):
            await connect(vault, store, account)
            await reject(store, account, endpoint)
            await connect(vault, store, evolve(account, tenant_id="t2"))
            await grant(store, await claim(store, evolve(account, tenant_id="t2"), endpoint))
        for client in (HERE, THERE, CLIENT, None):
            assert await counts(store, DOT, began, client=client) == (1, 0, 1)

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

    async def test_the_latest_time_of_a_restore_counts(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        change = await store.clients.note_restore(None, actor="me")
        first = clock.now()
        noted = AuditEvent(AuditAction.DATABASE_RESTORED, first, actor="me")
        assert (change.result, list(change.events)) == (first, [noted])
        assert [evolve(each, cursor=None) for each in await events_of(vault)][-1] == noted
        clock.advance(MINUTE)
        assert (await store.clients.note_restore(first - MINUTE, actor=None)).result == first - MINUTE
        assert (await store.clients.note_restore(first, actor=None)).result == first
        assert (await store.clients.records()).restored_at == first
        await store.clients.note_restore(None, actor=None)
        assert (await store.clients.records("google")).restored_at == clock.now()

    async def test_a_restore_in_the_future_changes_nothing(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        before = await events_of(vault)
        with pytest.raises(InvalidInputError):
            await store.clients.note_restore(clock.now() + MINUTE, actor=None)
        assert (await store.clients.records()).restored_at is None
        assert await events_of(vault) == before


async def put(
    store: Store, expected: ClientRecord | None, new: ClientRecord | None, *events: AuditEvent
) -> tuple[ClientRecord | None, datetime]:
    """Put a record in place of the expected one; return what was loaded."""
    scope = next((record.scope for record in (expected, new) if record is not None), SCOPE)

    def decide(record: ClientRecord | None, now: datetime) -> ClientDecision[tuple[ClientRecord | None, datetime]]:
        return ClientDecision(new, (record, now), events)

    decision = await store.clients.change(scope, decide)
    assert decision.record == new
    assert decision.result[0] == expected
    return decision.result


def _one_more(record: ClientRecord | None, now: datetime) -> ClientDecision[None]:
    number = 0 if record is None else int.from_bytes(record.marks[0], "big")
    return ClientDecision(ClientRecord(SCOPE, now, now, ((number + 1).to_bytes(4, "big"),)), None)


def _failing(record: ClientRecord | None, now: datetime) -> ClientDecision[None]:
    raise ValueError("a mark is bytes")


async def counts(
    store: Store,
    account: Account,
    after: datetime,
    *,
    client: bytes | None = CLIENT,
    stored_since: datetime | None = None,
) -> tuple[int, int, int]:
    """Count the rejections of others, those of them at other tenants, and the successes of a client."""
    since, own = after + timedelta.resolution, client or b""
    condemned = Condemned("google", since, after + 2 * MINUTE, client=own, stored_since=stored_since)
    found = await store.pages.tokens(condemned, limit=1000, after=None)
    rejected = [info.key.tenant_id for info in found if info.key.account != account]
    succeeded = await store.pages.tokens(Refreshed("google", since, own), limit=1000, after=None)
    return len(rejected), sum(each != account.tenant_id for each in rejected), len(succeeded)


async def connect(
    vault: TokenVault, store: Store, account: Account, *, client: bytes | None = CLIENT, refreshed: bool = False
) -> None:
    """Store an account's tokens under a client, as a vault does; ``refreshed``: then refresh them as well."""
    if await store.keys.data_key(account.tenant_id, None) is None:
        await vault.store_token_set(Account(account.tenant_id, "acme"), token_set())  # makes the tenant's data key
    keys = [account.key(kind) for kind in (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN)]
    writes = [evolve(each, client=client, refreshed=False) for each in await answer(store, keys=keys)]
    await changes_of(store).store_set(account, writes, label=None, actor=None)
    if refreshed:
        await grant(store, await claim(store, account), client=client)


async def claim(store: Store, account: Account, endpoint: bytes | None = None) -> Attempt:
    """Claim an account at a token endpoint."""
    attempt = evolve(await unclaimed(store, account, MINUTE), endpoint=endpoint)
    assert await attempts_of(store).claim(attempt, (await state_of(store, account)).attempt_id) is not None
    return attempt


async def grant(store: Store, attempt: Attempt, *, client: bytes | None = CLIENT) -> None:
    """Let the provider grant an attempt that was claimed."""
    keys = [attempt.account.key(kind) for kind in (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN)]
    writes = [evolve(each, client=client) for each in await answer(store, 2, keys)]
    await attempts_of(store).commit(attempt, writes, actor=None)


async def reject(store: Store, account: Account, endpoint: bytes | None = None) -> None:
    """Claim an account at a token endpoint, and let the provider reject its credential."""
    await attempts_of(store).reject(await claim(store, account, endpoint), "invalid_grant", actor=None)


async def credential_of(store: Store, account: Account) -> TokenInfo:
    """Return the metadata of an account's refresh token."""
    record = (await store.accounts.read(account)).record
    assert record is not None
    return record.tokens[TokenKind.REFRESH_TOKEN]


async def client_events(vault: TokenVault) -> list[AuditEvent]:
    """Return the stored events about clients, each without its cursor."""
    return [evolve(event, cursor=None) for event in await events_of(vault) if event.action in CLIENT_ACTIONS]
