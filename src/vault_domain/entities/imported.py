"""Tokens imported from another system, and the outcomes of an import."""

from __future__ import annotations

import enum
from datetime import datetime, timedelta

from attrs import field, frozen

from vault_domain.entities.account import TokenKey
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.extra import NO_EXTRA, Extra, as_extra
from vault_domain.entities.scrub import scrubbed_class
from vault_domain.entities.secret import Secret, as_value
from vault_domain.entities.text import as_error_code, as_scopes, as_time
from vault_domain.entities.token import SealedToken, TokenStatus

IMPORTED_CODE = "imported"
"""The error code of a token that was imported as invalid without a code of its own."""


def _as_key(value: object) -> TokenKey:
    if not isinstance(value, TokenKey):
        raise InvalidInputError("key must be a TokenKey")
    return value


def _as_value(value: object) -> Secret:
    return as_value(value)  # mypy does not accept a decorated function as a converter


def _as_status(value: object) -> TokenStatus:
    if not isinstance(value, TokenStatus):
        raise InvalidInputError("status must be a TokenStatus")
    return value


def _as_code(value: object) -> str | None:
    return None if value is None else as_error_code(value)


def _as_line(value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise InvalidInputError("line must be a whole number")


def _as_moment(value: object) -> datetime | None:
    return None if value is None else as_time(value, "each time")


def _as_extra(value: object) -> Extra:
    return as_extra(value)  # as for `_as_value`


@scrubbed_class
@frozen
class ImportedToken:
    """A plaintext token of another system; see `TokenVault.import_tokens`.

    Args:
        key: the key to store the token under.
        value: the plaintext value.
        status: UNKNOWN if the other system did not record a status. Such a token can be used, and it is refreshed when
            a caller needs it, but not by sweeps.
        error_code: reason for the status INVALID; None becomes ``imported``. Not allowed with another status.
        expires_at: expiry, zone-aware; None if no expiry is known. An access token without an expiry gets the expiry
            in its JWT, or else the provider's default lifetime. The default lifetime counts from the last refresh, or
            else from the creation, or else from the import. An expiry more than 100 years ahead is stored as 100 years
            ahead.
        scopes: the granted scopes.
        last_used_at: time of the last use, zone-aware, or None.
        last_refreshed_at: time of the last refresh, zone-aware, or None. If it is None, and the token replaces a token
            of the same import, the `last_refreshed_at` of the replaced token is stored. If it is None, and the token
            replaces any other token, the time of the import is stored.
        created_at: time of creation, zone-aware; None means `updated_at`.
        updated_at: time of the last change, zone-aware; None means the time of the import. Of several tokens for one
            key, the latest is stored. A token without `updated_at` replaces no other token of the import, and no other
            token of the import replaces it.
        line: line of the input at which the token begins, for the report, or None.
        extra: the extra members of the provider's answer, such as ``instance_url``, which stay with the token.

    Raises:
        InvalidInputError: a rule is broken; the error does not contain the value.
    """

    key: TokenKey = field(converter=_as_key)
    value: Secret = field(converter=_as_value)
    status: TokenStatus = field(default=TokenStatus.VALID, converter=_as_status, kw_only=True)
    error_code: str | None = field(default=None, converter=_as_code, kw_only=True)
    expires_at: datetime | None = field(default=None, converter=_as_moment, kw_only=True)
    scopes: tuple[str, ...] = field(default=(), converter=as_scopes, kw_only=True)
    last_used_at: datetime | None = field(default=None, converter=_as_moment, kw_only=True)
    last_refreshed_at: datetime | None = field(default=None, converter=_as_moment, kw_only=True)
    created_at: datetime | None = field(default=None, converter=_as_moment, kw_only=True)
    updated_at: datetime | None = field(default=None, converter=_as_moment, kw_only=True)
    line: int | None = field(default=None, converter=_as_line, kw_only=True)
    extra: Extra = field(default=NO_EXTRA, converter=_as_extra, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.error_code is not None and self.status is not TokenStatus.INVALID:
            raise InvalidInputError("error_code is allowed only with the status INVALID")

    @property
    def lifetime(self) -> timedelta | None:
        """Always None, because other systems store the expiry of a token but not its lifetime."""
        return None

    def seal(
        self, sealed: SealedToken, lead: timedelta | None = None, due_in: timedelta | None = None
    ) -> ImportedWrite:
        """Return the write that stores this token with the sealed value."""
        code = (self.error_code or IMPORTED_CODE) if self.status is TokenStatus.INVALID else None
        return ImportedWrite(
            self.key,
            sealed,
            self.status,
            code,
            self.expires_at,
            self.scopes,
            self.last_used_at,
            self.last_refreshed_at,
            self.created_at or self.updated_at,
            self.updated_at,
            lead,
            due_in,
        )


@frozen
class ImportedWrite:
    """A sealed value to import; `ImportedToken` explains most fields.

    Attributes:
        lead: see `TokenWrite`.
        due_in: see `TokenWrite`; here it counts from the value's last refresh, or else from its creation.
        client: always None, because other systems do not tell the OAuth client.
    """

    key: TokenKey
    sealed: SealedToken
    status: TokenStatus
    error_code: str | None
    expires_at: datetime | None
    scopes: tuple[str, ...]
    last_used_at: datetime | None
    last_refreshed_at: datetime | None
    created_at: datetime | None
    updated_at: datetime | None
    lead: timedelta | None = None
    due_in: timedelta | None = None
    client: bytes | None = None


class ImportOutcome(enum.Enum):
    """The outcome of one row of an import."""

    IMPORTED = "imported"
    REPLACED = "replaced"
    SKIPPED = "skipped"


@frozen
class ImportFailure:
    """A row that could not be read or stored.

    Attributes:
        line: line at which the row begins, counted from 1, or None.
        code: reason, such as ``unreadable_value``; the code never contains text of the row.
    """

    line: int | None
    code: str


@frozen
class ImportReport:
    """The counts of an import, so far or at its end. Each row counts once.

    Attributes:
        imported: rows stored under keys that held nothing.
        replaced: rows that replaced a stored token, with ``overwrite``.
        skipped: every row after the first for the same key, if this import has stored a value under that key. Such a
            row counts as skipped even if its value replaced the value of the first row. Without ``overwrite``, also
            all rows for keys that held a token before.
        failed: rows that could not be read or stored.
        failures: the first thousand failed rows.
    """

    imported: int = 0
    replaced: int = 0
    skipped: int = 0
    failed: int = 0
    failures: tuple[ImportFailure, ...] = ()

    @property
    def rows(self) -> int:
        """Number of rows so far."""
        return self.imported + self.replaced + self.skipped + self.failed
