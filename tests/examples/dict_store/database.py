"""The database: dictionaries of frozen values, and transactions that take effect as a whole."""

import asyncio
from datetime import datetime
from functools import wraps
from operator import attrgetter

from attrs import define, field, fields


@define
class Tables:
    """The tables. Their values are frozen, so that a shallow copy is a snapshot."""

    accounts: dict = field(factory=dict)  # AccountState by Account
    master_keys: dict = field(factory=dict)  # MasterKeyRecord by id
    data_keys: dict = field(factory=dict)  # DataKeyRecord by (tenant, id)
    data_key_times: dict = field(factory=dict)  # time of creation by (tenant, id)
    clients: dict = field(factory=dict)  # ClientRecord by ClientScope
    turns: dict = field(factory=dict)  # Turns by provider and client
    restorations: set = field(factory=set)  # times at which a backup went into use
    used_states: dict = field(factory=dict)  # expiry by the state's id
    events: dict = field(factory=dict)  # AuditEvent by number, in the order of the numbers
    seals: dict = field(factory=dict)  # Seal by number
    chain_ends: dict = field(factory=dict)  # ChainEnd by tenant

    now: datetime | None = None  # the time that all changes of a transaction share

    def copy(self, now=None):
        return Tables(*[table.copy() for table in _tables_of(self)], now)

    @property
    def tokens(self):
        """All tokens, each with the state of its account."""
        return [(state, token) for state in self.accounts.values() for token in state.tokens.values()]

    def append(self, events):
        for event in events:
            (event.actor or "").encode()  # refuses text that no database can store
            self.events[next(reversed(self.events), 0) + 1] = event
        return events


_tables_of = attrgetter(*(table.name for table in fields(Tables) if table.name != "now"))


class DictDatabase:
    """The tables, which all stores over one database share."""

    def __init__(self):
        self.tables = Tables()
        self._lock = asyncio.Lock()

    async def transact(self, work, clock):
        """Run ``work`` on a copy of the tables; the copy replaces them unless ``work`` raises."""
        async with self._lock:
            await asyncio.sleep(0)  # lets other tasks run, as waiting for a real database would
            tables = self.tables.copy(clock.now())
            result = work(tables)
            self.tables = tables
            return result


class Port:
    """What implements a port over a database."""

    def __init__(self, database, clock):
        self._database, self._clock = database, clock

    @property
    def _tables(self):
        return self._database.tables


def atomic(work):
    """Make a method that gets tables to change into one that runs in a transaction of its own."""

    @wraps(work)
    async def method(self, *args, **kwargs):
        return await self._database.transact(lambda tables: work(self, tables, *args, **kwargs), self._clock)

    return method


def page(items, place, limit, after):
    """Return the first items behind a place, sorted by their places."""
    return sorted((item for item in items if after is None or place(item) > after), key=place)[:limit]
