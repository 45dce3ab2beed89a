"""The formats of the dumps that an import of tokens reads, and the meaning of their columns."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

from attrs import field, frozen

from vault_adapters.importing.failing import UnreadableRowError
from vault_adapters.importing.fields import Values, key_of, optional_text, text_of, time_of, truth_of
from vault_domain.entities.account import TokenKey
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.extra import NO_EXTRA, Extra, as_extra, read_token_type
from vault_domain.entities.imported import ImportedToken
from vault_domain.entities.secret import Secret
from vault_domain.entities.text import as_error_code, as_scopes
from vault_domain.entities.token import TokenStatus

_TIMES = ("expires_at", "last_used_at", "last_refreshed_at", "created_at", "updated_at")
_ARRAY = re.compile(r"\{([^{}\\]*)\}\Z")
_PLACE = ("tenant_id", "provider", "identifier")
# The columns in which `export` writes an apostrophe before a text that a spreadsheet would run as a formula; see
# `Format.guarded`. The column `value` is not among them, because an apostrophe at the beginning of a token belongs to
# the token.
_GUARDED = ("tenant_id", "identifier", "scopes")
_SHORT = 1024
"""Length in characters up to which the scopes of a text are cached."""
_STATUSES = {status.value: status for status in TokenStatus}
# The text that the original system wrote into last_error when it read an expired token.
_EXPIRED = "Token expired"


@frozen
class Draft:
    """A row whose columns were read; its value may still be encrypted.

    Attributes:
        key: the key to store the token under.
        content: the text of the column with the value.
        times: the row's times, by column name.
        status, error_code, scopes, extra: as for `ImportedToken`.
    """

    key: TokenKey
    content: str = field(repr=False)
    times: dict[str, datetime | None]
    status: TokenStatus = TokenStatus.VALID
    error_code: str | None = None
    scopes: tuple[str, ...] = ()
    extra: Extra = field(default=NO_EXTRA, repr=False)

    def complete(self, value: Secret, line: int) -> ImportedToken:
        """Return the token with its plaintext value."""
        return ImportedToken(
            self.key,
            value,
            status=self.status,
            error_code=self.error_code,
            scopes=self.scopes,
            extra=self.extra,
            line=line,
            **self.times,
        )


@frozen
class Format:
    """A format of rows.

    Attributes:
        required: the required columns.
        parse: function that makes a draft from a row; it raises `UnreadableRowError`.
        guarded: the columns in which `export` may have written an apostrophe that the import removes.
        columns: all columns that a row may have; empty if the format ignores unknown columns.
    """

    required: tuple[str, ...]
    parse: Callable[[Values], Draft]
    guarded: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


def _original(values: Values) -> Draft:
    # The original system did not restrict provider names, so fold them to lower case. A row whose name is still not
    # valid fails.
    key = key_of(values, "token_type", text_of(values, "provider").lower())
    return Draft(key, text_of(values, "encrypted_value"), _times(values), _original_status(values))


def _original_status(values: Values) -> TokenStatus:
    is_valid = truth_of(values, "is_valid")
    if is_valid is None:
        return TokenStatus.UNKNOWN
    # The original system marked an expired token invalid. Import it as valid, so that it can be refreshed.
    return TokenStatus.VALID if is_valid or values.get("last_error") == _EXPIRED else TokenStatus.INVALID


def _columns(column: str) -> tuple[str, ...]:
    return (*_PLACE, "kind", column, *_TIMES, "scopes", "status", "error_code", "extra", "extra_type")


def _plain(column: str) -> Callable[[Values], Draft]:
    known = frozenset(_columns(column))

    def parse(values: Values) -> Draft:
        if not known.issuperset(values):
            # Refuse unknown columns, because a misspelt expires_at would make a token that is never refreshed.
            raise UnreadableRowError("unknown_column", min(set(values) - known))
        status = _status(values)
        error_code = _checked(as_error_code, values.get("error_code"), "error_code")
        if error_code is not None and status is not TokenStatus.INVALID:
            raise UnreadableRowError("invalid_error_code")
        key = key_of(values, "kind", text_of(values, "provider"))
        return Draft(key, text_of(values, column), _times(values), status, error_code, _scopes(values), _extra(values))

    return parse


def _extra(values: Values) -> Extra:
    """Return the extra members; ``extra_type`` is the token's type if that is not Bearer."""
    members, token_type = values.get("extra"), optional_text(values, "extra_type")
    extra = NO_EXTRA if members is None else _checked(as_extra, members, "extra")
    if token_type is None:
        return extra
    if read_token_type(token_type) != token_type:
        raise UnreadableRowError("invalid_extra_type")
    return extra.of_type(token_type)


def _times(values: Values) -> dict[str, datetime | None]:
    return {name: time_of(values, name) for name in _TIMES if values.get(name) is not None}


def _status(values: Values) -> TokenStatus:
    text = optional_text(values, "status")
    if text is None:
        return TokenStatus.VALID
    status = _STATUSES.get(text)
    if status is None:
        raise UnreadableRowError("invalid_status")
    return status


def _scopes(values: Values) -> tuple[str, ...]:
    scopes = values.get("scopes")
    if isinstance(scopes, str):
        return _scopes_in_short(scopes) if len(scopes) <= _SHORT else _scopes_in(scopes)
    if scopes is not None and not isinstance(scopes, list):
        raise UnreadableRowError("invalid_scopes")
    return _checked(as_scopes, scopes, "scopes") or ()


def _scopes_in(text: str) -> tuple[str, ...]:
    """Return the scopes in one text: separated by spaces, as in RFC 6749, or an array as COPY prints it."""
    array = _ARRAY.match(text)
    scopes = text.split() if array is None else [part for part in array[1].replace('"', "").split(",") if part]
    checked: tuple[str, ...] = _checked(as_scopes, scopes, "scopes")
    return checked


# Most rows of a dump have the same few scopes.
_scopes_in_short = lru_cache(maxsize=128)(_scopes_in)


def _checked(check: Callable[[Any], Any], value: object, name: str) -> Any:
    if value is None:
        return None
    try:
        return check(value)
    except InvalidInputError:
        pass
    raise UnreadableRowError(f"invalid_{name}")


ORIGINAL = Format(("tenant_id", "provider", "token_type", "encrypted_value"), _original)
TOKENS = Format(("tenant_id", "provider", "kind", "value"), _plain("value"), _GUARDED, _columns("value"))
FERNET = Format(
    ("tenant_id", "provider", "kind", "encrypted_value"),
    _plain("encrypted_value"),
    columns=_columns("encrypted_value"),
)
