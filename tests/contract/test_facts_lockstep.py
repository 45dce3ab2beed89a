"""The example store, SQLite, Postgres and distributed tables answer any sequence of facts about accounts alike.

Without a cluster, the server of the distributed tables is a plain one; see `test_citus_statements.py`.
"""

import random
from contextlib import AsyncExitStack
from datetime import timedelta
from uuid import UUID

import pytest
from attrs import evolve
from tests.contract.stores import open_postgres, open_sqlite
from tests.examples.dict_store.database import DictDatabase
from tests.examples.dict_store.store import open_dict_store

from vault_adapters import Secret, VaultConfig
from vault_adapters.composition import open_vault_over
from vault_adapters.testing import ManualClock
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.account_state import Decision
from vault_domain.entities.attempt import Attempt, Commit, Failure
from vault_domain.entities.errors import VaultError
from vault_domain.entities.suspicion import ConfirmationWindow
from vault_domain.entities.token import SealedToken, StoredToken, TokenRef, TokenWrite

CONFIG = VaultConfig(encryption_secret=Secret("facts-in-lockstep-" + "0" * 40), scrypt_log2_n=14)
ACCOUNTS = [Account("t1", "google", "ann"), Account("t1", "google", None)]
KINDS = [TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN]
WINDOW = ConfirmationWindow(timedelta(seconds=10), timedelta(seconds=60))
LEASE, NOTICE = timedelta(seconds=20), timedelta(seconds=30)


class Lockstep:
    """Draws facts, and tells each of them to all stores.

    Values and attempts are named here, so that all stores know them by the same ids. The stores differ only in the data
    keys under which the values are sealed.
    """

    def __init__(self, seed, stores, data_keys, clock):
        self.draw, self.clock = random.Random(seed), clock
        self.stores, self.data_keys = stores, data_keys
        self.attempts, self.seen = [], {}

    async def states(self, account):
        found = []
        for store in self.stores:
            decision = await store.refreshes._states.change(account, lambda state, now: Decision(state, None))
            found.append((plain(decision.state.tokens), decision.state.row))
        return found

    def new_id(self):
        return UUID(int=self.draw.getrandbits(128), version=4)

    def seconds(self, most=90):
        return timedelta(seconds=self.draw.randrange(most))

    def maybe(self, make):
        return make() if self.draw.random() < 0.6 else None

    def writes(self, account, kinds=None, **more):
        """Return the writes of values for each store."""
        several = [
            TokenWrite(
                account.key(kind),
                SealedToken(b"", f"value {self.draw.random()}".encode()),
                lifetime=self.maybe(lambda: timedelta(seconds=60)),
                scopes=self.draw.choice([None, (), ("a", "b")]),
                lead=self.seconds() if kind is TokenKind.ACCESS_TOKEN else None,
                due_in=self.maybe(self.seconds),
                value_id=self.new_id(),
                **more,
            )
            for kind in kinds or self.draw.choice([KINDS, KINDS[:1], KINDS[1:]])
        ]
        return [
            [evolve(write, sealed=evolve(write.sealed, data_key_id=data_key)) for write in several]
            for data_key in self.data_keys
        ]

    async def tokens(self, account):
        """Return the stored tokens by kind."""
        (tokens, _), *_ = await self.states(account)
        return tokens

    async def fact(self, account):
        """Return a fact by its name, and for each store the call that tells it."""
        tokens = await self.tokens(account)
        name = self.draw.choice([*FACTS, *REFRESHING, *REFRESHING])
        make = getattr(self, name)
        return name, make(account, tokens)

    def ref(self, account, tokens, kinds=KINDS):
        """Return a reference to a stored value, or now and then to another one."""
        kind = self.draw.choice(kinds)
        if kind not in tokens or self.draw.random() < 0.1:
            return TokenRef(account.key(kind), self.new_id(), 1, self.new_id())
        return TokenRef.of(tokens[kind][0])

    def store(self, account, _):
        writes = self.writes(account, refreshed=self.draw.random() < 0.3)
        return [lambda store, own=own: store.tokens.store(own, actor="a") for own in writes]

    def store_expecting(self, account, _):
        generation, kind = self.draw.randrange(4), self.draw.choice(KINDS)
        return [
            lambda store, own=own: store.changes.store_expecting(own[0], generation, actor=None)
            for own in self.writes(account, [kind])
        ]

    def store_set(self, account, _):
        label = self.maybe(lambda: self.draw.choice(["Ann", "Ben"]))
        return [
            lambda store, own=own: store.changes.store_set(account, own, label=label, actor="b")
            for own in self.writes(account)
        ]

    def mark(self, account, tokens):
        ref = self.ref(account, tokens)
        return [lambda store: store.changes.mark_invalid(ref, "marked", actor="c")] * len(self.stores)

    def report(self, account, tokens):
        ref = self.ref(account, tokens)
        call = lambda store: store.changes.report_rejected(ref, "reported", window=WINDOW, actor=None)  # noqa: E731
        return [call] * len(self.stores)

    def revive(self, account, tokens):
        ref, due_in = self.ref(account, tokens, KINDS[1:]), self.seconds()
        return [lambda store: store.changes.revive(ref, due_in, actor="d")] * len(self.stores)

    def tell_end(self, account, _):
        return [lambda store: store.changes.tell_end(account, NOTICE, actor=None)] * len(self.stores)

    def delete_token(self, account, _):
        key = account.key(self.draw.choice(KINDS))
        return [lambda store: store.changes.delete_token(key, actor=None)] * len(self.stores)

    def delete_account(self, account, _):
        return [lambda store: store.changes.delete_account(account, actor="e")] * len(self.stores)

    def use(self, account, tokens):
        uses = {self.ref(account, tokens): self.clock.now() - self.seconds()}
        return [lambda store: store.tokens.record_uses(uses)] * len(self.stores)

    def reschedule(self, account, _):
        wait = self.maybe(self.seconds)
        judge = lambda record, now: None if wait is None else now + wait  # noqa: E731
        return [lambda store: store.refreshes.reschedule(account, judge)] * len(self.stores)

    def claim(self, account, tokens):
        access = TokenRef.of(tokens[KINDS[0]][0]) if KINDS[0] in tokens else None
        credential = self.ref(account, tokens, KINDS[1:])
        attempt = Attempt(account, self.new_id(), credential, access, self.clock.now(), LEASE, endpoint=b"e" * 16)
        seen = self.seen.get(account) if self.draw.random() < 0.9 else self.new_id()
        self.attempts.append(attempt)
        return [lambda store: store.refreshes.claim(attempt, seen)] * len(self.stores)

    def end(self, account, _):
        attempt = self.attempt(account)
        how = self.draw.choice(["release", "withdraw", "renew", "fail", "reject"])
        failure = Failure(
            *(self.maybe(lambda: "server_error"), self.seconds()),
            *(self.draw.random() < 0.5, self.draw.random() < 0.5, self.maybe(self.seconds)),
        )
        calls = {
            "release": lambda store: store.refreshes.release(attempt),
            "withdraw": lambda store: store.refreshes.withdraw(attempt, self.seen.get(account)),
            "renew": lambda store: store.refreshes.renew(attempt, LEASE),
            "fail": lambda store: store.refreshes.fail(attempt, failure, actor=None),
            "reject": lambda store: store.refreshes.reject(attempt, "invalid_grant", actor=None),
        }
        return [calls[how]] * len(self.stores)

    def commit(self, account, _):
        attempt, keeps = self.attempt(account), self.draw.random() < 0.5
        return [
            lambda store, own=own: store.refreshes.commit(attempt, own, actor="f")
            for own in self.writes(account, refreshed=True, keeps_mark=keeps)
        ]

    def attempt(self, account):
        """Return an attempt of this account: mostly the latest one; if there is none, one that nobody has begun."""
        own = [each for each in self.attempts if each.account == account]
        if not own:
            ref = TokenRef(account.key(KINDS[1]), self.new_id(), 1, self.new_id())
            return Attempt(account, self.new_id(), ref, None, self.clock.now(), LEASE)
        return own[-1] if self.draw.random() < 0.7 else self.draw.choice(own)

    async def step(self):
        """Tell one fact, and compare what the stores answer and what they hold then."""
        is_set_back = self.draw.random() < 0.05
        self.clock.set(self.clock.now() + (-self.seconds(40) if is_set_back else self.seconds(30)))
        account = self.draw.choice(ACCOUNTS)
        (_, row), *_ = await self.states(account)
        self.seen = {account: None if row is None else row.refresh.attempt_id}
        name, calls = await self.fact(account)
        answers = [await answer_of(call, store) for call, store in zip(calls, self.stores, strict=True)]
        for other in answers[1:]:
            assert other == answers[0], name
        for each in ACCOUNTS:
            first, *others = await self.states(each)
            for other in others:
                assert other == first, name


FACTS = ["store", "store_expecting", "store_set", "mark", "report", "revive", "tell_end", "delete_token", "use"]
FACTS += ["delete_account", "reschedule"]
REFRESHING = ["claim", "end", "commit"]


async def answer_of(call, store):
    try:
        return plain(await call(store))
    except VaultError as error:
        return type(error)


def plain(answer):
    """Return an answer without the data keys, in which the stores differ."""
    if isinstance(answer, StoredToken):
        return answer.info, answer.sealed.blob, answer.is_end_told
    if isinstance(answer, Commit):
        return answer.outcome, plain(answer.access)
    if isinstance(answer, dict):
        return {key: plain(each) for key, each in answer.items()}
    if hasattr(answer, "events"):
        return plain(answer.result), list(answer.events)
    return answer


@pytest.mark.parametrize("seed", range(5))
async def test_all_stores_agree(seed, prepared_schemas, citus_schemas):
    clock = ManualClock()
    async with AsyncExitStack() as stack:
        schema, distributed = (stack.enter_context(each.lend()) for each in (prepared_schemas, citus_schemas))
        openings = [
            open_dict_store(DictDatabase(), clock),
            open_sqlite(":memory:")(clock),
            open_postgres(prepared_schemas.url, schema)(clock),
            open_postgres(citus_schemas.url, distributed)(clock),
        ]
        stores = [await stack.enter_async_context(opening) for opening in openings]
        data_keys = []
        for store in stores:
            async with open_vault_over(store, CONFIG) as vault:
                await vault.store_token(ACCOUNTS[0].key(TokenKind.WEBHOOK_SECRET), "v")
                await vault.delete_account(ACCOUNTS[0])
            data_keys.append((await store.keys.active_data_key("t1")).key_id)
        lockstep = Lockstep(seed, stores, data_keys, clock)
        for _ in range(60):
            await lockstep.step()
