"""Reads the user's secrets, durations and times; errors never repeat the input."""

from __future__ import annotations

import getpass
import re
import sys
from datetime import UTC, datetime, timedelta

from vault_domain import InvalidInputError, Secret

_DURATION = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,7})h)?(?:(\d{1,8})m)?(?:(\d{1,10})s)?\Z")
_MOST_BYTES = 64 * 1024
_LINE_END = 2


def as_duration(text: str, name: str) -> timedelta:
    """Return a duration such as ``90s``, ``1h30m`` or ``2d``.

    Args:
        text: days, hours, minutes and seconds, in this order, each at most once.
        name: the parameter's name, for the error message.
    """
    match = _DURATION.match(text)
    if match is None or not text:
        raise InvalidInputError(f"{name} must be a duration such as 90s, 1h30m or 2d")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def as_moment(text: str, name: str) -> datetime:
    """Return a time such as ``2030-01-31T12:00:00Z``; it must have a time zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.utcoffset() is None:
        raise InvalidInputError(f"{name} must be a time with its zone, such as 2030-01-31T12:00:00Z")
    return moment


def as_moment_or_age(text: str, name: str) -> datetime:
    """Return a time such as ``2030-01-31T12:00:00Z``; a duration such as ``2d`` gives the time two days ago."""
    try:
        is_age = bool(text and _DURATION.match(text))
        return datetime.now(UTC) - as_duration(text, name) if is_age else as_moment(text, name)
    except (InvalidInputError, OverflowError):  # an age may reach back beyond the year 1
        pass
    raise InvalidInputError(f"{name} must be a duration such as 90m or 2d, or a time such as 2030-01-31T12:00:00Z")


def as_expiry(expires_in: str | None, expires_at: str | None) -> datetime | None:
    """Return the expiry from ``--expires-in`` or ``--expires-at``, which exclude each other; None if neither is set."""
    if expires_in is not None and expires_at is not None:
        raise InvalidInputError("--expires-in and --expires-at exclude each other")
    if expires_in is not None:
        return datetime.now(UTC) + as_duration(expires_in, "--expires-in")
    return None if expires_at is None else as_moment(expires_at, "--expires-at")


def read_secret() -> Secret:
    """Return a secret: from a prompt without echo if standard input is a terminal, otherwise all of standard input.

    One final line end is not part of the secret, because `echo` adds one.
    """
    text = getpass.getpass("Value (it is not shown): ") if sys.stdin.isatty() else _piped()
    if not text:
        raise InvalidInputError("no value came on standard input")
    return Secret(text)


def _piped() -> str:
    # Read one byte more than allowed, so that a value that is too long is refused, not cut.
    raw = sys.stdin.buffer.read(_MOST_BYTES + _LINE_END + 1)
    if len(raw) > _MOST_BYTES + _LINE_END:  # checked before decoding, because the read may end inside a character
        raise InvalidInputError("a secret must not be longer than 64 KiB of UTF-8")
    text = _decoded(raw)
    if text is None:
        raise InvalidInputError("standard input must be UTF-8 text")
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def _decoded(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:  # not re-raised, because this error holds the bytes
        return None
