"""Stores with one mistake each, and the part of the suite that is to find it; run by `test_suite`."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial, reduce
from uuid import uuid4

import pytest
from attrs import evolve
from tests.examples.dict_store import open_dict_store
from tests.examples.dict_store.accounts import state_of
from tests.examples.dict_store.database import DictDatabase

from vault_adapters.testing.contract.across import AcrossCases
from vault_adapters.testing.contract.audit import AuditCases
from vault_adapters.testing.contract.bulk import BulkCases
from vault_adapters.testing.contract.clients import ClientCases
from vault_adapters.testing.contract.concurrency import ConcurrencyCases
from vault_adapters.testing.contract.events import EventCases
from vault_adapters.testing.contract.facts import FactCases
from vault_adapters.testing.contract.importing import ImportCases
from vault_adapters.testing.contract.isolation import IsolationCases
from vault_adapters.testing.contract.keys import KeyTableCases
from vault_adapters.testing.contract.listings import ListingCases
from vault_adapters.testing.contract.reserving import ReserveCases
from vault_adapters.testing.contract.rotation import DataKeyCases, MasterKeyCases
from vault_adapters.testing.contract.states import StateCases
from vault_adapters.testing.contract.tokens import TokenCases
from vault_adapters.testing.contract.unread import UnreadCases
from vault_adapters.testing.contract.uses import UseCases
from vault_domain.entities.account_state import Decision
from vault_domain.entities.key_decisions import KeyDecision, MasterKeySet
from vault_domain.ports.change import Change
from vault_domain.ports.late_writes import LateWrites
from vault_domain.ports.pages import Owned
from vault_domain.ports.upkeep import StateUse

METHODS = {
    "accounts": {
        "get": TokenCases,
        "get_many": TokenCases,
        "read": TokenCases,
        "change": FactCases,
        "store": TokenCases,
        "reserve_due": ReserveCases,
        "record_uses": UseCases,
        "begin_import": ImportCases,
        "erase": DataKeyCases,
    },
    "pages": {
        "tokens": ListingCases,
        "accounts": ListingCases,
        "tenants": AcrossCases,
        "count_accounts": AcrossCases,
        "kept_answers": UnreadCases,
        "count_health": ListingCases,
    },
    "keys": {
        "master_keys": KeyTableCases,
        "change_master_keys": KeyTableCases,
        "data_key": KeyTableCases,
        "create_data_key": KeyTableCases,
        "change_data_key": KeyTableCases,
        "data_keys": KeyTableCases,
        "change_data_keys": DataKeyCases,
        "key_counts": KeyTableCases,
        "rows_to_reseal": DataKeyCases,
        "reseal": DataKeyCases,
        "change_wraps": MasterKeyCases,
    },
    "audit": {"page": EventCases, "latest": AuditCases, "append": AuditCases, "prune": AuditCases}
    | dict.fromkeys(("seals", "chain_ends", "add_seal"), AuditCases),
    "clients": dict.fromkeys(["records", "change", "take_turn", "note_restore"], ClientCases),
    "upkeep": {
        "ping": TokenCases,
        "use_state": StateCases,
    },
}
"""By port and method, the part of the suite that must fail if the method is missing."""


async def a_change_forgets_what_others_write_meanwhile(store, account, decide):
    loaded = []

    def load(state, now):
        loaded.append((state, now))
        return Decision(state, None)

    await store.accounts.change(account, load)
    decision = decide(*loaded[0])
    await asyncio.sleep(0)
    return await store.accounts.change(account, lambda state, now: decision)


async def a_change_forgets_its_events(store, account, decide):
    decision = await store.accounts.change(account, lambda state, now: evolve(decide(state, now), events=()))
    return evolve(decision, events=decision.events)


async def a_change_keeps_deleted_rows(store, account, decide):
    def keep(state, now):
        decision = decide(state, now)
        return evolve(decision, state=state if decision.state.is_empty else decision.state)

    return await store.accounts.change(account, keep)


async def a_change_forgets_which_answer_was_stored(store, account, decide):
    decision = await store.accounts.change(account, decide)

    def forget(tables):
        if account in tables.accounts and decision.state.row is not None:
            tables.accounts[account] = decision.state.with_row(committed_attempt_id=None)

    await store.accounts._database.transact(forget, store.accounts._clock)
    return decision


async def reserve_gives_the_same_account_twice(store, provider, *, hold, limit, since, until):
    return await store.accounts.reserve_due(provider, hold=timedelta(0), limit=limit, since=since, until=until)


async def reserve_takes_any_order(store, provider, *, hold, limit, since, until):
    due, now = await store.accounts.reserve_due(provider, hold=hold, limit=limit, since=since, until=until)
    return due[::-1], now


def neighbour_of(store, account):
    """Return the stored account that a case-insensitive database would find for this account."""
    accounts = store.accounts._database.tables.accounts
    found = [each for each in accounts if repr(each).lower() == repr(account).lower()]
    return account if account in found or not found else found[0]


async def get_ignores_case(store, key):
    return await store.accounts.get(neighbour_of(store, key.account).key(key.kind))


async def get_ignores_case_and_hides_it(store, key):
    reading = await get_ignores_case(store, key)
    return (
        reading
        if reading.row is None
        else evolve(reading, row=evolve(reading.row, info=evolve(reading.row.info, key=key)))
    )


async def get_many_ignores_case(store, keys):
    return await store.accounts.get_many([neighbour_of(store, key.account).key(key.kind) for key in keys])


async def get_many_leaves_one_out(store, keys):
    rows, now = await store.accounts.get_many(keys)
    return rows[1:], now


async def list_ignores_case(store, query, *, limit, after):
    if not isinstance(query, Owned):
        return await store.pages.tokens(query, limit=limit, after=after)
    tenants = {account.tenant_id for account in store.accounts._database.tables.accounts}
    names = {name for name in tenants if name.lower() == query.tenant_id.lower()} or {query.tenant_id}
    return [
        info
        for name in sorted(names)
        for info in await store.pages.tokens(evolve(query, tenant_id=name), limit=limit, after=after)
    ]


async def read_ignores_case(store, account):
    return await store.accounts.read(neighbour_of(store, account))


async def data_key_of_another_tenant(store, tenant_id, key_id):
    keys = store.accounts._database.tables.data_keys
    names = [name for name, _ in keys if name.lower() == tenant_id.lower()] or [tenant_id]
    return await store.keys.data_key(names[0], key_id)


async def first_data_key_is_replaced(store, record):
    await store.keys.create_data_key(record)
    return record


async def master_keys_are_loaded_before_the_transaction(store, decide):
    loaded = []

    def load(keys, now):
        loaded.append((keys, now))
        return KeyDecision(keys)

    await store.keys.change_master_keys(load)
    decision = decide(*loaded[0])

    def put(keys, now):
        changed = [record for record in decision.state.records if record not in loaded[0][0].records]
        return KeyDecision(reduce(MasterKeySet.put, changed, keys), decision.events)

    return await store.keys.change_master_keys(put)


async def uses_move_back(store, uses):
    def work(tables):
        for ref, used_at in uses.items():
            state = state_of(tables, ref.key.account)
            if ref.key.kind in state.tokens:
                used = state.with_token(state.tokens[ref.key.kind], last_used_at=used_at)
                tables.accounts[state.account] = used

    await store.accounts._database.transact(work, store.accounts._clock)


async def is_missing(store, *args, **kwargs):
    raise NotImplementedError


async def a_change_forgets_what_others_decide_meanwhile(store, scope, decide):
    loaded = (await store.clients.records(scope.provider)).of(scope)
    await asyncio.sleep(0)
    return await store.clients.change(scope, lambda record, now: decide(loaded, now))


async def a_list_knows_no_endpoints(store, query, **given):
    return await store.pages.tokens(evolve(query, client=b"") if hasattr(query, "client") else query, **given)


async def each_process_has_turns_of_its_own(store, provider, client, *how):
    return await store.clients.take_turn(provider, uuid4().bytes, *how)


async def many_come_back_in_the_order_of_their_keys(store, writes, *, actor):
    late = LateWrites.of(writes)
    order = sorted(range(len(late.keys)), key=lambda index: repr(late.keys[index]))
    return await store.accounts.store(LateWrites.of(late.take(order)), actor=actor)


async def many_are_stored_one_by_one(store, writes, *, actor):
    late = LateWrites.of(writes)
    changes = [await store.accounts.store([write], actor=actor) for write in late.take(range(len(late.keys)))]
    events = [event for change in changes for event in change.events]
    return Change([info for change in changes for info in change.result], events)


async def a_state_is_checked_before_it_is_noted(store, state_id, expires_at):
    database = store.accounts._database
    was_used = state_id in database.tables.used_states
    await asyncio.sleep(0)
    use = await store.upkeep.use_state(state_id, expires_at)
    return use if was_used or use is StateUse.EXPIRED else StateUse.FIRST


async def a_state_never_expires(store, state_id, expires_at):
    return await store.upkeep.use_state(state_id, expires_at + timedelta(days=1))


MISTAKES = {
    a_state_is_checked_before_it_is_noted: ("upkeep", "use_state", StateCases),
    a_state_never_expires: ("upkeep", "use_state", StateCases),
    a_change_forgets_what_others_decide_meanwhile: ("clients", "change", ClientCases),
    a_list_knows_no_endpoints: ("pages", "tokens", ClientCases),
    each_process_has_turns_of_its_own: ("clients", "take_turn", ClientCases),
    a_change_forgets_what_others_write_meanwhile: ("accounts", "change", ConcurrencyCases),
    a_change_forgets_its_events: ("accounts", "change", FactCases),
    a_change_keeps_deleted_rows: ("accounts", "change", FactCases),
    a_change_forgets_which_answer_was_stored: ("accounts", "change", FactCases),
    reserve_gives_the_same_account_twice: ("accounts", "reserve_due", ReserveCases),
    reserve_takes_any_order: ("accounts", "reserve_due", ReserveCases),
    many_come_back_in_the_order_of_their_keys: ("accounts", "store", BulkCases),
    many_are_stored_one_by_one: ("accounts", "store", BulkCases),
    first_data_key_is_replaced: ("keys", "create_data_key", KeyTableCases),
    master_keys_are_loaded_before_the_transaction: ("keys", "change_master_keys", KeyTableCases),
    get_ignores_case: ("accounts", "get", IsolationCases),
    get_ignores_case_and_hides_it: ("accounts", "get", IsolationCases),
    get_many_ignores_case: ("accounts", "get_many", IsolationCases),
    get_many_leaves_one_out: ("accounts", "get_many", IsolationCases),
    list_ignores_case: ("pages", "tokens", IsolationCases),
    read_ignores_case: ("accounts", "read", IsolationCases),
    data_key_of_another_tenant: ("keys", "data_key", IsolationCases),
    uses_move_back: ("accounts", "record_uses", UseCases),
}
"""For each mistake: the port and the method that it replaces, and the part of the suite that must fail."""


class WrongRepository:
    """The example store's repository with one method replaced."""

    def __init__(self, store, port, method, wrong):
        self._right, self._method, self._wrong = getattr(store, port), method, partial(wrong, store)

    def __getattr__(self, name):
        return self._wrong if name == self._method else getattr(self._right, name)


class WrongStore:
    """Opens the example store with one method replaced."""

    place = None

    @pytest.fixture
    def open_store(self):
        database = DictDatabase()
        port, method, wrong = self.place

        @asynccontextmanager
        async def opened(clock):
            async with open_dict_store(database, clock) as store:
                yield evolve(store, **{port: WrongRepository(store, port, method, wrong)})

        return opened


def wrong_class(name, place, part):
    globals()[name] = type(name, (WrongStore, part), {"place": place})


for port, methods in METHODS.items():
    for method, part in methods.items():
        wrong_class(f"TestWithout_{port}_{method}", (port, method, is_missing), part)
for wrong, (port, method, part) in MISTAKES.items():
    wrong_class(f"TestMistake_{wrong.__name__}", (port, method, wrong), part)
