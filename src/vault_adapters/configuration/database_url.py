"""Parses database URLs, and shows them without their passwords."""

from __future__ import annotations

import hmac
import re

from attrs import field, frozen

from vault_domain.entities.errors import ConfigurationError, InvalidInputError
from vault_domain.entities.scrub import scrubbed, scrubbed_class
from vault_domain.entities.secret import Secret
from vault_domain.entities.text import plain_text

_POSTGRES = re.compile(r"(postgres|postgresql)(\+[a-z0-9_]+)?://")
_SQLITE = re.compile(r"sqlite(\+[a-z0-9_]+)?:///")

# The parts of a Postgres URL that may be shown. Anything else is hidden, because if a password's special characters are
# not escaped, parts of the password may stand anywhere in the URL.
_USER = re.compile(r"(?P<user>[^:/?#@]*)(?P<password>:[^/?#@]*)?@")
_HOST = r"(?:\[[0-9A-Fa-f:.%]*\]|[^][:/?#@,]*)(?::\d{1,5})?"
_PLACE = re.compile(rf"{_HOST}(?:,{_HOST})*(?:/[^/?#@:]*)?")
_SHOWN_PARAMETERS = {
    *("host", "hostaddr", "port", "dbname", "user", "sslmode", "connect_timeout", "application_name"),
    *("target_session_attrs", "keepalives", "channel_binding", "gssencmode"),
}
_HIDDEN = "***"


@frozen
class DatabaseUrl:
    """A parsed URL.

    Attributes:
        backend: ``postgres`` or ``sqlite``.
        target: the argument for the driver: a libpq URL, or a path (also ``:memory:``). It is a secret, because a URL
            may hold a password.
    """

    backend: str
    target: Secret = field(repr=False)


@scrubbed_class
class ConfiguredUrl:
    """A database URL as the host gave it; only `reveal` returns it with its password.

    - ``str``, ``repr`` and ``format`` hide the password, and every part in which a password might stand.
    - It is equal to a ``str`` with the same URL; comparing takes constant time.
    - It is not a ``str`` itself, because tools that print tracebacks slice a ``str``, and a slice shows the password.

    Args:
        url: the URL.
        is_default: whether this is the default URL, which is used if the host names no database.

    Raises:
        ConfigurationError: the URL is not a string or names no known store; the message does not repeat the URL.
    """

    __slots__ = ("_secret", "is_default")

    def __init__(self, url: object, *, is_default: bool = False) -> None:
        text = plain_text(url)
        if text is None:
            raise ConfigurationError("database_url must be a string")
        secret = _as_secret(text)
        if secret is None or _parsed(text) is None:
            raise ConfigurationError(_RULE)
        self._secret = secret
        self.is_default = is_default

    def reveal(self) -> str:
        """Return the URL with its password."""
        return self._secret.reveal()

    def parse(self) -> DatabaseUrl:
        """Return the kind of store and the argument for its driver."""
        backend, target = _parsed(self.reveal()) or ("", "")
        return DatabaseUrl(backend, Secret(target))

    def __eq__(self, other: object) -> bool:
        text = other.reveal() if isinstance(other, ConfiguredUrl) else plain_text(other)
        if text is None:
            return NotImplemented
        return hmac.compare_digest(self.reveal().encode(), text.encode(errors="replace"))

    __hash__ = None  # type: ignore[assignment]  # as in `Secret`: a hash would tell whether a guess is right

    def __repr__(self) -> str:
        return repr(str(self))

    def __str__(self) -> str:
        return _redacted(self.reveal())


_RULE = "database_url must begin with postgresql://, postgres:// or postgresql+driver://, or with sqlite:/// and a path"


@scrubbed
def as_configured_url(value: object) -> ConfiguredUrl:
    """Return a configured URL unchanged, and a text as a `ConfiguredUrl`.

    Raises:
        ConfigurationError: see `ConfiguredUrl`.
    """
    return value if isinstance(value, ConfiguredUrl) else ConfiguredUrl(value)


def _as_secret(text: str) -> Secret | None:
    try:
        return Secret(text)
    except InvalidInputError:
        return None


def _parsed(url: str) -> tuple[str, str] | None:
    """Return the kind of store and the argument for its driver, or None if the URL names no known store."""
    postgres = _POSTGRES.match(url)
    if postgres:
        # DATABASE_URL often names a driver, as SQLAlchemy's URLs do; libpq does not accept a driver's name.
        return "postgres", "postgresql://" + url[postgres.end() :]
    sqlite = _SQLITE.match(url)
    if sqlite and url[sqlite.end() :] and "\0" not in url:
        return "sqlite", url[sqlite.end() :]
    return None


def _redacted(url: str) -> str:
    postgres = _POSTGRES.match(url)
    if not postgres:
        return url  # a file's path has no password
    scheme, rest = url[: postgres.end()], url[postgres.end() :]
    user = _USER.match(rest)
    place, mark, query = rest[user.end() if user else 0 :].partition("?")
    if not _PLACE.fullmatch(place) or "@" in query:
        return scheme + _HIDDEN
    who = "" if user is None else user["user"] + (f":{_HIDDEN}@" if user["password"] else "@")
    return scheme + who + place + mark + "&".join(map(_parameter, query.split("&")))


def _parameter(text: str) -> str:
    name, equals, _ = text.partition("=")
    if not text or name in _SHOWN_PARAMETERS:
        return text
    return f"{name if equals else ''}={_HIDDEN}"
