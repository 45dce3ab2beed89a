"""Tells why Postgres could not be used, in the codes of `vault_domain.entities.causes`."""

from __future__ import annotations

import re

import psycopg
import psycopg_pool

from vault_adapters.stores.postgres.limits import OverdueError
from vault_domain.entities import causes

_BY_SQLSTATE = {
    "08001": causes.CONNECTION_FAILED,
    "08003": causes.CONNECTION_LOST,
    "08006": causes.CONNECTION_LOST,
    "25006": causes.READ_ONLY,
    "25P03": causes.TIMEOUT,
    "25P04": causes.TIMEOUT,
    "28000": causes.AUTHENTICATION_FAILED,
    "28P01": causes.AUTHENTICATION_FAILED,
    "3D000": causes.DATABASE_MISSING,
    "42501": causes.PERMISSION_DENIED,
    "53100": causes.DISK_FULL,
    "53300": causes.TOO_MANY_CONNECTIONS,
    "55P03": causes.LOCKED,
    "57014": causes.TIMEOUT,
    "57P01": causes.SHUTTING_DOWN,
    "57P02": causes.SHUTTING_DOWN,
    "57P03": causes.SHUTTING_DOWN,
    "57P05": causes.CONNECTION_LOST,
    "XX001": causes.CORRUPT,
    "XX002": causes.CORRUPT,
}

# libpq gives no code for a connection that could not be opened, so the error's text is searched. If a server translates
# its messages, the cause is `connection_failed`. Names, which are in double quotes, are removed before the search.
_BY_TEXT = (
    (causes.SHUTTING_DOWN, re.compile(r"the database system is")),
    (causes.TOO_MANY_CONNECTIONS, re.compile(r"too many (clients|connections)|connection slots|no more connections")),
    (causes.DATABASE_MISSING, re.compile(r"(database \S* does not exist|no such database)")),
    (causes.PERMISSION_DENIED, re.compile(r"permission denied for database")),
    (causes.READ_ONLY, re.compile(r"session is read-only|server is in hot standby mode")),
    (causes.UNKNOWN_HOST, re.compile(r"could not translate host name|failed to resolve host")),
    (causes.TIMEOUT, re.compile(r"timeout expired|timed out")),
    (causes.CONNECTION_REFUSED, re.compile(r"Connection refused|No such file or directory")),
    (
        causes.AUTHENTICATION_FAILED,
        re.compile(r"authentication failed|no password supplied|no pg_hba\.conf entry|role \S* does not exist|pg_hba"),
    ),
    (causes.CONNECTION_FAILED, re.compile(r"invalid response to SSL negotiation")),  # the server is not Postgres
    (causes.TLS, re.compile(r"(SSL|TLS)(?! SYSCALL)|certificate")),
)
_NAMES = re.compile(r'"[^"]*"')
_MORE_ATTEMPTS = "\nMultiple connection attempts failed"


def cause_of(error: psycopg.Error) -> str | None:
    """Return the cause of an error of a statement; None if none of the documented causes fits."""
    if error.sqlstate is not None:
        return _BY_SQLSTATE.get(error.sqlstate)
    if isinstance(error, psycopg_pool.PoolClosed):
        return causes.CLOSED
    if isinstance(error, psycopg_pool.TooManyRequests):
        return causes.TOO_MANY_CONNECTIONS
    if isinstance(error, OverdueError | psycopg_pool.PoolTimeout):
        return causes.TIMEOUT
    return causes.CONNECTION_LOST if isinstance(error, psycopg.OperationalError) else None


def cause_of_refusal(error: BaseException) -> str:
    """Return the cause for which a connection could not be opened. If several hosts were tried, the last one counts."""
    if isinstance(error, psycopg.errors.ConnectionTimeout | TimeoutError):
        return causes.TIMEOUT
    known = _BY_SQLSTATE.get(getattr(error, "sqlstate", None) or "")
    if known is not None:
        return known
    text = _NAMES.sub("", str(error).partition(_MORE_ATTEMPTS)[0])
    return next((cause for cause, pattern in _BY_TEXT if pattern.search(text)), causes.CONNECTION_FAILED)
