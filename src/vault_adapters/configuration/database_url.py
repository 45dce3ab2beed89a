"""Database URLs: which store they name, and how they are shown."""

import re

from attrs import field, frozen

from vault_domain.entities.errors import ConfigurationError

_POSTGRES = re.compile(r"(postgres|postgresql)(\+[a-z0-9_]+)?://")
_SQLITE = re.compile(r"sqlite(\+[a-z0-9_]+)?:///")
# libpq takes everything up to the first @ for the password, colons included.
_PASSWORD = re.compile(r"(?P<before>://[^:/@?]*:)[^/@]*(?=@)|(?P<name>password=)[^&]*")


@frozen
class DatabaseUrl:
    """A parsed URL.

    Attributes:
        backend: ``postgres`` or ``sqlite``.
        target: what the driver takes: a libpq URL, or a path (``:memory:`` included).
    """

    backend: str
    target: str = field(repr=False)


def parse_url(url: str) -> DatabaseUrl:
    """Return which store a URL names.

    Raises:
        ConfigurationError: none that there is; the URL, which may hold a password, is not repeated.
    """
    postgres = _POSTGRES.match(url)
    if postgres:
        # SQLAlchemy's and Django's form with a driver is common in DATABASE_URL; libpq knows the plain one only.
        return DatabaseUrl("postgres", "postgresql://" + url[postgres.end() :])
    sqlite = _SQLITE.match(url)
    if sqlite and url[sqlite.end() :] and "\0" not in url:
        return DatabaseUrl("sqlite", url[sqlite.end() :])
    raise ConfigurationError(
        "database_url must begin with postgresql://, postgres://, postgresql+driver:// or sqlite:/// and a path"
    )


def refuse_bad_url(url: str) -> None:
    """Raise `ConfigurationError` unless `parse_url` takes the URL."""
    parse_url(url)


class ConfiguredUrl(str):
    """A URL that shows itself without its password, also where `vars`, `attrs.asdict` and debuggers look."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(_PASSWORD.sub(lambda found: f"{found['before'] or found['name']}***", str(self)))
