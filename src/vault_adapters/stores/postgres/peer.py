"""The database that a store talks to: how errors name it, and whether it works."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from vault_adapters.stores.postgres.causes import cause_of_refusal
from vault_adapters.stores.postgres.cursors import Connection
from vault_adapters.stores.postgres.own_connection import OwnConnection
from vault_domain.entities.secret import Secret
from vault_domain.services.tokens.fault_log import FaultLog

_log = logging.getLogger(__name__)

# A password whose special characters are not escaped may end up in any part of a URL. So only what looks like a plain
# name is shown, and nothing if the URL has an @ where none belongs.
_HOST = re.compile(r"[A-Za-z0-9_.:%-]{1,255}|[/@][A-Za-z0-9_./-]{0,255}")
_PORT = re.compile(r"[0-9]{1,5}")
_DATABASE = re.compile(r"[A-Za-z0-9_.$ -]{1,63}")
_UNKNOWN = "the Postgres database"


class Peer:
    """One database of one server, or of several servers of which one takes writes.

    Args:
        place: host, port and database, as errors and logs name them; None if they are not known yet.

    Attributes:
        refusal: the cause for which the latest attempt to connect failed; None after a success,
            and before the first attempt.
    """

    def __init__(self, place: str | None) -> None:
        self._is_placed = place is not None
        name = _UNKNOWN if place is None else f"{_UNKNOWN} {place}"
        self.faults = FaultLog(_log, name, time.monotonic)
        self.refusal: str | None = None

    @property
    def name(self) -> str:
        """The database as errors name it."""
        return self.faults.name

    def met(self, connection: Connection) -> None:
        """If the place is not known yet, as with a pool of the host service, set it from this connection."""
        if not self._is_placed:
            info = connection.info
            place = place_of({"host": info.host, "port": str(info.port), "dbname": info.dbname})
            self.faults.name, self._is_placed = f"{_UNKNOWN} {place}", True


def peer_of(url: Secret) -> Peer:
    """Return the peer of a libpq URL; libpq's environment variables apply to what the URL leaves out."""
    text = url.reveal()
    user, _, query = text.partition("?")
    try:
        given = conninfo_to_dict(text)
    except (psycopg.Error, ValueError):  # `open_connections` refuses such a URL
        return Peer(None)
    defaults = {option.keyword.decode(): (option.val or b"").decode() for option in Conninfo.get_defaults()}
    misplaced = user.count("@") > 1 or "@" in query
    return Peer("***" if misplaced else place_of(defaults | {name: str(value) for name, value in given.items()}))


def place_of(parameters: Mapping[str, str]) -> str:
    """Return hosts with ports, and the database, such as ``a:5432,b:5432/app``; hide parts that are no plain names."""
    hosts = (parameters.get("host") or parameters.get("hostaddr") or "localhost").split(",")
    ports = (parameters.get("port") or "5432").split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    pairs = zip(hosts, ports, strict=False)
    shown = ",".join(f"{_shown(_HOST, host or 'localhost')}:{_shown(_PORT, port or '5432')}" for host, port in pairs)
    return f"{shown}/{_shown(_DATABASE, parameters.get('dbname') or parameters.get('user') or '')}"


def _shown(rule: re.Pattern[str], text: str) -> str:
    return text if rule.fullmatch(text) else "***"


def noting(peer: Peer) -> type[Connection]:
    """Return a connection class that tells the peer why an attempt to connect failed; no error of the pool says why."""

    class NotingConnection(OwnConnection):
        @classmethod
        async def connect(cls, conninfo: str = "", **options: Any) -> Any:
            try:
                connection = await super().connect(conninfo, **options)
            except Exception as error:
                peer.refusal = cause_of_refusal(error)
                raise
            peer.refusal = None
            return connection

    return NotingConnection
