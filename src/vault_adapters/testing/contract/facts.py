"""Any sequence of facts about accounts: the store answers what the pure transitions answer, and keeps what they make.

What becomes of an account is decided in `vault_domain.transitions`, whose tests need no store. Here the same facts are
told to the store and to states in memory, so each column of an account is written, read and compared.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any
from uuid import UUID

import pytest
from attrs import NOTHING, evolve, fields

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCOUNT, ContractFixtures, attempts_of, changes_of, events_of, key
from vault_adapters.testing.contract.refreshing import schedule_of
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.account_state import AccountRow, AccountState, Decision
from vault_domain.entities.attempt import Attempt, Failure, SealedAnswer
from vault_domain.entities.audit import AuditEvent
from vault_domain.entities.errors import VaultError
from vault_domain.entities.imported import ImportedWrite, ImportOutcome
from vault_domain.entities.refresh_state import RefreshState
from vault_domain.entities.suspicion import ConfirmationWindow
from vault_domain.entities.token import SealedToken, StoredToken, TokenInfo, TokenRef, TokenStatus, TokenWrite
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.accounts import Decide
from vault_domain.ports.change import Change
from vault_domain.ports.late_writes import LateWrites
from vault_domain.transitions import attempts, values
from vault_domain.transitions.importing import imported

ACCOUNTS = (ACCOUNT, evolve(ACCOUNT, identifier=None))
ACCESS, REFRESH = KINDS = (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN)
LEASE, NOTICE = timedelta(seconds=20), timedelta(seconds=60)
WINDOW = ConfirmationWindow(timedelta(seconds=10), timedelta(seconds=60))
SEEDS, STEPS = (31, 48), 200  # enough for each field to be empty at some time, and not empty at another
_IMPORTED = 8
"""Version of the ids that imports draw; all imports here have one source, so each knows all these ids as its own."""

Fact = tuple[Callable[[Store], Awaitable[Any]], Decide[Any]]
"""Tells a fact to a store, and to a state in memory."""


class Story:
    """Draws facts about two accounts, and tells each of them to the store and to the states in memory."""

    def __init__(self, seed: int, store: Store, data_key_id: bytes, clock: ManualClock) -> None:
        self.draw, self.store, self.data_key_id, self.clock = random.Random(seed), store, data_key_id, clock  # noqa: S311
        self.states = {account: AccountState(account) for account in ACCOUNTS}
        self.attempts: list[Attempt] = []
        self.events: list[AuditEvent] = []
        self.kept = set[tuple[str, str, bool]]()

    async def step(self) -> None:
        """Tell one fact; compare the answers, and what the store and the memory hold afterwards."""
        is_set_back = self.draw.random() < 0.05
        self.clock.set(self.clock.now() + (-self.some_time(40) if is_set_back else self.some_time(15)))
        account = self.draw.choice(ACCOUNTS)
        name = self.draw.choice((*FACTS, *ENDS, *ENDS))
        tell, decide = getattr(self, name)(account)
        events: list[AuditEvent] = []
        answer: object
        try:
            answer = await tell(self.store)
        except VaultError as error:
            answer = type(error)
        try:
            decision = decide(self.states[account], self.clock.now())
            expected, events, self.states[account] = decision.result, list(decision.events), decision.state
        except VaultError as error:
            expected = type(error)
        self.events += events
        if isinstance(answer, Change):
            assert list(answer.events) == events, name
            answer = answer.result
        if name != "use":
            assert answer == expected, name
        await self.compare(name)

    async def compare(self, name: str) -> None:
        """Compare each account, and when the accounts are due, with the states in memory."""
        for account, state in self.states.items():
            snapshot = await self.store.accounts.read(account)
            known = (snapshot.record, snapshot.answer, snapshot.now)
            assert known == (state.record, state.answer, self.clock.now()), name
            assert dict(snapshot.sealed) == {kind: token.sealed for kind, token in state.tokens.items()}, name
            for token in state.tokens.values():
                row = (await self.store.accounts.get(token.key)).row
                assert row is not None, name
                assert (row.info, row.sealed) == (token.info, token.sealed), name
            for part in parts_of(state):
                for field in fields(type(part)):
                    self.kept.add((type(part).__name__, field.name, getattr(part, field.name) in EMPTY))
        answers = {account: state.answer for account, state in self.states.items() if state.answer is not None}
        places = [(account, (each.kept_at, each.attempt_id)) for account, each in answers.items()]
        assert await self.store.pages.kept_answers(limit=9, after=None) == sorted(places, key=itemgetter(1)), name
        self.kept.add(("AccountState", "answer", not answers))
        found = {each: due_at for each, due_at in (await schedule_of(self.store)).items() if each in ACCOUNTS}
        rows = {account: state.row for account, state in self.states.items() if state.row is not None}
        assert found == {account: row.due_at for account, row in rows.items() if row.due_at is not None}, name

    def new_id(self) -> UUID:
        """Return an id of a value or an attempt."""
        return UUID(int=self.draw.getrandbits(128), version=4)

    def some_time(self, most: int = 90) -> timedelta:
        """Return a time of at most so many seconds, exact to the microsecond."""
        return timedelta(microseconds=self.draw.randrange(most * 1_000_000))

    def maybe(self, make: Callable[[], Any]) -> Any:
        """Return what ``make`` makes, or None."""
        return make() if self.draw.random() < 0.6 else None

    def writes(self, account: Account, kinds: tuple[TokenKind, ...] | None = None, **more: Any) -> list[TokenWrite]:
        """Return writes of new values; nobody opens them."""
        return [
            TokenWrite(
                account.key(kind),
                SealedToken(self.data_key_id, self.draw.randbytes(60), self.maybe(lambda: self.draw.randbytes(40))),
                expires_at=self.maybe(lambda: self.clock.now() + self.some_time()),
                lifetime=self.maybe(lambda: self.some_time() + NOTICE),
                scopes=self.draw.choice([None, (), ("a", "b")]),
                lead=self.some_time() if kind is ACCESS else None,
                due_in=self.maybe(self.some_time),
                client=self.maybe(lambda: self.draw.randbytes(16)),
                value_id=self.new_id(),
                **more,
            )
            for kind in kinds or self.draw.choice([KINDS, KINDS[:1], KINDS[1:]])
        ]

    def ref(self, account: Account, *kinds: TokenKind) -> TokenRef:
        """Return a reference to a stored value, or now and then to another one."""
        kind = self.draw.choice(kinds or KINDS)
        token = self.states[account].tokens.get(kind)
        if token is None or self.draw.random() < 0.1:
            return TokenRef(account.key(kind), self.new_id(), 1, self.new_id())
        return TokenRef.of(token.info)

    def latest(self, account: Account) -> UUID | None:
        """Return the id of the latest attempt, or now and then another id."""
        return self.states[account].refresh.attempt_id if self.draw.random() < 0.8 else self.new_id()

    def attempt(self, account: Account) -> Attempt:
        """Return an attempt of this account, mostly the latest one; if there is none, one that nobody has begun."""
        own = [each for each in self.attempts if each.account == account]
        if not own:
            unknown = TokenRef(account.key(REFRESH), self.new_id(), 1, self.new_id())
            return Attempt(account, self.new_id(), unknown, None, self.clock.now(), LEASE)
        return own[-1] if self.draw.random() < 0.7 else self.draw.choice(own)

    def store_values(self, account: Account) -> Fact:
        """Values are stored."""
        writes = self.writes(account, refreshed=self.draw.random() < 0.3)
        return told(lambda store: store.accounts.store, values.stored, writes, actor="a")

    def store_expecting(self, account: Account) -> Fact:
        """A value is stored over a generation."""
        expected, writes = self.draw.randrange(4), self.writes(account, (self.draw.choice(KINDS),))
        return (
            lambda store: changes_of(store).store_expecting(writes[0], expected, actor=None),
            lambda state, now: values.stored(state, now, writes, None, expected),
        )

    def store_set(self, account: Account) -> Fact:
        """A user's consent is stored."""
        label, writes = self.maybe(lambda: self.draw.choice(["Ann", "Ben"])), self.writes(account)
        return told(
            lambda store: changes_of(store).store_set, values.stored_set, writes, of=account, label=label, actor="b"
        )

    def bring(self, account: Account) -> Fact:
        """Values are imported; the store draws their ids."""
        overwrite, drawn = self.draw.random() < 0.5, dict[TokenKind, UUID]()
        status = self.draw.choice(list(TokenStatus))

        def time() -> datetime | None:
            return self.clock.now() + self.draw.choice([-3, -2, -1, 1]) * LEASE if self.draw.random() < 0.6 else None

        writes = [
            ImportedWrite(
                write.key,
                write.sealed,
                status,
                "gone" if status is TokenStatus.INVALID else None,
                write.expires_at,
                scopes=write.scopes or (),
                last_used_at=time(),
                last_refreshed_at=time(),
                created_at=time(),
                updated_at=time(),
                lead=write.lead,
                due_in=write.due_in,
            )
            for write in self.writes(account)
        ]

        async def tell(store: Store) -> Change[list[ImportOutcome]]:
            prepare = store.accounts.begin_import("dump", overwrite=overwrite, actor="h")
            change = await (await prepare(LateWrites.of(writes)))()
            record = (await store.accounts.read(account)).record
            drawn.update({kind: info.id for kind, info in record.tokens.items()} if record else {})
            return change

        def decide(state: AccountState, now: datetime) -> Decision[list[ImportOutcome]]:
            named = [(write, drawn[write.key.kind]) for write in writes]
            own = [each.info.id for each in state.tokens.values() if each.info.id.version == _IMPORTED]
            return imported(state, now, named, own, "h", overwrite=overwrite)

        return tell, decide

    def mark(self, account: Account) -> Fact:
        """A value is marked invalid."""
        ref = self.ref(account)
        return told(lambda store: changes_of(store).mark_invalid, values.marked, ref, "marked", actor="c")

    def report(self, account: Account) -> Fact:
        """A resource has rejected a value."""
        ref = self.ref(account)
        return told(
            lambda store: changes_of(store).report_rejected, values.reported, ref, "reported", window=WINDOW, actor=None
        )

    def revive(self, account: Account) -> Fact:
        """A condemned credential is tried again."""
        ref, due_in, anew = self.ref(account, REFRESH), self.some_time(), self.draw.random() < 0.5
        return told(lambda store: changes_of(store).revive, values.revived, ref, due_in, anew=anew, actor="d")

    def tell_end(self, account: Account) -> Fact:
        """A sweep tells that a refresh token expires soon."""
        return told(lambda store: changes_of(store).tell_end, values.end_told, NOTICE, of=account, actor=None)

    def delete(self, account: Account) -> Fact:
        """Tokens are deleted."""
        kinds = self.draw.choice([KINDS[:1], KINDS[1:], tuple(TokenKind)])
        return (
            lambda store: changes_of(store).delete_account(account, kinds=kinds, actor="e"),
            lambda state, now: values.deleted(state, now, kinds, "e"),
        )

    def use(self, account: Account) -> Fact:
        """A token was used."""
        ref, used_at = self.ref(account), self.clock.now() - self.some_time()
        state = self.states[account]
        for token in [each for each in state.tokens.values() if each.info.id == ref.id]:
            latest = max(used_at, token.info.last_used_at or used_at)
            self.states[account] = state.with_token(token, last_used_at=latest)
        return lambda store: store.accounts.record_uses({ref: used_at}), _nothing

    def reschedule(self, account: Account) -> Fact:
        """A sweep has checked the account."""
        wait = self.maybe(self.some_time)
        due_at = None if wait is None else self.clock.now() + wait
        return (
            lambda store: attempts_of(store).reschedule(account, lambda record, now: due_at),
            lambda state, now: values.rescheduled(state, due_at),
        )

    def claim(self, account: Account) -> Fact:
        """An attempt begins."""
        stored, seen = self.states[account].tokens.get(ACCESS), self.latest(account)
        access = None if stored is None else TokenRef.of(stored.info)
        endpoint = self.maybe(lambda: self.draw.randbytes(16))
        ref = self.ref(account, REFRESH)
        attempt = Attempt(account, self.new_id(), ref, access, self.clock.now(), LEASE, endpoint=endpoint)
        self.attempts.append(attempt)
        return told(lambda store: attempts_of(store).claim, attempts.claimed, attempt, seen)

    def renew(self, account: Account) -> Fact:
        """An attempt lasts longer."""
        attempt = self.attempt(account)
        return told(lambda store: attempts_of(store).renew, attempts.renewed, attempt, LEASE)

    def release(self, account: Account) -> Fact:
        """An attempt ends without a request."""
        attempt = self.attempt(account)
        return told(lambda store: attempts_of(store).release, attempts.released, attempt)

    def withdraw(self, account: Account) -> Fact:
        """An attempt ends of which nobody knows whether it has begun."""
        attempt, seen = self.attempt(account), self.latest(account)
        return told(lambda store: attempts_of(store).withdraw, attempts.withdrawn, attempt, seen)

    def fail(self, account: Account) -> Fact:
        """An attempt fails."""
        attempt = self.attempt(account)
        unknown, refused = (self.draw.random() < chance for chance in (0.4, 0.8))
        code, refused_for = self.maybe(lambda: "server_error"), self.maybe(self.some_time)
        failure = Failure(code, self.some_time(), unknown, refused, refused_for)
        return told(lambda store: attempts_of(store).fail, attempts.failed, attempt, failure, actor="f")

    def keep(self, account: Account) -> Fact:
        """The provider's answer cannot be read."""
        attempt, failure = self.attempt(account), Failure("x", self.some_time(), unknown=self.draw.random() < 0.4)
        answer = SealedAnswer(SealedToken(self.data_key_id, self.draw.randbytes(60)), failure)
        return told(lambda store: attempts_of(store).keep, attempts.unread, attempt, answer, actor="h")

    def reread(self, account: Account) -> Fact:
        """A kept answer is sealed again, or dropped."""
        kept = self.states[account].answer
        attempt_id = self.new_id() if kept is None or self.draw.random() < 0.2 else kept.attempt_id
        sealed = self.maybe(lambda: SealedToken(self.data_key_id, self.draw.randbytes(60)))
        return (
            lambda store: attempts_of(store).reread(account, attempt_id, sealed),
            lambda state, now: attempts.reread(state, attempt_id, sealed),
        )

    def reject(self, account: Account) -> Fact:
        """The provider rejects the credential."""
        attempt = self.attempt(account)
        return told(lambda store: attempts_of(store).reject, attempts.rejected, attempt, "invalid_grant", actor=None)

    def commit(self, account: Account) -> Fact:
        """The provider answers."""
        attempt, keeps_mark = self.attempt(account), self.draw.random() < 0.5
        writes = self.writes(account, refreshed=True, keeps_mark=keeps_mark)
        if self.draw.random() < 0.2:  # an answer from the journal
            writes = [evolve(write, lead=None) for write in writes]
        return told(lambda store: attempts_of(store).commit, attempts.answered, attempt, writes, actor="g")


FACTS = (
    *("store_values", "store_expecting", "store_set", "bring", "mark"),
    *("report", "revive", "tell_end", "delete", "use", "keep", "reread"),
)
ENDS = (*["claim"] * 4, *["fail"] * 3, *["commit"] * 3, "renew", "release", "withdraw", "reject", "reschedule")
EMPTY = (None, 0, (), False, timedelta(0))
PARTS = (AccountRow, RefreshState, TokenInfo, SealedToken, StoredToken)


def told(
    method: Callable[[Store], Callable[..., Any]],
    transition: Callable[..., Decision[Any]],
    *given: Any,
    of: Account | None = None,
    **more: Any,
) -> Fact:
    """Return a fact that a method tells to a store, and a transition to a state in memory, with the same arguments."""
    first = () if of is None else (of,)
    return (
        lambda store: method(store)(*first, *given, **more),
        lambda state, now: transition(state, now, *given, **more),
    )


def parts_of(state: AccountState) -> list[AccountRow | RefreshState | TokenInfo | SealedToken | StoredToken]:
    """Return everything that is stored of an account, part by part."""
    row = () if state.row is None else (state.row, state.row.refresh)
    return [*row, *(part for token in state.tokens.values() for part in (token.info, token.sealed, token))]


def _nothing(state: AccountState, now: object) -> Decision[None]:
    return Decision(state, None)


class FactCases(ContractFixtures):
    """`change`, `store` and imports, without damaged rows and without concurrent writers."""

    @pytest.mark.parametrize("seed", SEEDS)
    async def test_the_store_holds_what_the_transitions_make(
        self, store: Store, vault: TokenVault, clock: ManualClock, seed: int
    ) -> None:
        await vault.store_token(key("another account"), "v")
        active = await store.keys.data_key(ACCOUNT.tenant_id, None)
        assert active is not None
        known = len(await events_of(vault))
        story = Story(seed, store, active.key_id, clock)
        for _ in range(STEPS):
            await story.step()
        assert [evolve(event, cursor=None) for event in (await events_of(vault))[known:]] == story.events
        optional = [
            (part.__name__, field.name) for part in PARTS for field in fields(part) if field.default is not NOTHING
        ]
        expected = {(*each, is_empty) for each in optional for is_empty in (True, False)}
        expected |= {("AccountState", "answer", is_empty) for is_empty in (True, False)}
        expected -= {
            ("AccountRow", "refresh", True),
            ("StoredToken", "version", False),
            ("TokenInfo", "value_id", True),
        }
        assert expected <= story.kept, "each field was once empty and once not"
