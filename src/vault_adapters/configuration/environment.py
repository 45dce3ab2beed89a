"""Reads a mapping of environment variables into the fields of `VaultConfig` and `Tuning`."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Callable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import environ

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
# The names of all variables that this module reads; `_variable` adds the names with the prefix. Nothing else of the
# environment is copied.
_NAMES = set(_BARE)
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


def _variable(name: str, converter: Callable[[str], Any] = str) -> Any:
    """Declare an optional variable whose errors name the variable and do not show its value."""

    def convert(value: str | None) -> Any:
        problem = code = None
        if not value:  # compose files and shells pass a variable without a value as empty text
            return None
        if type(value) is not str:
            raise ConfigurationError(f"{_PREFIX}{name.upper()} must be text")
        try:
            return converter(value)
        except ConfigurationError as error:
            problem, code = str(error), error.code
        del value
        raise ConfigurationError(f"{_PREFIX}{name.upper()} {problem}", code=code)

    _NAMES.add(_PREFIX + name.upper())
    return environ.var(default=None, name=_PREFIX + name.upper(), converter=convert)


@environ.config(prefix="TOKEN_VAULT")
class _Variables:
    """All variables, named by the field that they set; a secret may come from a file instead."""

    database_url: str | None = _variable("database_url")
    encryption_secret: str | None = _variable("encryption_secret", _secret)
    encryption_secret_file: str | None = _variable("encryption_secret_file", _file)
    previous_encryption_secret: str | None = _variable("encryption_secret_previous", _secret)
    previous_encryption_secret_file: str | None = _variable("encryption_secret_previous_file", _file)
    master_key: str | None = _variable("master_key")
    previous_master_key: str | None = _variable("previous_master_key")
    refresh_buffer: timedelta | None = _variable("refresh_buffer", _seconds)
    refresh_deadline: timedelta | None = _variable("refresh_deadline", _seconds)
    answer_deadline: timedelta | None = _variable("answer_deadline", _seconds)
    quiescence: timedelta | None = _variable("quiescence", _seconds)
    hold_answers: timedelta | None = _variable("hold_answers", _seconds)
    rejection_confirm_after: timedelta | None = _variable("rejection_confirm_after", _seconds)
    rejection_confirm_within: timedelta | None = _variable("rejection_confirm_within", _seconds)
    reconnect_notice: timedelta | None = _variable("reconnect_notice", _seconds)
    close_timeout: timedelta | None = _variable("close_timeout", _seconds)
    journal_dir: str | None = _variable("journal_dir")
    data_key_ttl: timedelta | None = _variable("data_key_ttl", _seconds)
    pool_size: int | None = _variable("pool_size", _whole)
    prepared_statements: bool | None = _variable("prepared_statements", _flag)
    postgres_schema: str | None = _variable("postgres_schema")
    scrypt_log2_n: int | None = _variable("scrypt_log2_n", _whole)
    storage_timeout: timedelta | None = _variable("storage_timeout", _seconds)
    exhausted_after: timedelta | None = _variable("exhausted_after", _seconds)
    provider_concurrency: int | None = _variable("provider_concurrency", _whole)
    client_pause_accounts: int | None = _variable("client_pause_accounts", _whole)
    client_probe_interval: timedelta | None = _variable("client_probe_interval", _seconds)
    fleet_guard_accounts: int | None = _variable("fleet_guard_accounts", _whole)
    fleet_guard_window: timedelta | None = _variable("fleet_guard_window", _seconds)
    fleet_guard_limit: timedelta | None = _variable("fleet_guard_limit", _seconds)
    read_cache: timedelta | None = _variable("read_cache", _seconds)
    serve_stale: timedelta | None = _variable("serve_stale", _seconds)
    deployment: str | None = _variable("deployment")
    audit_retention: timedelta | None = _variable("audit_retention", _seconds)
    audit_reads: str | None = _variable("audit_reads")
    read_cache_size: int | None = _variable("read_cache_size", _whole)


def read_environment(variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of `VaultConfig` and `Tuning` that the variables set.

    The frames of this function's errors hold the variables, so the caller drops these frames.

    Raises:
        ConfigurationError: a variable is not valid or not known, or a secret is given both directly and as a file.
    """
    if not isinstance(variables, Mapping):
        raise ConfigurationError("environ must be a mapping of texts")
    _refuse_unknown(variables)
    found, failure = None, ConfigurationError()
    try:
        found = environ.to_config(_Variables, _with_bare_names(variables))
    except ConfigurationError as error:
        failure = ConfigurationError(_as_set(str(error), variables), code=error.code)
    if found is None:
        raise failure
    fields: dict[str, Any] = {name: getattr(found, name) for name in _Variables.__annotations__}
    for name in ("encryption_secret", "previous_encryption_secret"):
        from_file = fields.pop(f"{name}_file")
        if from_file is not None and fields[name] is not None:
            variable = _as_set(_PREFIX + _VARIABLE_OF[name], variables)
            raise ConfigurationError(f"{variable} is set both directly and as a file; set only one of them")
        fields[name] = from_file if fields[name] is None else fields[name]
    return {name: value for name, value in fields.items() if value is not None}


_VARIABLE_OF = {
    "encryption_secret": "ENCRYPTION_SECRET",
    "previous_encryption_secret": "ENCRYPTION_SECRET_PREVIOUS",
}


def with_variable(text: str, variables: Mapping[str, str]) -> str:
    """Return an error's text; if it begins with a field of `VaultConfig`, prepend the variable that sets this field."""
    field, space, rest = text.partition(" ")
    if field not in _Variables.__annotations__:
        return text
    variable = _as_set(_PREFIX + _VARIABLE_OF.get(field, field.upper()), variables)
    return f"{variable} ({field}){space}{rest}"


def _refuse_unknown(variables: Mapping[str, str]) -> None:
    """Raise an error for a variable with the vault's prefix that nothing reads, because it is probably misspelt."""
    for name in variables:
        if type(name) is not str or not name.startswith(_PREFIX) or name in _NAMES or not variables[name]:
            continue
        if _OTHERS.match(name):
            continue
        near = get_close_matches(name, _NAMES, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        shown = name if _PLAIN.match(name) else f"a variable that begins with {_PREFIX}"
        raise ConfigurationError(f"{shown} is not known{hint}", code="unknown_variable")


def _as_set(text: str, variables: Mapping[str, str]) -> str:
    """Drop the prefix from the variable at the beginning of a text, if the host set the variable by its bare name."""
    name, space, rest = text.partition(" ")
    bare = name.removeprefix(_PREFIX)
    is_bare = bare in _BARE and not any(variables.get(_PREFIX + each) for each in (bare, f"{bare}_FILE"))
    return (bare if is_bare else name) + space + rest


def _with_bare_names(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the prefixed variables; give a bare variable the prefix if no prefixed variable sets its field."""
    given = {name: variables[name] for name in _NAMES if variables.get(name)}
    prefixed = {name: value for name, value in given.items() if name.startswith(_PREFIX)}
    for name in _BARE & set(given):
        base = _PREFIX + name.removesuffix("_FILE")
        if not {base, base + "_FILE"} & set(given):
            prefixed[_PREFIX + name] = given[name]
    return prefixed
