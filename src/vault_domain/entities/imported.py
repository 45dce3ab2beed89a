"""Tokens that come from another system, and what became of them."""

from __future__ import annotations

import enum
from datetime import datetime, timedelta

from attrs import field, frozen

from vault_domain.entities.account import TokenKey
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.scrub import scrubbed_class
from vault_domain.entities.secret import Secret, as_secret
from vault_domain.entities.text import as_error_code, as_scopes, as_time
from vault_domain.entities.token import SealedToken, TokenStatus

IMPORTED_CODE = "imported"
"""The error code of a token that came as invalid, where no other code came with it."""


def _as_key(value: object) -> TokenKey:
    if not isinstance(value, TokenKey):
        raise InvalidInputError("key must be a TokenKey")
    return value


def _as_value(value: object) -> Secret:
    return as_secret(value)  # mypy takes no decorated function as a converter


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


@scrubbed_class
@frozen
class ImportedToken:
    """A token as another system kept it, in clear; see `TokenVault.import_tokens`.

    Args:
        key: where it is to be.
        value: the credential.
        status: UNKNOWN where the other system did not say; such a token is handed out, and not refreshed ahead.
        error_code: why it is INVALID; None is then ``imported``. It goes with no other status.
        expires_at: zone-aware, or None where it is not known to expire.
        scopes: as granted.
        last_used_at: zone-aware, or None.
        last_refreshed_at: zone-aware, or None.
        created_at: zone-aware; None is `updated_at`.
        updated_at: zone-aware; None is the time of the import. Of several tokens for one key the one
            that is known to be the latest goes in.
        line: where it stood, for the report.

    Raises:
        InvalidInputError: a rule is broken; the value is not repeated.
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

    def __attrs_post_init__(self) -> None:
        if self.error_code is not None and self.status is not TokenStatus.INVALID:
            raise InvalidInputError("error_code goes with the status invalid only")

    @property
    def lifetime(self) -> timedelta | None:
        """Unknown: other systems keep when a token ends, and not for how long it was issued."""
        return None

    def seal(self, sealed: SealedToken, lead: timedelta | None = None) -> ImportedWrite:
        """Return the write of this token with its value sealed."""
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
        )


@frozen
class ImportedWrite:
    """A sealed value to import; the fields are those of `ImportedToken`, and ``lead`` is that of `TokenWrite`."""

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


class ImportOutcome(enum.Enum):
    """What became of one row."""

    IMPORTED = "imported"
    REPLACED = "replaced"
    SKIPPED = "skipped"


@frozen
class ImportFailure:
    """A row that was not imported.

    Attributes:
        line: where it begins, from 1, or None where nobody said.
        code: why, such as ``not_decryptable``; never anything of its content.
    """

    line: int | None
    code: str


@frozen
class ImportReport:
    """What an import did, so far or in the end. Each row counts once.

    Attributes:
        imported: stored under keys that held nothing.
        replaced: stored over what was there, with ``overwrite``.
        skipped: passed over: their key holds a token already, or stands in the rows again with a later `updated_at`.
        failed: could not be read.
        failures: the first thousand of those.
    """

    imported: int = 0
    replaced: int = 0
    skipped: int = 0
    failed: int = 0
    failures: tuple[ImportFailure, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows came."""
        return self.imported + self.replaced + self.skipped + self.failed
