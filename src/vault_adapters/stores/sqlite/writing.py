"""Writes values of tokens within a transaction, whatever their keys hold."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from uuid import uuid4

from vault_adapters.stores.columns import generation_of
from vault_adapters.stores.damage import WrongRowError, refused_account
from vault_adapters.stores.migrations import load_migrations
from vault_adapters.stores.queries import Queries
from vault_adapters.stores.sqlite.audit import append_events
from vault_adapters.stores.sqlite.database import Row, Transaction
from vault_adapters.stores.sqlite.rows import (
    account_parameters,
    keys_parameter,
    stored_token,
    to_micros,
    token_parameters,
)
from vault_domain.entities.account import TokenKey
from vault_domain.entities.account_state import AccountState
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.imported import ImportedWrite
from vault_domain.entities.token import (
    DamagedToken,
    StoredToken,
    TokenInfo,
    TokenWrite,
)
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.rules.schedule import accounts_due
from vault_domain.transitions.events import token_event
from vault_domain.transitions.values import info_of

_KNOWN = len(load_migrations("vault_adapters.stores.sqlite"))
_NO_TABLE = "sqlite_error"
"""The reason of the error if a table is missing; some other errors have this reason too."""
_MICROSECOND = timedelta(microseconds=1)


async def write_tokens(
    transaction: Transaction, queries: Queries, writes: Sequence[TokenWrite], actor: str | None
) -> Change[list[TokenInfo]]:
    """Write values and their events in the given transaction; see `put_tokens`."""
    infos = await put_tokens(transaction, queries, writes)
    events = [
        token_event(_ACTIONS[write.refreshed], info, transaction.now, actor)
        for info, write in zip(infos, writes, strict=True)
    ]
    await append_events(transaction, queries, events)
    return Change(infos, tuple(events))


async def put_tokens(transaction: Transaction, queries: Queries, writes: Sequence[TokenWrite]) -> list[TokenInfo]:
    """Write values without their events in the given transaction; all data keys of the values must be active.

    Raises:
        DataKeyInactiveError: a data key is not active; the caller must roll back the transaction.
        DecryptionError: a key has several rows. Nothing was written.
    """
    await require_active_data_keys(transaction, queries, writes)
    held = await held_tokens(transaction, queries, [write.key for write in writes])
    infos = [
        info_of(state, transaction.now, write, write.value_id or uuid4())
        for write, state in zip(writes, held, strict=True)
    ]
    tokens = [StoredToken(info, write.sealed) for info, write in zip(infos, writes, strict=True)]
    await transaction.execute_many(queries["put_token"], [token_parameters(token) for token in tokens])
    ends = [info.expires_at for info in infos]
    await schedule_accounts(transaction, queries, list(zip(writes, ends, strict=True)))
    return infos


async def held_tokens(transaction: Transaction, queries: Queries, keys: Sequence[TokenKey]) -> list[AccountState]:
    """Return for each key the state of its account, but of the tokens only the key's own.

    Raises:
        DecryptionError: a key has several rows.
    """
    rows = await transaction.fetch(queries["get_tokens"], {"keys": keys_parameter(keys)})
    held = []
    for key, (_, found) in zip(keys, groupby(rows, key=itemgetter(-1)), strict=True):
        row, *others = found
        if others:
            raise refused_account(key.account, WrongRowError())
        held.append(_held(row, key))
    return held


def _held(row: Row, key: TokenKey) -> AccountState:
    token = stored_token(row, key)
    if isinstance(token, DamagedToken):
        generation = generation_of(row)
        return AccountState(key.account, damaged={key.kind: generation if type(generation) is int else None})
    return AccountState(key.account, {} if token is None else {key.kind: token})


_ACTIONS = {True: AuditAction.TOKEN_REFRESHED, False: AuditAction.TOKEN_STORED}
"""The action of a write's event, by whether the write is a refresh."""


async def schedule_accounts(
    transaction: Transaction, queries: Queries, stored: Sequence[tuple[TokenWrite | ImportedWrite, datetime | None]]
) -> None:
    """Make accounts due at the times that their stored values set (`accounts_due`); an earlier due time stays.

    An account whose values set no time becomes due now, provided that its row exists.

    Args:
        transaction: the transaction that stored the values.
        queries: the store's queries.
        stored: each stored value with its expiry.
    """
    due = accounts_due(stored, transaction.now)
    scheduled = [
        {**account_parameters(account), "due_at": to_micros(at or transaction.now), "is_required": at is not None}
        for account, at in due.items()
    ]
    await transaction.execute_many(queries["schedule_value"], scheduled)


async def require_active_data_keys(
    transaction: Transaction, queries: Queries, writes: Sequence[TokenWrite | ImportedWrite | StoredToken]
) -> None:
    """Check that all of these values are sealed under active data keys; see `require_active`."""
    await require_active(transaction, queries, [(write.key.tenant_id, write.sealed.data_key_id) for write in writes])


async def require_active(transaction: Transaction, queries: Queries, data_keys: Iterable[tuple[str, bytes]]) -> None:
    """Check that data keys, each named by its tenant and its id, are active.

    Raises:
        DataKeyInactiveError: a data key is not active; the caller must roll back the transaction.
    """
    named = {(tenant_id, key_id.hex().upper()) for tenant_id, key_id in data_keys}
    guard = {"data_keys": json.dumps(sorted(named))}
    [(inactive,)] = await transaction.fetch(queries["count_inactive_data_keys"], guard)
    if inactive:
        raise DataKeyInactiveError
