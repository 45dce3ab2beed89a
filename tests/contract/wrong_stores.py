"""Stores with one mistake each, and the part of the suite that is to find it; run by `test_suite`."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial, reduce
from uuid import uuid4

import pytest
from attrs import evolve
from tests.examples.dict_store import open_dict_store
from tests.examples.dict_store.database import DictDatabase
from tests.examples.dict_store.tokens import by_key

from vault_adapters.testing.contract.across import AcrossCases
from vault_adapters.testing.contract.attempts import AttemptCases
from vault_adapters.testing.contract.audit import AuditCases
from vault_adapters.testing.contract.bulk import BulkCases
from vault_adapters.testing.contract.clients import ClientCases
from vault_adapters.testing.contract.endings import EndingCases
from vault_adapters.testing.contract.events import EventCases
from vault_adapters.testing.contract.facts import FactCases
from vault_adapters.testing.contract.importing import ImportCases
from vault_adapters.testing.contract.isolation import IsolationCases
from vault_adapters.testing.contract.keys import KeyTableCases
from vault_adapters.testing.contract.listings import ListingCases
from vault_adapters.testing.contract.neighbours import NeighbourCases
from vault_adapters.testing.contract.reserving import ReserveCases
from vault_adapters.testing.contract.restores import RestoreCases
from vault_adapters.testing.contract.revival import RevivalCases
from vault_adapters.testing.contract.rotation import DataKeyCases, MasterKeyCases
from vault_adapters.testing.contract.states import StateCases
from vault_adapters.testing.contract.tokens import TokenCases
from vault_adapters.testing.contract.unread import UnreadCases
from vault_adapters.testing.contract.uses import UseCases
from vault_domain.entities.key_decisions import KeyDecision, MasterKeySet
from vault_domain.entities.token import TokenRef
from vault_domain.ports.change import Change
from vault_domain.ports.late_writes import LateWrites
from vault_domain.ports.state_ledger import StateUse

METHODS = {
    "tokens": {
        "get": TokenCases,
        "get_many": TokenCases,
        "store": TokenCases,
        "store_many": BulkCases,
        "delete_provider": TokenCases,
        "find_expiring": ListingCases,
        "list_tenant": ListingCases,
        "record_uses": UseCases,
        "count_health": ListingCases,
        "ping": TokenCases,
        "find_ending": EndingCases,
        "find_condemned": RevivalCases,
    },
    "accounts": {
        "get": TokenCases,
        "list_tenant": ListingCases,
        "has_sibling": NeighbourCases,
        "list_all": AcrossCases,
        "find": AcrossCases,
        "list_tenants": AcrossCases,
        "count_all": AcrossCases,
    },
    "changes": dict.fromkeys(
        ["store_expecting", "store_set", "mark_invalid", "report_rejected", "tell_end", "delete_account", "revive"],
        FactCases,
    )
    | {"delete_token": TokenCases},
    "keys": {
        "master_keys": KeyTableCases,
        "change_master_keys": KeyTableCases,
        "active_data_key": KeyTableCases,
        "data_key": KeyTableCases,
        "create_data_key": KeyTableCases,
        "replace_active_data_key": DataKeyCases,
        "data_keys": KeyTableCases,
        "change_data_keys": DataKeyCases,
        "key_counts": KeyTableCases,
        "count_to_rotate": DataKeyCases,
        "rows_to_reseal": DataKeyCases,
        "reseal": DataKeyCases,
        "change_wraps": MasterKeyCases,
    },
    "audit": {"page": EventCases, "latest": AuditCases, "append": AuditCases, "prune": AuditCases},
    "refreshes": dict.fromkeys(
        ["read", "claim", "renew", "reschedule", "release", "withdraw", "fail", "reject", "commit"], FactCases
    )
    | {"reserve_due": ReserveCases},
    "clients": {
        **dict.fromkeys(["records", "change", "count", "take_turn"], ClientCases),
        "note_restore": RestoreCases,
    },
    "states": {"now": StateCases, "tenant_of": StateCases, "use": StateCases},
    "unread": dict.fromkeys(["keep", "kept", "count", "drop"], UnreadCases),
    "eraser": {"erase": DataKeyCases, "purge": KeyTableCases},
    "imports": {"begin": ImportCases, "existing": ImportCases},
}
"""By port and method, the part of the suite that must fail if the method is missing."""


async def claim_ignores_what_was_seen(store, attempt, seen):
    record, _ = await store.accounts.get(attempt.account)
    return await store.refreshes.claim(attempt, record.refresh.attempt_id if record else seen)


async def claim_ignores_a_running_lease(store, attempt, seen):
    record, _ = await store.accounts.get(attempt.account)
    if record is not None and record.refresh.attempt_id == seen:
        await store.refreshes.release(evolve(attempt, attempt_id=seen))
    return await store.refreshes.claim(attempt, seen)


async def claim_takes_whatever_credential_is_stored(store, attempt, seen):
    return await store.refreshes.claim(await with_the_stored_credential(store, attempt), seen)


async def commit_ignores_the_credentials_generation(store, attempt, writes, *, actor):
    return await store.refreshes.commit(await with_the_stored_credential(store, attempt), writes, actor=actor)


async def commit_overwrites_the_access_token(store, attempt, writes, *, actor):
    record, _ = await store.accounts.get(attempt.account)
    access = None if record is None else record.tokens.get("access_token")
    return await store.refreshes.commit(
        evolve(attempt, access=None if access is None else TokenRef.of(access)), writes, actor=actor
    )


async def commit_forgets_what_it_committed(store, attempt, writes, *, actor):
    change = await store.refreshes.commit(attempt, writes, actor=actor)

    def forget(transaction):
        transaction.change_account(attempt.account, committed_attempt_id=None)

    await store.refreshes._database.transact(forget, store.refreshes._clock)
    return change


async def fail_ends_whatever_attempt_is_the_latest(store, attempt, failure, *, actor=None):
    record, _ = await store.accounts.get(attempt.account)
    latest = attempt.attempt_id if record is None else record.refresh.attempt_id
    return await store.refreshes.fail(evolve(attempt, attempt_id=latest), failure, actor=actor)


async def reject_hits_whatever_credential_is_stored(store, attempt, code, *, actor):
    return await store.refreshes.reject(await with_the_stored_credential(store, attempt), code, actor=actor)


async def reserve_gives_the_same_account_twice(store, provider, *, hold, limit, since, until):
    return await store.refreshes.reserve_due(provider, hold=timedelta(0), limit=limit, since=since, until=until)


async def reserve_takes_any_order(store, provider, *, hold, limit, since, until):
    due, now = await store.refreshes.reserve_due(provider, hold=hold, limit=limit, since=since, until=until)
    return due[::-1], now


async def reschedule_looks_first_and_writes_later(store, account, judge):
    record, now = await store.accounts.get(account)
    due_at = judge(record, now)
    await asyncio.sleep(0)
    await store.refreshes.reschedule(account, lambda record, now: due_at)


def neighbour_of(store, account):
    """Return the stored account that a case-insensitive database would find for this account."""
    tokens = store.tokens._database.tables.tokens
    found = [key.account for key in tokens if repr(key.account).lower() == repr(account).lower()]
    return account if account in found or not found else found[0]


async def get_ignores_case(store, key):
    return await store.tokens.get(neighbour_of(store, key.account).key(key.kind))


async def get_ignores_case_and_hides_it(store, key):
    reading = await get_ignores_case(store, key)
    return (
        reading
        if reading.row is None
        else evolve(reading, row=evolve(reading.row, info=evolve(reading.row.info, key=key)))
    )


async def get_many_ignores_case(store, keys):
    return await store.tokens.get_many([neighbour_of(store, key.account).key(key.kind) for key in keys])


async def get_many_leaves_one_out(store, keys):
    rows, now = await store.tokens.get_many(keys)
    return rows[1:], now


async def account_ignores_case(store, account):
    return await store.accounts.get(neighbour_of(store, account))


async def list_ignores_case(store, tenant_id, *, provider, limit, after):
    tokens = store.tokens._database.tables.tokens
    names = {key.tenant_id for key in tokens if key.tenant_id.lower() == tenant_id.lower()} or {tenant_id}
    return [
        info
        for name in sorted(names)
        for info in await store.tokens.list_tenant(name, provider=provider, limit=limit, after=after)
    ]


async def read_ignores_case(store, account):
    return await store.refreshes.read(neighbour_of(store, account))


async def data_key_of_another_tenant(store, tenant_id):
    keys = store.tokens._database.tables.data_keys
    names = [name for name, _ in keys if name.lower() == tenant_id.lower()] or [tenant_id]
    return await store.keys.active_data_key(names[0])


async def reschedule_is_forgotten(store, account, judge):
    judge(*await store.accounts.get(account))


async def renew_ignores_which_attempt_is_the_latest(store, attempt, lease):
    record, _ = await store.accounts.get(attempt.account)
    return await store.refreshes.renew(evolve(attempt, attempt_id=record.refresh.attempt_id), lease)


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
    def work(transaction):
        tokens = transaction.tables.tokens
        for ref, used_at in uses.items():
            if ref.key in tokens:
                info = evolve(tokens[ref.key].info, last_used_at=used_at)
                tokens[ref.key] = evolve(tokens[ref.key], info=info)

    await store.tokens._database.transact(work, store.tokens._clock)


async def with_the_stored_credential(store, attempt):
    row = (await store.tokens.get(attempt.credential.key)).row
    return attempt if row is None else evolve(attempt, credential=TokenRef.of(row.info))


async def is_missing(store, *args, **kwargs):
    raise NotImplementedError


async def a_change_forgets_what_others_decide_meanwhile(store, scope, decide):
    loaded = (await store.clients.records(scope.provider)).of(scope)
    await asyncio.sleep(0)
    return await store.clients.change(scope, lambda record, now: decide(loaded, now))


async def a_count_knows_no_endpoints(store, scope, account, **given):
    without = evolve(scope, client=None)
    return await store.clients.count(without, account, **given)


async def each_process_has_turns_of_its_own(store, provider, client, *how):
    return await store.clients.take_turn(provider, uuid4().bytes, *how)


async def many_come_back_in_the_order_of_their_keys(store, writes, *, actor):
    order = sorted(range(len(writes.keys)), key=lambda index: by_key(writes.keys[index]))
    return await store.tokens.store_many(LateWrites.of(writes.take(order)), actor=actor)


async def many_are_stored_one_by_one(store, writes, *, actor):
    changes = [await store.tokens.store([write], actor=actor) for write in writes.take(range(len(writes.keys)))]
    events = [event for change in changes for event in change.events]
    return Change([info for change in changes for info in change.result], events)


async def a_state_is_checked_before_it_is_noted(store, state_id, expires_at):
    database = store.tokens._database
    was_used = state_id in database.tables.used_states
    await asyncio.sleep(0)
    use = await store.states.use(state_id, expires_at)
    return use if was_used or use is StateUse.EXPIRED else StateUse.FIRST


async def a_state_never_expires(store, state_id, expires_at):
    return await store.states.use(state_id, expires_at + timedelta(days=1))


async def an_answer_is_kept_for_whatever_credential_is_stored(store, attempt, sealed, *, actor):
    stored = (await store.refreshes.read(attempt.account)).record.tokens[attempt.credential.key.kind]
    return await store.unread.keep(evolve(attempt, credential=TokenRef.of(stored)), sealed, actor=actor)


MISTAKES = {
    an_answer_is_kept_for_whatever_credential_is_stored: ("unread", "keep", UnreadCases),
    a_state_is_checked_before_it_is_noted: ("states", "use", StateCases),
    a_state_never_expires: ("states", "use", StateCases),
    a_change_forgets_what_others_decide_meanwhile: ("clients", "change", ClientCases),
    a_count_knows_no_endpoints: ("clients", "count", ClientCases),
    each_process_has_turns_of_its_own: ("clients", "take_turn", ClientCases),
    claim_ignores_what_was_seen: ("refreshes", "claim", FactCases),
    claim_ignores_a_running_lease: ("refreshes", "claim", FactCases),
    claim_takes_whatever_credential_is_stored: ("refreshes", "claim", FactCases),
    renew_ignores_which_attempt_is_the_latest: ("refreshes", "renew", FactCases),
    commit_ignores_the_credentials_generation: ("refreshes", "commit", FactCases),
    commit_overwrites_the_access_token: ("refreshes", "commit", FactCases),
    commit_forgets_what_it_committed: ("refreshes", "commit", FactCases),
    fail_ends_whatever_attempt_is_the_latest: ("refreshes", "fail", FactCases),
    reject_hits_whatever_credential_is_stored: ("refreshes", "reject", FactCases),
    reserve_gives_the_same_account_twice: ("refreshes", "reserve_due", ReserveCases),
    reserve_takes_any_order: ("refreshes", "reserve_due", ReserveCases),
    reschedule_looks_first_and_writes_later: ("refreshes", "reschedule", AttemptCases),
    reschedule_is_forgotten: ("refreshes", "reschedule", FactCases),
    many_come_back_in_the_order_of_their_keys: ("tokens", "store_many", BulkCases),
    many_are_stored_one_by_one: ("tokens", "store_many", BulkCases),
    first_data_key_is_replaced: ("keys", "create_data_key", KeyTableCases),
    master_keys_are_loaded_before_the_transaction: ("keys", "change_master_keys", KeyTableCases),
    get_ignores_case: ("tokens", "get", IsolationCases),
    get_ignores_case_and_hides_it: ("tokens", "get", IsolationCases),
    get_many_ignores_case: ("tokens", "get_many", IsolationCases),
    get_many_leaves_one_out: ("tokens", "get_many", IsolationCases),
    account_ignores_case: ("accounts", "get", IsolationCases),
    list_ignores_case: ("tokens", "list_tenant", IsolationCases),
    read_ignores_case: ("refreshes", "read", IsolationCases),
    data_key_of_another_tenant: ("keys", "active_data_key", IsolationCases),
    uses_move_back: ("tokens", "record_uses", UseCases),
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
