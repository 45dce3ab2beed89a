"""Checks the values in a profile. An error names the key and the rule, and does not repeat the value.

The classes of the schema, such as `Profile`, are made with ``@frozen(field_transformer=checking)``. Each field names
its check in its metadata: ``field(metadata=by(text))``. So the same rules hold for a profile from a file, from a
mapping and from Python objects.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any, TypeAlias, TypeVar

from attrs import NOTHING, Attribute

from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.text import as_duration, plain_text

C = TypeVar("C")
Check: TypeAlias = Callable[[str, object], Any]
"""Takes a key and its value; returns the value in its final form, or raises `InvalidInputError`."""

_CHECK = "check"
_LONGEST_TEXT = 2000
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}\Z")
_MEMBER = re.compile(r"[A-Za-z0-9_$-]{1,64}(\.[A-Za-z0-9_$-]{1,64}){0,3}\Z")
_PART = r"([A-Za-z0-9_$-]{1,64}|\[[A-Za-z0-9_$-]{1,64}\]|\*)"
_PATH = re.compile(rf"{_PART}(\.{_PART}){{0,7}}\Z")
_DURATION = re.compile(r"([1-9][0-9]{0,8}) (second|minute|hour|day)s?\Z")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}\Z")
# A profile must not set these headers. The refresher or the HTTP library sets all of them except ``cookie``.
_OWN_HEADERS = {"authorization", "host", "cookie", "content-type", "content-length", "transfer-encoding", "accept"}


def by(check: Check) -> dict[str, Check]:
    """Return the metadata that makes ``check`` the check of a field."""
    return {_CHECK: check}


def checking(cls: type, fields: list[Attribute[Any]]) -> list[Attribute[Any]]:
    """Give each field a converter that runs its check; attrs calls this when it makes the class."""
    return [item.evolve(converter=_converter(item.name, item.metadata[_CHECK])) for item in fields]


def refused(key: str, rule: str) -> InvalidInputError:
    """Return the error to raise for a value that breaks a rule."""
    return InvalidInputError(f"{key}: {rule}")


def text(key: str, value: object) -> str:
    """Check a text of one line."""
    found = plain_text(value)
    if found is None or not 1 <= len(found) <= _LONGEST_TEXT or not found.isprintable():
        raise refused(key, f"must be a printable text of 1 to {_LONGEST_TEXT} characters")
    return found


def matching(pattern: str, rule: str) -> Check:
    """Return a check that a whole text matches a pattern; ``rule`` is the text of its error."""
    compiled = re.compile(pattern)

    def check(key: str, value: object) -> str:
        found = plain_text(value)
        if found is None or not compiled.fullmatch(found):
            raise refused(key, rule)
        return found

    return check


def name(key: str, value: object) -> str:
    """Check the name of a provider."""
    found = plain_text(value)
    if found is None or not _NAME.match(found):
        raise refused(key, "must match [a-z0-9][a-z0-9_.-]{0,63}")
    return found


def member(key: str, value: object) -> str:
    """Check the path of a member in a JSON object: names joined by dots."""
    found = plain_text(value)
    if found is None or not _MEMBER.match(found):
        raise refused(key, "must be a member's name, or names of nested members joined by dots")
    return found


def path(key: str, value: object) -> str:
    """Check a path in a JSON value; see `vault_adapters.providers.members`."""
    found = plain_text(value)
    if found is None or not _PATH.match(found):
        raise refused(key, "must be a path such as accounts.0.id: names, numbers, [name] or * joined by dots")
    return found


def pattern(key: str, value: object) -> re.Pattern[str]:
    """Check a regular expression and compile it."""
    try:
        found = value if isinstance(value, re.Pattern) else re.compile(text(key, value))
        if isinstance(found.pattern, str):
            return found
    except (re.error, OverflowError, RecursionError):
        pass
    raise refused(key, "must be a regular expression")


def one_of(*choices: str) -> Check:
    """Return a check that a text is one of ``choices``."""

    def check(key: str, value: object) -> str:
        found = plain_text(value)
        if found is None or found not in choices:
            raise refused(key, f"must be one of {', '.join(choices)}")
        return found

    return check


def flag(key: str, value: object) -> bool:
    """Check that a value is true or false."""
    if not isinstance(value, bool):
        raise refused(key, "must be true or false")
    return value


def whole(least: int, most: int) -> Check:
    """Return a check that a value is a whole number from ``least`` to ``most``."""

    def check(key: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise refused(key, f"must be a whole number from {least} to {most}")
        return value

    return check


def duration(key: str, value: object) -> timedelta:
    """Check a duration: a text such as "30 seconds" or "60 days", or a timedelta."""
    match = _DURATION.match(plain_text(value) or "")
    if match is None and not isinstance(value, timedelta):
        raise refused(key, 'must be a time such as "30 seconds", "15 minutes", "1 hour" or "60 days"')
    given = value if match is None else timedelta(**{f"{match[2]}s": int(match[1])})
    try:
        return as_duration(given, key, positive=True)
    except InvalidInputError as error:
        problem = str(error).removeprefix(f"{key} ")
    raise refused(key, problem)


def day(key: str, value: object) -> date:
    """Check a date."""
    if type(value) is not date:  # a datetime is a date too
        raise refused(key, "must be a date, such as 2026-11-26")
    return value


def header_name(key: str, value: object) -> str:
    """Check the name of the header of API requests that carries the token."""
    found = plain_text(value)
    if found is None or not _HEADER.match(found) or found.lower() in _OWN_HEADERS - {"authorization"}:
        raise refused(key, "must be a header's name, and not one that HTTP clients set themselves")
    return found


def header(key: str, value: object) -> str:
    """Check a header's value, and the header's name, which is the last part of ``key``."""
    title = key.rpartition(".")[2]
    if not _HEADER.match(title) or title.lower() in _OWN_HEADERS:
        raise refused(key, "must be a header's name, and not one that the refresher sets itself")
    return text(key, value)


def json_object(key: str, value: object) -> str:
    """Check the JSON text of an object."""
    found = text(key, value)
    try:
        is_object = isinstance(json.loads(found), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise refused(key, "must be the JSON of an object")
    return found


def optional(check: Check) -> Check:
    """Return a check that also accepts None."""
    return lambda key, value: None if value is None else check(key, value)


def items(check: Check, *, least: int = 0) -> Check:
    """Return a check of a list that has at least ``least`` items; ``check`` checks each item."""

    def checked(key: str, value: object) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)) or len(value) < least:
            raise refused(key, f"must be a list of {least} or more items" if least else "must be a list")
        return tuple(check(f"{key}[{number}]", item) for number, item in enumerate(value, 1))

    return checked


def table(check: Check) -> Check:
    """Return a check of a table; ``check`` checks each value."""

    def checked(key: str, value: object) -> dict[str, Any]:
        if not isinstance(value, Mapping) or not all(type(item) is str for item in value):
            raise refused(key, "must be a table")
        return {item: check(joined(key, item), found) for item, found in value.items()}

    return checked


def section(cls: type[C]) -> Check:
    """Return a check that turns a table into an object of ``cls``, a class of the schema."""
    return lambda key, value: made(key, cls, value)


def made(key: str, cls: type[C], value: object) -> C:
    """Turn a table into an object of ``cls``, a class of the schema; return an object of ``cls`` unchanged.

    Raises:
        InvalidInputError: a key is unknown or missing, or a value breaks its rule; the error names the key.
    """
    if isinstance(value, cls):
        return value
    if not isinstance(value, Mapping):
        raise refused(key, "must be a table")
    fields: Any = getattr(cls, "__attrs_attrs__", ())
    known = {item.name for item in fields}
    for given in value:
        if given not in known:
            raise refused(joined(key, given), f"unknown key; known are {', '.join(sorted(known))}")
    for item in fields:
        if item.default is NOTHING and item.name not in value:
            raise refused(joined(key, item.name), "is missing")
    try:
        return cls(**value)
    except InvalidInputError as error:
        problem = str(error)
    raise InvalidInputError(joined(key, problem))


def joined(key: str, part: object) -> str:
    """Return the path of a key within a section; an unprintable or very long key is shown as ``(a key)``."""
    shown = part if isinstance(part, str) and part.isprintable() and len(part) <= _LONGEST_TEXT else "(a key)"
    return f"{key}.{shown}" if key else shown


def _converter(name: str, check: Check) -> Callable[[object], Any]:
    return lambda value: check(name, value)
