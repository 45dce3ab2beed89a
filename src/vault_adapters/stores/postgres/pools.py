"""Opens the vault's own connection pool, or checks the host's."""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo
from psycopg_pool import AsyncConnectionPool

from vault_adapters.stores.postgres.connections import Connections, Pool
from vault_adapters.stores.postgres.cursors import Connection
from vault_adapters.stores.postgres.errors import translated
from vault_adapters.stores.postgres.limits import DEFAULT_TIMEOUT, Pace, limits_of
from vault_adapters.stores.postgres.peer import Peer, noting, peer_of
from vault_adapters.stores.postgres.quiet import POOL_NAME, quieten_pool
from vault_domain.entities.errors import ConfigurationError
from vault_domain.entities.secret import Secret

_log = logging.getLogger(__name__)

_CONNECT_SECONDS = 4
"""Longest time in seconds to connect to one host.

It is short, so that an attempt that began during an outage does not hang long after the outage.
"""

_SECONDS_PER_HOST = 2
"""Longest time in seconds for each of several hosts, so that `storage_timeout` suffices to reach the second host."""

_ATTRIBUTES = "target_session_attrs"
_SEVERAL = "several hosts"
"""Key in the result of `_parameters`: whether there are several hosts. No parameter of libpq has this name."""
_TORN = "torn"
"""Key in the result of `_parameters`: whether libpq split the URL inside the user or the password."""

_HOST = re.compile(r"[\w.:%-]*")
_UNKNOWN = (
    "database_url is not a connection URL that libpq understands: look for a parameter (behind the ?) that libpq does "
    "not know, such as conn_max_age, and for a % that is not escaped as %25"
)
_UNESCAPED = (
    "database_url has a special character in user or password that is not escaped, such as / (%2F), @ (%40), # (%23); "
    "urllib.parse.quote(password, safe='') escapes all"
)

_RECONNECT_SECONDS = 1.0
"""Seconds for which the pool repeats a failed attempt to connect."""

_KEEPALIVES = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}

_REFUSED_OPTIONS = re.compile("startup parameter|options")
"""The text with which a pooler refuses the parameter ``options``; libpq gives no code for a refused connection."""


async def open_connections(
    url: Secret, *, size: int, prepare: bool, timeout: timedelta = DEFAULT_TIMEOUT
) -> Connections:
    """Open the vault's own pool.

    Args:
        url: a libpq URL; its parameters and libpq's environment variables apply.
        size: largest number of connections.
        prepare: whether to prepare statements on the server.
        timeout: longest time for the answer to a quick statement, and for a free connection.

    Raises:
        ConfigurationError: libpq does not understand the URL, or its user or password is not escaped.
        StorageError: the server cannot be reached.
    """
    settings = _settings(url, timeout, prepare=prepare)
    peer = peer_of(url)
    pool = await translated(_open_pool(url, size, settings, timeout, peer), peer, opening=True)
    return Connections(pool, peer, is_ours=True, timeout=timeout)


async def _open_pool(url: Secret, size: int, settings: dict[str, Any], timeout: timedelta, peer: Peer) -> Pool:
    # Connect once before opening the pool, because a pool keeps retrying and does not report why it fails.
    connection = await _first_connection(url, settings)
    _warn_of_sslmode({option.keyword.decode(): (option.val or b"").decode() for option in connection.pgconn.info})
    await connection.close()
    quieten_pool()
    patience = max(timeout.total_seconds(), settings.get("connect_timeout", 0))
    pool: Pool = AsyncConnectionPool(
        url.reveal(),
        kwargs=settings,
        min_size=1,
        max_size=size,
        open=False,
        name=POOL_NAME,
        connection_class=noting(peer),
        timeout=patience,
        # Until it gives up, the pool doubles the time between its attempts. To keep these times short, it gives up
        # early. `_begin_anew` makes it try again while a caller waits. Each later caller makes it try again too.
        reconnect_timeout=_RECONNECT_SECONDS,
        reconnect_failed=_begin_anew,
    )
    await pool.open(wait=True, timeout=patience)
    return pool


async def _first_connection(url: Secret, settings: dict[str, Any]) -> Connection:
    """Connect; if a pooler refuses the parameter ``options``, connect without it and remove it from the settings."""
    try:
        return await psycopg.AsyncConnection.connect(url.reveal(), **settings)
    except psycopg.OperationalError as error:
        if "options" not in settings or not _REFUSED_OPTIONS.search(str(error)):
            raise
    del settings["options"]
    return await psycopg.AsyncConnection.connect(url.reveal(), **settings)


async def _begin_anew(pool: Pool) -> None:
    if pool.get_stats().get("requests_waiting", 0):
        await pool.check()  # it starts one attempt to connect


def _warn_of_sslmode(options: Mapping[str, str]) -> None:
    """Log a warning if the database is on another host, and libpq does not check its certificate and host name."""
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


def adopt_pool(pool: object, *, timeout: timedelta = DEFAULT_TIMEOUT) -> Connections:
    """Return connections that come from the host's pool.

    Args:
        pool: the host's pool.
        timeout: longest time to wait for a free connection, and for the server while a connection is given back.

    Raises:
        ConfigurationError: ``pool`` is not an open `psycopg_pool.AsyncConnectionPool`.
    """
    if not isinstance(pool, AsyncConnectionPool):
        raise ConfigurationError("pool must be a psycopg_pool.AsyncConnectionPool", code="host_pool")
    if pool.closed:
        raise ConfigurationError("the pool is not open; open it before the vault", code="host_pool")
    return Connections(pool, Peer(None), is_ours=False, timeout=timeout)


def _settings(url: Secret, timeout: timedelta, *, prepare: bool) -> dict[str, Any]:
    given = _parameters(url)
    if given is None:
        raise ConfigurationError(_UNKNOWN)
    if given[_TORN]:
        raise ConfigurationError(_UNESCAPED)
    settings: dict[str, Any] = {
        "autocommit": True,
        "client_encoding": "utf8",
        "fallback_application_name": "token-vault",
        # The options of the URL or the environment come last, because the last value of a setting counts.
        "options": f"{limits_of(timeout)[Pace.QUICK].options} {given.get('options', '')}".strip(),
    }
    if not prepare:
        settings["prepare_threshold"] = None
    seconds = _CONNECT_SECONDS
    defaults: dict[str, Any] = {}
    if given[_SEVERAL]:
        seconds = _SECONDS_PER_HOST
        defaults[_ATTRIBUTES] = "read-write"  # after a failover, the first host may be a standby
    defaults |= {
        "connect_timeout": max(2, min(seconds, int(timeout.total_seconds()))),
        "tcp_user_timeout": max(1, round(timeout.total_seconds() * 1000)),
        **_KEEPALIVES,
    }
    return settings | {name: value for name, value in defaults.items() if name not in given}


def _parameters(url: Secret) -> dict[str, str] | None:
    """Return the parameters that a URL or libpq's environment sets; None for a bad URL.

    The values of all parameters except ``options`` are left out, because they may hold the password. This function
    raises no error, because the driver's error may hold the password too. The value of `_SEVERAL` is not empty if the
    parameters name several hosts. The value of `_TORN` is not empty if libpq split the URL in a wrong place.
    """
    try:
        given = conninfo_to_dict(url.reveal())
    except (psycopg.Error, ValueError):  # ValueError: the URL cannot be passed to C as a string
        return None
    defaults = {option.keyword.decode(): option.val for option in Conninfo.get_defaults() if option.val is not None}
    if defaults.get(_ATTRIBUTES) == b"any":  # libpq's own default, not the environment's
        del defaults[_ATTRIBUTES]
    options = given.get("options") or defaults.get("options", b"").decode()
    hosts = str(given.get("host") or given.get("hostaddr") or (defaults.get("host") or b"").decode())
    told = {"options": str(options), _SEVERAL: "," * hosts.count(","), _TORN: "@" * _is_torn(given)}
    return dict.fromkeys((*given, *defaults), "") | told


def _is_torn(given: Mapping[str, Any]) -> bool:
    """Return whether a special character ended the user or the password, so that libpq misread the rest of the URL."""
    hosts, ports = str(given.get("host") or "").split(","), str(given.get("port") or "").split(",")
    at, slash = (str(given.get("dbname") or "").find(mark) for mark in "@/")
    return (
        not all(host.startswith(("/", "@")) or _HOST.fullmatch(host) for host in hosts)
        or not all(port.isdecimal() or not port for port in ports)
        or 0 <= at < slash
    )
