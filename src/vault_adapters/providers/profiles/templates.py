"""URLs and hosts with variables in braces, such as ``https://{subdomain}.zendesk.com/oauth/tokens``.

The value of a variable comes from the host service or from an account, and may be a text that a user typed. The
value must not change another part of the URL, such as the domain after it. So a value holds only letters, digits,
``.``, ``_``, ``~`` and ``-``, even if the profile's pattern accepts more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import field, frozen

from vault_adapters.providers.endpoint import as_endpoint
from vault_adapters.providers.profiles import checks
from vault_adapters.providers.profiles.checks import by, checking, refused
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.scrub import scrubbed
from vault_domain.entities.text import plain_text

_VARIABLE = re.compile(r"\{([a-z][a-z0-9_]{0,63})\}")
_HOST = re.compile(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*(:[0-9]{1,5})?\Z")
# A text that may stand in a host's name or in one segment of a path; it holds no separator of a URL.
_HARMLESS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._~-]{0,252}[A-Za-z0-9])?\Z")


@frozen(field_transformer=checking)
class Variable:
    """A variable in URLs, API hosts and parameters; the host service or the account gives its value.

    Attributes:
        pattern: the regular expression that a whole value must match.
        about: what the value is and where a user finds it.
        default: the value to use if none is given; None: a value must be given.
        callback: the parameter of the callback that states the value for the user who comes back, with or without
            ``https://``; None: no parameter does. A callback with a value that the variable does
            not accept is refused.
    """

    pattern: re.Pattern[str] = field(metadata=by(checks.pattern))
    about: str = field(metadata=by(checks.text))
    default: str | None = field(default=None, metadata=by(checks.optional(checks.text)))
    callback: str | None = field(default=None, metadata=by(checks.optional(checks.member)))

    def __attrs_post_init__(self) -> None:
        if self.default is not None and not self.accepts(self.default):
            raise refused(
                "default",
                "must match the pattern, begin and end with a letter or digit, and hold only letters, digits and ._~-",
            )

    def accepts(self, value: str) -> bool:
        """Return whether a value matches the pattern and may stand in a URL."""
        return bool(_HARMLESS.match(value)) and ".." not in value and bool(self.pattern.fullmatch(value))


def names_in(template: str) -> list[str]:
    """Return the names of the variables in a template."""
    return _VARIABLE.findall(template)


def url(key: str, value: object) -> str:
    """Check a URL with or without variables."""
    template = checks.text(key, value)
    example = _VARIABLE.sub("x", template)
    if {"{", "}"} & set(example):
        raise refused(key, "a variable must be written {name}, in lower case")
    try:
        as_endpoint(example, key)
    except InvalidInputError as error:
        problem = str(error).removeprefix(f"{key} ")
    else:
        return template
    raise refused(key, problem)


def host(key: str, value: object) -> str:
    """Check an API host: a name in lower case, which may hold variables, with or without a port.

    A name that begins with ``*.`` stands for all hosts below the rest of the name.
    """
    template = checks.text(key, value)
    example = _VARIABLE.sub("x.x", template)
    is_domain = example.startswith("*.") and "." not in example.removeprefix("*.")  # all hosts below com, for example
    if is_domain or not _HOST.match(example):
        raise refused(key, "must be a host's name in lower case, such as api.example.com or *.example.com")
    return template


@scrubbed
def filled(template: str, variables: Mapping[str, Variable], values: Mapping[str, object]) -> str:
    """Return a template with its variables replaced by their values.

    Raises:
        InvalidInputError: a variable has no value, or a value that breaks its rule; the message does not contain the
            value.
    """
    return _VARIABLE.sub(lambda match: _value(match[1], variables[match[1]], values), template)


@scrubbed
def filled_host(
    template: str, variables: Mapping[str, Variable], values: Mapping[str, object], extra: Mapping[str, str]
) -> str:
    """Return an API host with its names replaced: variables by their values, other names by extra members.

    Of an extra member that is a URL, the host is taken.

    Raises:
        InvalidInputError: a name has no value, or one that breaks its rule; the message does not contain the value.
    """

    def found(match: re.Match[str]) -> str:
        name = match[1]
        return _value(name, variables[name], values) if name in variables else _host_in(name, extra.get(name, ""))

    return _VARIABLE.sub(found, template).lower()


def _host_in(name: str, text: str) -> str:
    _, separator, rest = text.partition("://")
    place = (rest if separator else text).partition("/")[0].lower()
    if not _HOST.match(place) or place.startswith("*"):
        raise InvalidInputError(f"the token has no extra member {name} that names a host")
    return place


def _value(name: str, variable: Variable, values: Mapping[str, object]) -> str:
    given = values.get(name)
    value = plain_text(variable.default if given is None else given)
    if value is None:
        raise InvalidInputError(f"the variable {name} is missing: {variable.about}")
    if not variable.accepts(value):
        raise InvalidInputError(
            f"the variable {name} must match {variable.pattern.pattern}, "
            "begin and end with a letter or digit, and hold only letters, digits and ._~-"
        )
    return value
