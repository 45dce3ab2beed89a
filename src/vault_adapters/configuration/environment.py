"""Reads a mapping of environment variables into the fields of `VaultConfig` and `Tuning`."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from attrs import Attribute

from vault_domain.entities.errors import ConfigurationError
from vault_domain.entities.secret import is_storable

_log = logging.getLogger(__name__)

_PREFIX = "TOKEN_VAULT_"
# These variables also have a name without prefix, because other tools of the host may share them.
_BARE = {
    "DATABASE_URL",
    "ENCRYPTION_SECRET",
    "ENCRYPTION_SECRET_FILE",
    "ENCRYPTION_SECRET_PREVIOUS",
    "ENCRYPTION_SECRET_PREVIOUS_FILE",
}
_SECRETS = {
    "encryption_secret": "ENCRYPTION_SECRET",
    "previous_encryption_secret": "ENCRYPTION_SECRET_PREVIOUS",
}
"""The fields whose variables have other names, and whose values may come from a file."""

# Further variables with the prefix, which are not refused as unknown. The command line reads TOKEN_VAULT_REFRESHERS,
# and tests read TOKEN_VAULT_TEST_*. Kubernetes sets the remaining ones in pods whose namespace has a Service with the
# name token-vault.
_OTHERS = re.compile(r"TOKEN_VAULT_(REFRESHERS|TEST_.*|SERVICE_(HOST|PORT).*|PORT(_.*)?)\Z")
_PLAIN = re.compile(r"[A-Z0-9_]{1,100}\Z")

LEAST_SECRET = 32
"""Smallest number of characters of an encryption secret, counted as UTF-16 units."""

_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


def _seconds(value: str) -> timedelta:
    # Do not rely on float() alone, because its error would repeat the value.
    if len(value) > 12 or not value.replace(".", "", 1).isdecimal():
        raise ConfigurationError("must be a number of seconds")
    return timedelta(seconds=float(value))


def _whole(value: str) -> int:
    if len(value) > 9 or not value.isdecimal():
        raise ConfigurationError("must be a whole number")
    return int(value)


_MOST_FILE_BYTES = 65_536
"""Largest size of a secret's file, in bytes."""


def _secret(value: str) -> str:
    if not is_storable(value):
        raise ConfigurationError("must be a text of at most 64 KiB, without lone surrogates")
    if len(value.encode("utf-16-le")) // 2 < LEAST_SECRET:
        raise ConfigurationError(f"must have at least {LEAST_SECRET} characters", code="encryption_secret_short")
    return value


def _flag(value: str) -> bool:
    if value.lower() not in _TRUE | _FALSE:
        raise ConfigurationError("must be true or false")
    return value.lower() in _TRUE


def _file(value: str) -> str:
    text = _read_file(value)
    if text is None:
        raise ConfigurationError("must name a readable file of UTF-8 text, 64 KiB at most")
    # Strip exactly one line end, because editors and `echo` add one; strip nothing else.
    return _secret(text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text)


def _read_file(name: str) -> str | None:
    try:
        with Path(name).open("rb") as file:
            if os.fstat(file.fileno()).st_mode & stat.S_IROTH and os.name == "posix":
                _log.warning(
                    "the file of a secret can be read by all users of this machine; chmod o-r takes this right"
                )
            data = file.read(_MOST_FILE_BYTES + 1)  # a path such as /dev/zero has no end
        return data.decode() if len(data) <= _MOST_FILE_BYTES else None
    except (OSError, ValueError):  # not re-raised, because the decoder's error would hold the text
        return None


def read_environment(variables: Mapping[str, str], fields: Sequence[Attribute[Any]]) -> dict[str, Any]:
    """Return the fields of `VaultConfig` and `Tuning` that the variables set.

    The frames of this function's errors hold the variables, so the caller drops these frames.

    Args:
        variables: the environment.
        fields: the fields of both classes; a variable is read as its field's type says.

    Raises:
        ConfigurationError: a variable is not valid or not known, or a secret is given both directly and as a file.
    """
    if not isinstance(variables, Mapping):
        raise ConfigurationError("environ must be a mapping of texts")
    readers = {_suffix_of(each.name): _reader_of(each) for each in fields if each.name != "tuning"}
    readers |= dict.fromkeys((f"{suffix}_FILE" for suffix in _SECRETS.values()), _file)
    _refuse_unknown(variables, [*_BARE, *(_PREFIX + suffix for suffix in readers)])
    found = {suffix: _read(variables, suffix, reader) for suffix, reader in readers.items()}
    for suffix in _SECRETS.values():
        from_file = found.pop(f"{suffix}_FILE")
        if from_file is not None and found[suffix] is not None:
            name, _ = _given(variables, suffix)
            raise ConfigurationError(f"{name} is set both directly and as a file; set only one of them")
        found[suffix] = from_file if found[suffix] is None else found[suffix]
    by_field = {each.name: found.get(_suffix_of(each.name)) for each in fields}
    return {name: value for name, value in by_field.items() if value is not None}


def _suffix_of(field: str) -> str:
    return _SECRETS.get(field, field.upper())


def _reader_of(field: Attribute[Any]) -> Callable[[str], Any]:
    if field.name in _SECRETS:
        return _secret
    kind = str(field.type).removesuffix(" | None")
    return {"timedelta": _seconds, "int": _whole, "bool": _flag}.get(kind, str)


def _given(variables: Mapping[str, str], suffix: str) -> tuple[str, str | None]:
    """Return the name by which the host has set a variable, and its value.

    The bare name counts only if no variable with the prefix sets the same field.
    """
    base = suffix.removesuffix("_FILE")
    is_prefixed = any(variables.get(_PREFIX + each) for each in (base, f"{base}_FILE"))
    name = suffix if suffix in _BARE and not is_prefixed else _PREFIX + suffix
    return name, variables.get(name)


def _read(variables: Mapping[str, str], suffix: str, reader: Callable[[str], Any]) -> Any:
    name, value = _given(variables, suffix)
    if not value:  # compose files and shells pass a variable without a value as empty text
        return None
    if type(value) is not str:
        raise ConfigurationError(f"{name} must be text")
    try:
        return reader(value)
    except ConfigurationError as error:
        problem, code = str(error), error.code
    raise ConfigurationError(f"{name} {problem}", code=code)


def with_variable(text: str, variables: Mapping[str, str], fields: Sequence[Attribute[Any]]) -> str:
    """Return an error's text; if it begins with one of the fields, prepend the variable that sets this field."""
    field, space, rest = text.partition(" ")
    if field not in {each.name for each in fields}:
        return text
    name, value = _given(variables, _suffix_of(field))
    if not value and field in _SECRETS:
        name, _ = _given(variables, f"{_suffix_of(field)}_FILE")
    return f"{name} ({field}){space}{rest}"


def _refuse_unknown(variables: Mapping[str, str], known: Collection[str]) -> None:
    """Raise an error for a variable with the vault's prefix that nothing reads, because it is probably misspelt."""
    for name in variables:
        if type(name) is not str or not name.startswith(_PREFIX) or name in known or not variables[name]:
            continue
        if _OTHERS.match(name):
            continue
        near = get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        shown = name if _PLAIN.match(name) else f"a variable that begins with {_PREFIX}"
        raise ConfigurationError(f"{shown} is not known{hint}", code="unknown_variable")
