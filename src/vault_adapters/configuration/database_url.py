"""Parses database URLs and shows them without their passwords."""

import re

from attrs import field, frozen

from vault_domain.entities.errors import ConfigurationError

_POSTGRES = re.compile(r"(postgres|postgresql)(\+[a-z0-9_]+)?://")
_SQLITE = re.compile(r"sqlite(\+[a-z0-9_]+)?:///")
# libpq takes everything up to the first @ as the password, including colons.
_PASSWORD = re.compile(r"(?P<before>://[^:/@?]*:)[^/@]*(?=@)|(?P<name>password=)[^&]*")


@frozen
class DatabaseUrl:
    """A parsed URL.

    Attributes:
        backend: ``postgres`` or ``sqlite``.
        target: the argument for the driver: a libpq URL, or a path (also ``:memory:``).
    """

    backend: str
    target: str = field(repr=False)


def parse_url(url: str) -> DatabaseUrl:
    """Return the kind of store and the argument for its driver, from a URL.

    Raises:
        ConfigurationError: the URL names no known store; the message does not repeat the URL, which may hold a
            password.
    """
    postgres = _POSTGRES.match(url)
    if postgres:
        # DATABASE_URL often names a driver, as SQLAlchemy's URLs do; libpq does not accept a driver's name.
        return DatabaseUrl("postgres", "postgresql://" + url[postgres.end() :])
    sqlite = _SQLITE.match(url)
    if sqlite and url[sqlite.end() :] and "\0" not in url:
        return DatabaseUrl("sqlite", url[sqlite.end() :])
    raise ConfigurationError(
        "database_url must begin with postgresql://, postgres://, postgresql+driver:// or sqlite:/// and a path"
    )


def refuse_bad_url(url: str) -> None:
    """Raise `ConfigurationError` unless `parse_url` accepts the URL."""
    parse_url(url)


class ConfiguredUrl(str):
    """A URL whose repr hides the password, also in `vars`, `attrs.asdict` and debuggers."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(_PASSWORD.sub(lambda found: f"{found['before'] or found['name']}***", str(self)))
