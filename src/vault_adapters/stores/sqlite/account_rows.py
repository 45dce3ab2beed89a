"""Converts rows to accounts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from vault_adapters.stores.columns import OWNED, is_missing
from vault_adapters.stores.damage import account_of_row, own_key, refused_account
from vault_adapters.stores.sqlite.rows import octets, text, to_time, token_info, whole
from vault_domain.entities.account_state import AccountRow
from vault_domain.entities.refresh_state import AccountRecord, RefreshState

if TYPE_CHECKING:
    from vault_adapters.stores.sqlite.database import Row
    from vault_domain.entities.account import Account

_MICROSECOND = timedelta(microseconds=1)


def listed_account(rows: Sequence[Row], tenant_id: str | None, provider: str | None) -> AccountRecord:
    """Return one account for a list of accounts, from the rows of this account's tokens.

    Raises:
        Exception: a row is damaged or belongs to another tenant or provider.
    """
    _, key, (label, *state), _ = OWNED.split(rows[-1])
    account, tokens = account_of_row(key, tenant_id, provider), {}
    for row in rows:
        token, key, *_ = OWNED.split(row)
        own = own_key(key, account)
        tokens[own.kind] = token_info(token, own)
    return AccountRecord(account, tokens, text(label), _refresh_state(state))


def account_record(rows: Sequence[Row], account: Account) -> AccountRecord | None:
    """Return the account from the rows of `load_account`, whatever its values are; None if it has no token.

    Raises:
        DecryptionError: a row is damaged, besides the value, or belongs to another account.
    """
    stored = [row for row in rows if not is_missing(row)]
    try:
        return listed_account(stored, account.tenant_id, account.provider) if stored else None
    except Exception as error:
        refusal = refused_account(account, error)
    raise refusal


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
