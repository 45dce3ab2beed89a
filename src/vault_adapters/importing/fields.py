"""Reads the key and the values of an imported row: texts, times and booleans as databases print them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from vault_adapters.importing.failing import UnreadableRowError
from vault_domain.entities.account import TokenKey, TokenKind
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.text import as_identifier, as_provider, as_tenant_id, as_time

Values = Mapping[str, Any]

# Matches times such as 2024-05-01 12:00:00+00 or 2024-05-01T12:00:00.123456Z; `fromisoformat` accepts further forms.
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d(?::?\d\d)?)?\Z", re.ASCII | re.IGNORECASE
)
# Spellings of Postgres' booleans, the original table's word `unknown`, and spellings of NULL; all in lower case.
_TRUTH = {
    **dict.fromkeys(("t", "true", "y", "yes", "on", "1"), True),
    **dict.fromkeys(("f", "false", "n", "no", "off", "0"), False),
    **dict.fromkeys(("unknown", "", "null", "\\n"), None),
}


def text_of(values: Values, name: str) -> str:
    """Return a required text."""
    value = values.get(name)
    if value is None:
        raise UnreadableRowError(f"missing_{name}")
    if not isinstance(value, str):
        raise UnreadableRowError(f"invalid_{name}")
    return value


def optional_text(values: Values, name: str) -> str | None:
    """Return a text, or None."""
    return None if values.get(name) is None else text_of(values, name)


def time_of(values: Values, name: str) -> datetime | None:
    """Return a time in UTC, or None; a time without a zone counts as UTC."""
    text = optional_text(values, name)
    if text is None:
        return None
    moment = _moment(text)
    if moment is None:
        raise UnreadableRowError(f"invalid_{name}")
    return moment


def truth_of(values: Values, name: str) -> bool | None:
    """Read a boolean in the spellings of databases, drivers and CSV; return None if it is missing, NULL or unknown."""
    value = values.get(name)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    word = value.strip().lower() if isinstance(value, str) else None
    if word not in _TRUTH:
        raise UnreadableRowError(f"invalid_{name}")
    return _TRUTH[word]


def key_of(values: Values, kind_column: str, provider: str) -> TokenKey:
    """Return the key of a row.

    Args:
        values: the row.
        kind_column: the name of the column with the kind.
        provider: the provider's name to use in the key.
    """
    tenant_id, kind = values.get("tenant_id"), text_of(values, kind_column)
    identifier = optional_text(values, "identifier")
    if tenant_id is None:
        raise UnreadableRowError("missing_tenant_id")
    key = _key(tenant_id, provider, kind, identifier)
    if key is None:
        raise UnreadableRowError(_culprit(tenant_id, provider, kind, identifier, kind_column))
    return key


def _key(tenant_id: Any, provider: str, kind: str, identifier: str | None) -> TokenKey | None:
    try:
        return TokenKey(tenant_id, provider, kind, identifier)
    except InvalidInputError:
        return None


def _culprit(tenant_id: Any, provider: str, kind: str, identifier: str | None, kind_column: str) -> str:
    checks: tuple[tuple[str, Callable[[Any], object], Any], ...] = (
        ("tenant_id", as_tenant_id, tenant_id),
        ("provider", as_provider, provider),
        (kind_column, TokenKind, kind),
        ("identifier", as_identifier, identifier),
    )
    for name, check, value in checks:
        try:
            check(value)
        except InvalidInputError:
            return f"invalid_{name}"
    return "invalid_key"


def _moment(text: str) -> datetime | None:
    if not _TIME.match(text):
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
        return as_time(moment if moment.tzinfo else moment.replace(tzinfo=UTC), "time")
    except ValueError:  # InvalidInputError is a subclass
        return None
