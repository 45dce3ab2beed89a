"""Opens the vault's own connection pool, or checks the host's."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo
from psycopg_pool import AsyncConnectionPool

from vault_adapters.stores.postgres.connections import PATIENCE_SECONDS, Connections, Pool
from vault_adapters.stores.postgres.errors import translated
from vault_domain.entities.errors import ConfigurationError
from vault_domain.entities.secret import Secret

_log = logging.getLogger(__name__)


async def open_connections(url: Secret, *, size: int, prepare: bool) -> Connections:
    """Open the vault's own pool.

    Args:
        url: a libpq URL; its parameters and libpq's environment variables apply.
        size: largest number of connections.
        prepare: whether to prepare statements on the server.

    Raises:
        ConfigurationError: libpq does not understand the URL.
        StorageError: the server cannot be reached.
    """
    settings = _settings(url, prepare=prepare)
    return Connections(await translated(_open_pool(url, size, settings), foreign=True), is_ours=True)


async def _open_pool(url: Secret, size: int, settings: dict[str, Any]) -> Pool:
    # Connect once before opening the pool, because a pool keeps retrying and would not report the reason.
    connection = await psycopg.AsyncConnection.connect(url.reveal(), **settings)
    _warn_of_sslmode({option.keyword.decode(): (option.val or b"").decode() for option in connection.pgconn.info})
    await connection.close()
    pool: Pool = AsyncConnectionPool(
        url.reveal(),
        kwargs=settings,
        min_size=1,
        max_size=size,
        open=False,
        name="token-vault",
        timeout=PATIENCE_SECONDS,
    )
    await pool.open(wait=True, timeout=PATIENCE_SECONDS)
    return pool


def _warn_of_sslmode(options: Mapping[str, str]) -> None:
    """Log a warning if another server could pretend to be this one, because its certificate is not checked."""
    mode = options.get("sslmode") or "prefer"
    hosts = (options.get("hostaddr") or options.get("host") or "").split(",")
    if mode != "verify-full" and not all(map(_is_local, hosts)):
        _log.warning(
            "the database is on another host, and sslmode is %s: set sslmode=verify-full (and sslrootcert), so that "
            "nobody on the network can pretend to be the database",
            mode,
        )


def _is_local(host: str) -> bool:
    if host in ("", "localhost") or host.startswith(("/", "@")):  # a path, or @ and a name, is a Unix socket
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def adopt_pool(pool: object) -> Connections:
    """Return connections that come from the host's pool.

    Raises:
        ConfigurationError: ``pool`` is not an open `psycopg_pool.AsyncConnectionPool`.
    """
    if not isinstance(pool, AsyncConnectionPool):
        raise ConfigurationError("pool must be a psycopg_pool.AsyncConnectionPool", code="host_pool")
    if pool.closed:
        raise ConfigurationError("the pool is not open; open it before the vault", code="host_pool")
    return Connections(pool, is_ours=False)


def _settings(url: Secret, *, prepare: bool) -> dict[str, Any]:
    given = _parameters(url)
    if given is None:
        raise ConfigurationError("database_url is not a connection URL that libpq understands")
    settings: dict[str, Any] = {
        "autocommit": True,
        "client_encoding": "utf8",
        "fallback_application_name": "token-vault",
    }
    if not prepare:
        settings["prepare_threshold"] = None
    if "connect_timeout" not in given:
        settings["connect_timeout"] = int(PATIENCE_SECONDS)
    return settings


def _parameters(url: Secret) -> set[str] | None:
    """Return the parameters that a URL or libpq's environment sets; None for a bad URL.

    It returns no values and raises no error, because both may hold the password.
    """
    try:
        given = set(conninfo_to_dict(url.reveal()))
    except (psycopg.Error, ValueError):  # ValueError: the URL cannot be passed to C as a string
        return None
    return given | {option.keyword.decode() for option in Conninfo.get_defaults() if option.val is not None}
