"""Shows values as HTML: texts that may be hostile, times, states and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

from markupsafe import Markup, escape

MEANINGS: Mapping[str, str] = {
    "connected": "good",
    "fresh": "good",
    "active": "good",
    "answers": "good",
    "expiring": "warning",
    "retrying": "warning",
    "suspect": "warning",
    "unknown": "warning",
    "unwrap_only": "warning",
    "expired": "bad",
    "invalid": "bad",
    "reauthorization_required": "bad",
    "retired": "quiet",
}
"""How good or bad a state is, as the name of a colour class; a state that is not listed is ``plain``."""

_TITLES: Mapping[str, str] = {"reauthorization_required": "must reconnect", "unwrap_only": "unwraps only"}
_BAD_EVENTS = frozenset(["token_invalidated", "client_paused", "decryption_failed", "reauthorization_required"])
_WORRYING_EVENTS = frozenset(
    (
        "token_suspected",
        "token_rejected",
        "refresh_token_expiring",
        "refresh_failing",
        "refresh_outcome_unknown",
        "token_deleted",
        "tenant_erased",
        "data_key_destroyed",
    )
)
_GOOD_EVENTS = frozenset(["token_refreshed", "account_revived", "client_resumed", "refresh_recovered", "token_stored"])
_UNITS = ((90, 1, "s"), (90 * 60, 60, "min"), (36 * 3600, 3600, "h"), (float("inf"), 86400, "days"))
_DASH = Markup('<span class="none">–<span class="aside"> none</span></span>')


def shown(value: object) -> Markup:
    """Return a text that someone else chose: escaped, and isolated so that it cannot reorder the text around it.

    A character that cannot be printed, such as one that turns the direction of writing, is shown as its escape sequence
    in Python. An empty text or None is shown as a dash.
    """
    if value is None or value == "":
        return _DASH
    text = str(value)
    inner = escape(text) if text.isprintable() else Markup("").join(map(_piece, text))
    return Markup("<bdi>{}</bdi>").format(inner)


def printable(value: str) -> str:
    """Return a text with each character that cannot be printed as its escape sequence, for places without markup."""
    return "".join(mark if mark.isprintable() else _escaped(mark) for mark in value)


def _piece(mark: str) -> Markup:
    return escape(mark) if mark.isprintable() else Markup('<span class="mark">{}</span>').format(_escaped(mark))


def _escaped(mark: str) -> str:
    return mark.encode("unicode_escape").decode()


def named(value: str | StrEnum) -> str:
    """Return a state or an action as words."""
    text = str(value)
    return _TITLES.get(text, text.replace("_", " "))


def pill(value: str | StrEnum, meaning: str | None = None) -> Markup:
    """Return a state as a coloured label; the text names the state, so that nobody has to see the colour."""
    kind = meaning or MEANINGS.get(str(value), "plain")
    return Markup('<span class="pill {}">{}</span>').format(kind, _capital(named(value)))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def event_meaning(action: str | StrEnum) -> str:
    """Return how good or bad an audit event is, as in `MEANINGS`."""
    text = str(action)
    if text in _BAD_EVENTS:
        return "bad"
    return "warning" if text in _WORRYING_EVENTS else "good" if text in _GOOD_EVENTS else "plain"


def moment(value: datetime | None, now: datetime) -> Markup:
    """Return a time in UTC, with its distance from ``now``."""
    if value is None:
        return _DASH
    exact = value.astimezone(UTC)
    return Markup('<time datetime="{}">{} <span class="ago">{}</span></time>').format(
        exact.isoformat(timespec="seconds").replace("+00:00", "Z"), exact.strftime("%Y-%m-%d %H:%M:%S"), ago(value, now)
    )


def ago(value: datetime, now: datetime) -> str:
    """Return the distance of a time from ``now``, such as ``in 59 min`` or ``3 days ago``."""
    seconds = (value - now).total_seconds()
    size, name = next((size, name) for limit, size, name in _UNITS if abs(seconds) < limit)
    amount = f"{round(abs(seconds) / size)} {name}"
    return f"in {amount}" if seconds >= 0 else f"{amount} ago"


def number(value: int) -> str:
    """Return a number with its thousands set apart by narrow spaces."""
    return f"{value:,}".replace(",", "\u202f")
