"""The database server, and each process's connections to it."""

import asyncio
from datetime import timedelta

from attrs import evolve
from tests.examples.dict_store import open_dict_store
from tests.examples.dict_store.database import DictDatabase, Tables
from tests.simulation.loop import PROCESS

from vault_adapters.stores.postgres.clock_watch import ClockWatch
from vault_domain.entities.account_state import AccountRow
from vault_domain.entities.errors import StorageError

MOST_EVENTS = 20
_CLIENT_LIMIT = 30.0
"""Seconds after which a client gives up on a statement."""


class Server(DictDatabase):
    """The tables; each transaction runs in one go, so that no client can die while it holds a lock.

    Args:
        most_events: number of new events after which all events about tokens are dropped, for speed; None: never.
        on_accounts: called after each change of accounts.
    """

    def __init__(self, most_events=None, on_accounts=lambda: None):
        super().__init__()
        self._most_events = self._limit = most_events
        self._on_accounts = on_accounts
        self._judged, self._first_due, self._first_seconds = None, None, float("inf")

    def has_due(self, clock):
        """Return whether a sweep would find an account."""
        # The numbers are compared first, because they exist already, whereas `now` has to make a datetime.
        return clock.seconds + 1.0 > self.first_due(clock) and self._first_due <= clock.now()

    def first_due(self, clock):
        """Return the time at which the first account becomes due, in seconds of the clock; infinite: never."""
        accounts = self.tables.accounts
        if accounts is not self._judged:  # each transaction that changes accounts replaces them
            rows = [state.row for state in accounts.values() if state.row is not None]
            times = [row.due_at for row in rows if row.due_at is not None]
            self._judged, self._first_due = accounts, min(times, default=None)
            self._first_seconds = float("inf") if not times else (self._first_due - clock.start).total_seconds()
        return self._first_seconds

    async def transact(self, work, clock):
        """Run ``work`` on copies of the tables that it asks for; they replace the tables unless ``work`` raises.

        A reader does not wait between its reads of the tables, so it sees either all changes of a transaction or none.
        """
        events = self.tables.events
        if self._limit is not None and len(events) > self._limit:
            # Events about keys must stay: they confirm the states of keys.
            self.tables.events = {number: event for number, event in events.items() if event.account is None}
            self._limit = len(self.tables.events) + self._most_events
        tables = _TouchedTables(self.tables, clock.now())
        result = work(tables)
        changed = vars(tables)
        del changed["_before"], changed["now"]
        for name, table in changed.items():
            setattr(self.tables, name, table)
        if "accounts" in changed:
            self._on_accounts()
        return result


class _TouchedTables:
    """The tables of a transaction: each is copied when it is first asked for."""

    append, tokens = Tables.append, Tables.tokens

    def __init__(self, before, now):
        self._before, self.now = before, now

    def __getattr__(self, name):
        table = getattr(self._before, name).copy()
        setattr(self, name, table)
        return table


class Link:
    """A process's connections.

    Attributes:
        slow: longest delay of each direction, in seconds.
        lost: probability that a statement fails, before or after it took effect.
        down: whether every statement fails.
        silent: whether statements and answers are lost, so that the client waits until it gives up.
        refused: the changes about refreshes that fail, while all else succeeds: ``commit`` or ``claim``.
        broken_since: time of the latest change.
        last_cut: beginning and end of the latest time in which no statement could succeed; no end while it lasts.
    """

    def __init__(self, loop, random, ambush):
        self._loop, self._random, self.ambush = loop, random, ambush
        self.slow, self.lost, self.down, self.silent = 0.0, 0.0, False, False
        self.refused = frozenset()
        self.broken_since, self.last_cut, self._has_trouble = 0.0, None, False

    def heal(self):
        """End all faults, except that claims are refused: they may have to wait for the commits of others."""
        if "commit" in self.refused:
            self.refused = frozenset()
        self.change({"slow": 0.0, "lost": 0.0, "down": False, "silent": False})
        self.broken_since = 0.0

    def change(self, changes):
        """Begin or end faults, given by the names of their attributes."""
        was_broken = self.is_broken
        for name, value in changes.items():
            setattr(self, name, value)
        self._has_trouble = bool(self.slow or self.lost or self.down or self.silent)
        self.broken_since = self._loop.time()
        if self.is_broken and not was_broken:
            self.last_cut = self.broken_since, None
        elif was_broken and not self.is_broken:
            self.last_cut = self.last_cut[0], self.broken_since

    @property
    def is_broken(self):
        """Whether statements cannot succeed."""
        return self.down or self.silent

    @property
    def is_calm(self):
        """Whether statements take effect at once; asked before each, for speed."""
        return not (self._has_trouble or self.ambush.is_set)

    async def run(self, call):
        """Send a statement, let the server run it, and return the answer."""
        if self.ambush.is_set:
            return await self.ambush.around(lambda: self._run(call))
        return await self._run(call)

    async def refuse(self):
        """Let a statement fail soon."""
        await asyncio.sleep(0.05)
        raise StorageError("the database is away", retryable=True)

    async def _run(self, call):
        if not self._has_trouble:
            return await call()
        result = self._loop.create_future()
        random = self._random
        if self.silent and random.random() < 0.7:
            self._give_up_later(result)
        elif self.down or (self.lost and random.random() < self.lost / 2):
            self._loop.outside(random.uniform(0.0, self.slow), _refuse, result)
        else:
            self._loop.outside(random.uniform(0.0, self.slow), self._serve, call, result)
        return await result

    def _serve(self, call, result):
        try:
            answer = _ended(call())
        except Exception as error:
            _set(result, error=error)
            return
        delay = self._random.uniform(0.0, self.slow)
        if self.silent:
            self._give_up_later(result)
        elif self._random.random() < self.lost:
            self._loop.outside(delay, _refuse, result)
        else:
            self._loop.outside(delay, _set, result, answer)

    def _give_up_later(self, result):
        self._loop.outside(_CLIENT_LIMIT, _refuse, result)


class Linked:
    """A repository behind a link."""

    def __init__(self, repository, link):
        self._repository, self._link = repository, link

    def __getattr__(self, name):
        method = getattr(self._repository, name)
        if not asyncio.iscoroutinefunction(method) and name != "get":  # `get` returns a future
            return method

        link = self._link

        def call(*args, **kwargs):
            if link.is_calm:
                return method(*args, **kwargs)
            return link.run(lambda: method(*args, **kwargs))

        setattr(self, name, call)
        return call


class _RefusedError(Exception):
    """The link refuses this change."""


class LinkedAccounts(Linked):
    """The accounts, which watch the server's clock as those of Postgres do."""

    def __init__(self, repository, link, monotonic):
        super().__init__(repository, link)
        self._watch = ClockWatch(monotonic)

    def begin_watching(self, now):
        """Note the server's time at the opening."""
        PROCESS.get().first_read_at = self._watch.monotonic()
        self._watch.read(now, self._watch.monotonic())

    async def change(self, account, decide):
        """Change an account, unless the link refuses such changes."""

        def admitted(state, now):
            decision = decide(state, now)
            if self._link.refused & _kinds_of(state.row, decision.state.row):
                raise _RefusedError
            return decision

        def work():
            return self._repository.change(account, admitted if self._link.refused else decide)

        try:
            return await (work() if self._link.is_calm else self._link.run(work))
        except _RefusedError:
            return await self._link.refuse()

    async def read(self, account, *, with_values=True):
        """Read an account, and tell since when the server's clock has not been set."""
        asked = self._watch.monotonic()
        if self._link.is_calm:
            snapshot = await self._repository.read(account)
        else:
            snapshot = await self._link.run(lambda: self._repository.read(account))
        self._watch.read(snapshot.now, asked)
        seconds = self._watch.seconds_since_step()
        return snapshot if seconds is None else evolve(snapshot, clock_since=snapshot.now - timedelta(seconds=seconds))


async def linked_store(server, clock, link, monotonic):
    """Return a store whose statements go through a link."""
    async with open_dict_store(server, clock) as store:
        for name in type(store).__slots__:
            if not name.startswith("_"):
                setattr(store, name, Linked(getattr(store, name), link))
        store.accounts = LinkedAccounts(store.accounts._repository, link, monotonic)
        store.accounts.begin_watching(clock.now())
        return store


def _kinds_of(before, after):
    """Return what becomes of an account's row: the names of the changes that a link can refuse."""
    if after is None:
        return set()
    old = AccountRow() if before is None else before
    is_claim = after.refresh.lease_until is not None and after.refresh.attempt_id != old.refresh.attempt_id
    is_commit = after.committed_attempt_id != old.committed_attempt_id
    return {name for name, is_so in (("claim", is_claim), ("commit", is_commit)) if is_so}


def _ended(coroutine):
    """Return the result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise AssertionError("the server waited in the middle of a statement")


def _refuse(result):
    _set(result, error=StorageError("the database is away", retryable=True))


def _set(result, answer=None, error=None):
    if result.done():
        return
    if error is None:
        result.set_result(answer)
    else:
        result.set_exception(error)
        result.exception()  # the process that waits for it may be dead, and asyncio would complain
