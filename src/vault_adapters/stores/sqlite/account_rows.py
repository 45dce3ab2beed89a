"""Converts rows to accounts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from vault_adapters.stores.columns import LISTED, OWNED
from vault_adapters.stores.damage import account_of_row, own_key, refused_account
from vault_adapters.stores.sqlite.rows import octets, text, to_time, token_info, whole
from vault_domain.entities.account_state import AccountRow
from vault_domain.entities.refresh_state import AccountRecord, RefreshState

if TYPE_CHECKING:
    from vault_adapters.stores.sqlite.database import Row
    from vault_domain.entities.account import Account
    from vault_domain.entities.token import TokenInfo

_MICROSECOND = timedelta(microseconds=1)


def account_record(rows: Sequence[Row], account: Account) -> AccountRecord | None:
    """Return the account from the rows of its tokens; None if there are no rows.

    Raises:
        DecryptionError: a row is damaged or belongs to another account.
    """
    try:
        return decoded_account(rows, account)
    except Exception as error:
        refusal = refused_account(account, error)
    raise refusal


def decoded_account(rows: Sequence[Row], account: Account) -> AccountRecord | None:
    """Return the account from the rows of its tokens; None if there are no rows.

    Raises:
        Exception: a row is damaged or belongs to another account.
    """
    infos, state = [], None
    for row in rows:
        token, key, state, _ = OWNED.split(row)
        infos.append(token_info(token, own_key(key, account)))
    return None if state is None else _record(account, infos, state)


def listed_account(rows: Sequence[Row], tenant_id: str | None, provider: str | None) -> AccountRecord:
    """Return one account for a list of accounts, from the rows of this account's tokens.

    Raises:
        Exception: a row is damaged or belongs to another tenant or provider.
    """
    _, key, _ = LISTED.split(rows[-1])
    record = decoded_account(rows, account_of_row(key, tenant_id, provider))
    assert record is not None  # noqa: S101 - there is at least one row
    return record


def _record(account: Account, infos: Sequence[TokenInfo], columns: Sequence[Any]) -> AccountRecord:
    label, *state = columns
    return AccountRecord(
        account=account,
        tokens={info.key.kind: info for info in infos},
        label=text(label),
        refresh=_refresh_state(state),
    )


def account_row(columns: Sequence[Any], committed: bytes | None, endpoint: object, due_at: int | None) -> AccountRow:
    """Return an account's row from the columns `stores.columns.ACCOUNT` and three further ones."""
    label, *state = columns
    return AccountRow(
        label=text(label),
        refresh=_refresh_state(state),
        committed_attempt_id=None if committed is None else UUID(bytes=committed),
        endpoint=octets(endpoint),
        due_at=to_time(due_at),
    )


def _refresh_state(columns: Sequence[Any]) -> RefreshState:
    credential_value_id, attempt_id, lease_until, sent_at, failures, next_at, unknown_since, code, *refused = columns
    return RefreshState(
        credential_value_id=None if credential_value_id is None else UUID(bytes=credential_value_id),
        attempt_id=None if attempt_id is None else UUID(bytes=attempt_id),
        lease_until=to_time(lease_until),
        sent_at=to_time(sent_at),
        failures=whole(failures or 0),
        next_attempt_at=to_time(next_at),
        unknown_since=to_time(unknown_since),
        error_code=text(code),
        refused_since=to_time(refused[0]),
        refused_for=whole(refused[1] or 0) * _MICROSECOND,
    )
