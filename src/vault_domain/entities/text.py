"""Checks of texts, times and numbers.

Each check returns the form to store, or raises an error that does not contain the value.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Protocol
from uuid import UUID

from vault_domain.entities.errors import InvalidInputError

MAX_NAME_LENGTH = 255
AUDIT_TENANT = "token-vault:audit"
"""A tenant that no host can name; its data key seals the secret of the audit log's chain."""

MCP_CLIENTS = "mcp_client"
"""The provider under which the connector of MCP servers keeps its registrations (RFC 7591); no list of accounts has
them."""

INTERNAL_PROVIDERS = frozenset({"key_value", MCP_CLIENTS, "msal-part"})
"""Names under which the package keeps values of its own; no host's provider may be called so."""

MAX_SCOPES = 1000
_PROVIDER = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}\Z")
_ERROR_CODE = re.compile(r"[a-z0-9_]{1,64}\Z")
# RFC 6749 section 3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E )
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,1024}\Z")
_EXACT = {str}
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 1, 1, tzinfo=UTC)
"""All stored times are earlier than this."""


class Texts(Protocol):
    """A list, tuple, set or other collection of texts.

    A `str` is a sequence of texts too, but type checkers refuse it here, because `str.__contains__` takes only a `str`.
    """

    def __contains__(self, value: object, /) -> bool:
        """Return whether ``value`` is one of the texts."""

    def __iter__(self) -> Iterator[str]:
        """Return an iterator over the texts."""


Scopes = Texts | Iterator[str]
"""The scopes that a caller gives: several texts, and not one text with several scopes in it."""


def plain_text(value: object) -> str | None:
    """Return the characters of a string as an exact ``str``; return None for any other object.

    A subclass of ``str`` may define methods of its own: ``str()`` of a member of ``class P(str, Enum)`` is "P.GOOGLE",
    and a ``__len__`` may lie. So each check begins with this function, and looks at the characters only.
    """
    # Not `isinstance`, because an object may claim any `__class__`.
    return str.__str__(value) if issubclass(type(value), str) else None


def as_tenant_id(value: object) -> str:
    """Return a ``str``, ``int`` or ``UUID`` as the text of a tenant id; the case of letters is kept."""
    kind = type(value)  # not `isinstance`, as in `plain_text`
    if issubclass(kind, UUID):
        value = UUID.__str__(value)
    elif issubclass(kind, int) and kind is not bool:
        # Do not convert a very long number, because Python raises an error of its own for it.
        value = int.__repr__(value) if int.bit_length(value) < 1000 else ""  # type: ignore[arg-type]  # it is an int
    text = _name(value, "tenant_id")
    if text == AUDIT_TENANT:
        raise InvalidInputError("tenant_id must not be the vault's own")
    return text


def as_provider(value: object) -> str:
    """Return a provider's name: 1 to 64 lower-case letters, digits, ``_``, ``.`` or ``-``, first a letter or digit."""
    text = plain_text(value)
    if text is None or not _PROVIDER.match(text):
        raise InvalidInputError("provider must match [a-z0-9][a-z0-9_.-]{0,63}")
    return text


def as_identifier(value: object) -> str | None:
    """Return an identifier in Unicode NFC; return None for the empty string."""
    if value is None or plain_text(value) == "":
        return None
    text = _name(value, "identifier")
    if text.isascii():
        return text
    # Check the length again, because normalising may lengthen a text.
    return _name(unicodedata.normalize("NFC", text), "identifier")


def as_search_text(value: object) -> str:
    """Return a text to search for, in Unicode NFC, with a to z in place of A to Z, without white space around it."""
    text = unicodedata.normalize("NFC", _name(value, "text").strip())
    if not 2 <= len(text) <= MAX_NAME_LENGTH:
        raise InvalidInputError(f"text must be 2 to {MAX_NAME_LENGTH} characters long, without white space around it")
    return "".join(char.lower() if char.isascii() else char for char in text)


def as_label(value: object, name: str = "label") -> str | None:
    """Return a label or actor of 1 to 255 characters, or None."""
    return None if value is None else _name(value, name)


def as_error_code(value: object) -> str:
    """Return an error code, ``[a-z0-9_]{1,64}``: a code of RFC 6749 or 6750, or the host's own; no free text."""
    text = plain_text(value)
    if text is None or not _ERROR_CODE.match(text):
        raise InvalidInputError("error_code must match [a-z0-9_]{1,64}; free text is not accepted")
    return text


def as_scopes(value: Scopes | None) -> tuple[str, ...]:
    """Return scopes as a tuple of RFC 6749 scope tokens, without duplicates, in the order given."""
    if value is None or value == ():
        return ()
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidInputError("scopes must be a sequence of strings")
    scopes = tuple(islice(value, MAX_SCOPES + 1))
    if len(scopes) > MAX_SCOPES:
        raise InvalidInputError(f"scopes must have at most {MAX_SCOPES} items")
    # To be fast, check exact `str` objects without a Python call for each, because a token import checks many scopes.
    if set(map(type, scopes)) <= _EXACT and all(map(_SCOPE.match, scopes)):
        return tuple(dict.fromkeys(scopes))
    checked = [as_scope(scope) for scope in scopes]
    if None in checked:
        raise InvalidInputError("a scope must be 1 to 1024 printable ASCII characters without space, quote, backslash")
    return tuple(dict.fromkeys(scope for scope in checked if scope is not None))


def as_scope(value: object) -> str | None:
    """Return a scope token of RFC 6749 section 3.3 as it is; return None for anything else."""
    text = plain_text(value)
    return text if text is not None and _SCOPE.match(text) else None


def as_time(value: object, name: str) -> datetime | None:
    """Return a zone-aware time converted to UTC, within the years 1970 to 9998, or None."""
    if value is None:
        return None
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise InvalidInputError(f"{name} must be a datetime with a time zone")
    moment = _in_utc(value)
    if moment is None:
        raise InvalidInputError(f"{name} must lie within the years 1970 to 9998")
    return moment


def as_duration(value: object, name: str, *, positive: bool = False) -> timedelta:
    """Return a timedelta from 0 to 100 years; ``positive`` excludes 0."""
    if not isinstance(value, timedelta):
        raise InvalidInputError(f"{name} must be a timedelta")
    if value < timedelta(0) or (positive and not value):
        raise InvalidInputError(f"{name} must {'be positive' if positive else 'not be negative'}")
    if value > timedelta(days=36_525):
        raise InvalidInputError(f"{name} must be at most 100 years")
    return value


def as_count(value: object, name: str, *, least: int, most: int) -> int:
    """Return a whole number between ``least`` and ``most``."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidInputError(f"{name} must be a whole number from {least} to {most}")
    return value


def _in_utc(value: datetime) -> datetime | None:
    try:
        moment = value.astimezone(UTC)
    except OverflowError:
        return None
    return moment if _EARLIEST <= moment < LATEST else None


def _name(value: object, name: str) -> str:
    text = value if type(value) is str else plain_text(value)
    if text is None:
        raise InvalidInputError(f"{name} must be a string")
    if not 1 <= len(text) <= MAX_NAME_LENGTH:
        raise InvalidInputError(f"{name} must be 1 to {MAX_NAME_LENGTH} characters long")
    if "\0" in text or not (text.isascii() or _is_encodable(text)):
        raise InvalidInputError(f"{name} must contain neither NUL nor lone surrogates")
    return text


def _is_encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
