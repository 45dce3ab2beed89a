"""A store in a dictionary, the smallest that passes the contract. It is the example of the guide "Write a store"."""

from contextlib import asynccontextmanager

from attrs import define
from tests.examples.dict_store.accounts import DictAccounts
from tests.examples.dict_store.audit import DictAuditLog
from tests.examples.dict_store.clients import DictClientStates
from tests.examples.dict_store.keys import DictKeys
from tests.examples.dict_store.pages import DictPages
from tests.examples.dict_store.upkeep import DictUpkeep


@define
class DictStore:
    """The ports of one database; it has the shape of `Store`."""

    accounts: object
    pages: object
    keys: object
    audit: object
    clients: object
    upkeep: object


@asynccontextmanager
async def open_dict_store(database, clock):
    """Open a `DictDatabase` as a store; it may be opened several times on one event loop."""
    kinds = (DictAccounts, DictPages, DictKeys, DictAuditLog, DictClientStates, DictUpkeep)
    yield DictStore(*(kind(database, clock) for kind in kinds))
