"""Writes values of tokens within a transaction, blindly."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter

from vault_adapters.stores.damage import refused_account
from vault_adapters.stores.migrations import load_migrations
from vault_adapters.stores.queries import Queries
from vault_adapters.stores.sqlite.audit import append_events
from vault_adapters.stores.sqlite.database import Row, Transaction
from vault_adapters.stores.sqlite.rows import (
    account_parameters,
    keys_parameter,
    stored_info,
    to_micros,
    write_parameters,
)
from vault_domain.entities.account import TokenKey
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.imported import ImportedWrite
from vault_domain.entities.token import (
    StoredToken,
    TokenInfo,
    TokenWrite,
)
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.rules.schedule import accounts_due
from vault_domain.transitions.events import token_event

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
    """
    await require_active_data_keys(transaction, queries, writes)
    parameters = [write_parameters(write, transaction.now) for write in writes]
    await transaction.execute_many(queries["upsert_token"], parameters)
    keys = [write.key for write in writes]
    rows = await transaction.fetch(queries["get_tokens"], {"keys": keys_parameter(keys)})
    infos = _written_infos(rows, keys)
    ends = [info.expires_at for info in infos]
    await schedule_accounts(transaction, queries, list(zip(writes, ends, strict=True)))
    return infos


def _written_infos(rows: Sequence[Row], keys: Sequence[TokenKey]) -> list[TokenInfo]:
    """Return the metadata of values that were just written.

    Raises:
        DecryptionError: a row is damaged, for example in a column that the write kept. Nothing is stored, because the
            caller rolls back the transaction.
    """
    infos, refusal = [], None
    for key, (_, found) in zip(keys, groupby(rows, key=itemgetter(-1)), strict=True):
        try:
            [row] = found
            infos.append(stored_info(row, key))
        except Exception as error:
            refusal = refused_account(key.account, error)
            break
    if refusal is not None:
        raise refusal
    return infos


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
    scheduled = [account_parameters(account) | {"due_at": to_micros(at)} for account, at in due.items() if at]
    await transaction.execute_many(queries["schedule_value"], scheduled)
    woken = [account_parameters(account) | {"now": to_micros(transaction.now)} for account, at in due.items() if not at]
    await transaction.execute_many(queries["wake_account"], woken)


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
