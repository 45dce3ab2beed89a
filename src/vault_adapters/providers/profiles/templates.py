"""URLs and hosts with variables in braces, such as ``https://{subdomain}.zendesk.com/oauth/tokens``.

The value of a variable comes from the host service or from an account, and may be a text that a user typed. The
value must not change another part of the URL, such as the domain after it. So a value holds only letters, digits,
``.``, ``_``, ``~`` and ``-``, even if the profile's pattern accepts more.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

from attrs import evolve, field, frozen

from vault_adapters.providers.endpoint import as_endpoint
from vault_adapters.providers.profiles import checks
from vault_adapters.providers.profiles.checks import by, checking, refused
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.scrub import scrubbed
from vault_domain.entities.text import plain_text

_log = logging.getLogger(__name__)

_VARIABLE = re.compile(r"\{([a-z][a-z0-9_]{0,63})\}")
_HOST = re.compile(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*(:[0-9]{1,5})?\Z")
# A text that may stand in a host's name or in one segment of a path; it holds no separator of a URL.
_PLAIN = re.compile(r"(?:[A-Za-z0-9-]|\\\.|\(|\)|\|)+")
_INNERMOST = re.compile(r"\(([^()]*)\)")
_HARMLESS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._~-]{0,252}[A-Za-z0-9])?\Z")


Allows: TypeAlias = Callable[[str], bool]
"""The host service's function that says whether an account may give a value; only ``True`` allows it."""


def _text_or_function(key: str, value: object) -> str | Allows:
    return value if callable(value) else checks.text(key, value)


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
        free_host: whether a value decides the registrable domain of a URL or an API host, such as the whole host of an
            own installation. An account may then give only a value that the host service has listed.
        allowed: the values of a ``free_host`` that an account may give, beside the default, or functions that say
            whether it may; `refresher` sets them.
    """

    pattern: re.Pattern[str] = field(metadata=by(checks.pattern))
    about: str = field(metadata=by(checks.text))
    default: str | None = field(default=None, metadata=by(checks.optional(checks.text)))
    callback: str | None = field(default=None, metadata=by(checks.optional(checks.member)))
    free_host: bool = field(default=False, metadata=by(checks.flag))
    allowed: tuple[str | Allows, ...] = field(default=(), metadata=by(checks.items(_text_or_function)))

    def __attrs_post_init__(self) -> None:
        if self.default is not None and not self.accepts(self.default):
            raise refused(
                "default",
                "must match the pattern, begin and end with a letter or digit, and hold only letters, digits and ._~-",
            )

    def accepts(self, value: str) -> bool:
        """Return whether a value matches the pattern and may stand in a URL."""
        return bool(_HARMLESS.match(value)) and ".." not in value and bool(self.pattern.fullmatch(value))

    def admits(self, value: str) -> bool:
        """Return whether an account may give a value: the variable accepts it, and it decides no domain by itself."""
        return self.accepts(value) and (not self.free_host or self.lists(value) or self._allows(value))

    def lists(self, value: object) -> bool:
        """Return whether a value is one that the profile or the host service has written down itself."""
        return value == self.default or value in self.allowed

    def limited_to(self, *values: str | Allows) -> Variable:
        """Return the variable with the values and functions of the host service; the first text is the default."""
        shared = next((value for value in values if isinstance(value, str)), self.default)
        return evolve(self, default=shared, allowed=values)

    def _allows(self, value: str) -> bool:
        try:
            return any(allows(value) is True for allows in self.allowed if not isinstance(allows, str))
        except Exception as error:  # a function that fails allows nothing, and its text may hold the value
            _log.warning("the function that allows values of a variable failed: %s", type(error).__name__)
            return False

    @property
    def is_bounded(self) -> bool:
        """Whether the pattern itself leaves only certain domains.

        Each alternative must be plain text, or end in plain text of at least two labels after a dot.
        """
        return all(_ends_in_domain(part) for part in _alternatives(self.pattern.pattern))


def names_in(template: str) -> list[str]:
    """Return the names of the variables in a template."""
    return _VARIABLE.findall(template)


def deciding(template: str) -> set[str]:
    """Return the names in a URL or a host that take part in the last two labels of the host's name."""
    return {name for label in _host_of(template).split(".")[-2:] for name in names_in(label)}


def in_host(template: str) -> set[str]:
    """Return the names in the host's name of a URL."""
    return set(names_in(_host_of(template)))


def _host_of(template: str) -> str:
    _, separator, rest = template.partition("://")
    return (rest if separator else template).partition("/")[0].partition("?")[0].partition(":")[0]


def _alternatives(pattern: str) -> list[str]:
    """Split a regular expression at each ``|`` that is outside groups."""
    parts, depth = [""], 0
    for token in re.findall(r"\\.|\[[^\]]*\]|.", pattern, re.DOTALL):
        depth += {"(": 1, ")": -1}.get(token, 0)
        if token == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += token
    return parts


def _ends_in_domain(part: str) -> bool:
    if _is_plain(part):
        return True
    return any(
        _is_plain(part[at:]) and all(text.count(".") >= 2 for text in _texts(part[at:]))
        for at in (match.start() for match in re.finditer(r"\\\.", part))
    )


def _is_plain(part: str) -> bool:
    """Return whether a part holds only letters, digits, hyphens, dots, and groups of such."""
    if not _PLAIN.fullmatch(part) or "|)" in part or "(|" in part:
        return False
    depth = 0
    for sign in part:
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth < 0:
            return False
    return depth == 0


def _texts(part: str) -> list[str]:
    """Return all texts that a plain part matches."""
    inner = _INNERMOST.search(part)
    if inner is not None:
        return [
            text for each in inner[1].split("|") for text in _texts(part[: inner.start()] + each + part[inner.end() :])
        ]
    return [part.replace("\\.", ".")]


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
    template: str,
    variables: Mapping[str, Variable],
    values: Mapping[str, object],
    extra: Mapping[str, str],
    domains: Collection[str] = (),
) -> str:
    """Return an API host with its names replaced: variables by their values, other names by extra members.

    Of an extra member that is a URL, the host is taken. If extra members decide the domain, it must be one of
    ``domains`` or below one.

    Raises:
        InvalidInputError: a name has no value, or one that breaks its rule; the message does not contain the value.
    """

    def found(match: re.Match[str]) -> str:
        name = match[1]
        return _value(name, variables[name], values) if name in variables else _host_in(name, extra.get(name, ""))

    name = _VARIABLE.sub(found, template).lower()
    members = deciding(template) - set(variables)
    if members and not any(f".{name.partition(':')[0]}".endswith(f".{domain}") for domain in domains):
        raise InvalidInputError(f"the extra member {min(members)} names a host outside the profile's api_domains")
    return name


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
