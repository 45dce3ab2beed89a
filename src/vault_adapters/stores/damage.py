"""Refuses damaged rows and wrong rows: a list leaves them out, and a read of one key or account raises an error."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from vault_adapters.stores.columns import MOST_WRAP
from vault_domain.entities.account import TokenKind, stored_account, stored_key
from vault_domain.entities.errors import DecryptionError
from vault_domain.entities.key_records import DataKeyRecord, DataKeyState, DataKeyWrap, MasterKeyRecord, MasterKeyState
from vault_domain.entities.token import DAMAGED_ROW, WRONG_ROW, SealedToken
from vault_domain.rules.key_states import confirmed_data_key, confirmed_master_key

if TYPE_CHECKING:
    from vault_domain.entities.account import Account, TokenKey
    from vault_domain.entities.account_state import AccountState
    from vault_domain.ports.keys import SealedRow

_log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")
P = TypeVar("P")

_ID_SIZE = 16


class WrongRowError(Exception):
    """A row belongs to another key or tenant than the one that was asked for."""


def reason_of(error: Exception) -> str:
    """Return the code of the reason why a row could not be used."""
    return WRONG_ROW if isinstance(error, WrongRowError) else DAMAGED_ROW


def report_rows(passed_over: Counter[str]) -> None:
    """Log how many rows were passed over, one line for each reason.

    Args:
        passed_over: the number of rows for each code of `reason_of`.
    """
    for reason, count in passed_over.items():
        _log.error("%d stored rows were passed over: reason %s", count, reason)


class Damage:
    """Notes which rows of an account cannot be decoded; see `AccountState.damaged`."""

    def __init__(self) -> None:
        self.rows: dict[TokenKind | None, int | None] = {}

    def read(self, kind: TokenKind | None, generation: object, decode: Callable[..., T], *columns: Any) -> T | None:
        """Return what ``decode`` makes of the columns; if it raises an error, note the row and return None.

        Args:
            kind: the token's kind; None: the columns are those of the account's own row.
            generation: the token's generation as it is stored.
            decode: returns the entity of the columns.
            columns: the columns.
        """
        try:
            return decode(*columns)
        except Exception:  # a damaged row may hold anything, so decoding it may raise anything
            self.rows[kind] = generation if type(generation) is int else None
            return None


def report_damage(state: AccountState) -> None:
    """Log how many rows of an account cannot be decoded."""
    if state.damaged:
        report_rows(Counter({DAMAGED_ROW: len(state.damaged)}))


def gone_kinds(before: AccountState, after: AccountState) -> list[TokenKind]:
    """Return the kinds of the tokens that a decision deletes."""
    gone = {*before.tokens, *before.damaged} - {*after.tokens, *after.damaged}
    return [kind for kind in TokenKind if kind in gone] if gone else []


def refused_account(account: Account, error: Exception) -> DecryptionError:
    """Log that an account's rows cannot be used; return the error to raise, which holds nothing of the rows."""
    _log.error("a stored account could not be used: reason %s", reason_of(error))
    return DecryptionError(account=account, keys=[account.key(kind) for kind in TokenKind])


def sealed_value(data_key_id: object, blob: object, extra: object) -> SealedToken:
    """Return the sealed value of a row.

    Raises:
        ValueError: a column has a wrong type, the data key's id has a wrong size, or the extra members are empty.
    """
    if type(data_key_id) is bytes and type(blob) is bytes and len(data_key_id) == _ID_SIZE:
        if extra is None:
            return SealedToken(data_key_id, blob)
        if type(extra) is bytes and extra:
            return SealedToken(data_key_id, blob, extra)
    raise ValueError


def sealed_answer(data_key_id: object, blob: object) -> SealedToken:
    """Return a kept answer of a row; what has a wrong type becomes empty, so that only the answer cannot be opened."""
    return SealedToken(
        data_key_id if type(data_key_id) is bytes else b"",
        blob if type(blob) is bytes else b"",
    )


def scopes_of(text: str) -> tuple[str, ...]:
    """Return the scopes in a row's JSON array.

    Raises:
        ValueError: the text is not a JSON array of texts.
    """
    scopes = json.loads(text)
    if type(scopes) is list and all(type(scope) is str for scope in scopes):
        return tuple(scopes)
    raise ValueError


def data_key_of_row(
    tenant_id: str,
    key_id: bytes,
    state: str,
    emptied_at: datetime | None,
    action: str | None,
    wraps: Iterable[tuple[object, object]],
) -> DataKeyRecord:
    """Return a data key from its columns. Unusable wraps are left out, so that the other wraps still work.

    See `confirmed_data_key` for ``action``.

    Raises:
        ValueError: a column of the data key itself is damaged.
    """
    if type(key_id) is not bytes or len(key_id) != _ID_SIZE or type(tenant_id) is not str:
        raise ValueError
    usable = tuple(
        DataKeyWrap(master_key_id, wrapped)
        for master_key_id, wrapped in wraps
        if type(master_key_id) is bytes and type(wrapped) is bytes and len(wrapped) <= MOST_WRAP
    )
    return DataKeyRecord(tenant_id, key_id, DataKeyState(state), usable, emptied_at, confirmed_data_key(action))


def master_key_of_row(
    key_id: bytes,
    provider: str,
    uri: str,
    kdf: str,
    check_value: bytes,
    state: str,
    created_at: datetime | None,
    action: str | None,
    activated: str | None,
) -> MasterKeyRecord:
    """Return a master key from its columns; see `confirmed_master_key` for the last two.

    Raises:
        ValueError: a state is not one of `MasterKeyState`.
    """
    confirmed = confirmed_master_key(key_id, action, activated)
    return MasterKeyRecord(key_id, provider, uri, kdf, check_value, MasterKeyState(state), created_at, confirmed)


def row_to_reseal(columns: Sequence[Any], tenant_id: str | None) -> SealedRow:
    """Return the key and the sealed value of a row whose value is to be sealed again.

    A value of a wrong type becomes empty, and so do extra members of a wrong type. If a value was too large, the query
    that read the row returned NULL, which becomes empty too. If extra members were too large, the query returned them
    empty.

    Raises:
        Exception: the row is damaged or belongs to another tenant.
    """
    from vault_domain.ports.keys import SealedRow

    *key, data_key_id, blob, extra = columns
    if type(data_key_id) is not bytes:
        raise ValueError
    sealed = SealedToken(
        data_key_id,
        blob if type(blob) is bytes else b"",
        extra if extra is None or type(extra) is bytes else b"",
    )
    return SealedRow(key_of_row(key, tenant_id, None), sealed)


def place_of_key(columns: Sequence[Any]) -> tuple[Any, ...]:
    """Return the position of a row whose value is to be sealed again, in the order of the primary key: kind last.

    The row begins with tenant, provider, kind and identifier.
    """
    tenant_id, provider, kind, identifier, *_ = columns
    return tenant_id, provider, identifier, kind


def key_of_row(columns: Sequence[Any], tenant_id: str | None, provider: str | None) -> TokenKey:
    """Return the key of a listed row.

    Args:
        columns: the row's tenant, provider, kind and identifier.
        tenant_id: the tenant that was asked for; None: all tenants.
        provider: the provider that was asked for; None: all providers.

    Raises:
        WrongRowError: the row belongs to another tenant or provider.
        ValueError: the tenant, the provider or the identifier is not a text, or the tenant or the provider is empty.
        InvalidInputError: the kind is unknown.
    """
    tenant, name, kind, identifier = columns
    _check_owner(tenant, name, identifier, tenant_id, provider)
    return stored_key(tenant, name, kind, identifier)


def account_of_row(columns: Sequence[Any], tenant_id: str | None, provider: str | None) -> Account:
    """Return the account of a listed row; see `key_of_row`."""
    tenant, name, _, identifier = columns
    _check_owner(tenant, name, identifier, tenant_id, provider)
    return stored_account(tenant, name, identifier)


def _check_owner(tenant: object, name: object, identifier: object, tenant_id: str | None, provider: str | None) -> None:
    if (tenant_id is not None and tenant != tenant_id) or (provider is not None and name != provider):
        raise WrongRowError
    if not (type(tenant) is str and type(name) is str and type(identifier) is str and tenant and name):
        raise ValueError


def own_key(columns: Sequence[Any], account: Account) -> TokenKey:
    """Return the key of a row that was read for an account, after a check that the row belongs to the account.

    Raises:
        WrongRowError: the row belongs to another account.
        InvalidInputError: the kind is unknown.
    """
    tenant_id, provider, kind, identifier = columns
    own = account.identifier or ""
    if tenant_id != account.tenant_id or provider != account.provider or identifier != own:
        raise WrongRowError
    return stored_key(account.tenant_id, account.provider, kind, own)


async def sound_page(
    fetch: Callable[[P, int], Awaitable[Sequence[R]]],
    decode: Callable[[R], T],
    place: Callable[[R], P],
    start: P,
    limit: int,
) -> list[T]:
    """Return a page of a list without the rows that cannot be used; read further rows to fill the page.

    Args:
        fetch: takes a position and a number, and reads at most this number of rows after the position.
        decode: returns the entity of a row, or raises any error.
        place: returns a row's position; it works for damaged rows too.
        start: the position after which the page begins.
        limit: the number of entities on the page.
    """
    found: list[T] = []
    passed_over: Counter[str] = Counter()
    while (wanted := limit - len(found)) > 0:
        rows = await fetch(start, wanted)
        sound_rows(rows, decode, found, passed_over)
        if len(rows) < wanted:
            break
        start = place(rows[-1])
    report_rows(passed_over)
    return found


def sound_rows(rows: Sequence[R], decode: Callable[[R], T], found: list[T], passed_over: Counter[str]) -> None:
    """Decode each row and append it to ``found``; if it cannot be used, count it by its reason in ``passed_over``."""
    for row in rows:
        try:
            found.append(decode(row))
        except Exception as error:  # a damaged row may hold anything, so decoding it may raise anything
            passed_over[reason_of(error)] += 1


def sound(rows: Sequence[R], decode: Callable[[R], T]) -> list[T]:
    """Return the entities of the rows that can be used, and log the number of the other rows."""
    found: list[T] = []
    passed_over: Counter[str] = Counter()
    sound_rows(rows, decode, found, passed_over)
    report_rows(passed_over)
    return found
