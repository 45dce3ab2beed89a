"""Translates errors of the driver into errors of the vault."""

from collections.abc import Awaitable
from typing import TypeVar

import psycopg
import psycopg_pool

from vault_adapters.stores.postgres.causes import cause_of, cause_of_refusal
from vault_adapters.stores.postgres.limits import OverdueError
from vault_adapters.stores.postgres.peer import Peer
from vault_domain.entities import causes
from vault_domain.entities.errors import StorageError, VaultError

T = TypeVar("T")

# Errors that a retry may avoid: serialization failure, deadlock, lock timeout, statement timeout, too many connections,
# a standby, a server that starts up, and sessions that the server ended (shutdown, crash, idle or transaction timeout).
_PASSING = {
    *("40001", "40P01", "55P03", "57014", "53300", "25006"),
    *("57P01", "57P02", "57P03", "57P05", "25P03", "25P04"),
}

# Citus says this, under the code of internal errors, if it moved the tenant's rows to another node just after it had
# sent a statement to their former node. Citus translates no messages.
_MOVED_SHARD = ("XX000", "cannot execute a distributed query from a query on a shard")

# Errors because of a value, a row or a lock: an integrity constraint, a trigger, a policy, a deadlock, a damaged page.
_UNDONE_CLASSES = {"22", "23", "40", "44", "54", "P0"}
_UNDONE = {"42501", "55P03", "XX001", "XX002"}
_UNKNOWN_OUTCOME = "40003"

# Errors that come although the transaction may be committed: the server ends the session while it waits for a standby
# to confirm the commit.
_AFTER_COMMIT = {_UNKNOWN_OUTCOME, "57P01", "57P02", "57P05"}


_IN_DOUBT = "_token_vault_in_doubt"
"""Attribute of a driver's error after which the write may have taken effect."""


async def translated(
    work: Awaitable[T], peer: Peer, *, opening: bool = False, answers: bool = True, reads: bool = False
) -> T:
    """Await ``work``; raise each error of the driver as a `StorageError` with only the error's cause and SQLSTATE.

    - The server's message and DETAIL are left out, because they may repeat values that were sent.
    - A cancellation loses its traceback, because the driver's frames hold the connection's password.
    - This is not a context manager, because an error that a context manager raises keeps the driver's error in its
      ``__context__``.

    Args:
        work: calls the driver.
        peer: the database; its fault log counts failures and successes.
        opening: whether ``work`` opens connections; if so, errors of other libraries are translated too, such as
            those of the resolver.
        answers: whether a success of ``work`` shows that the database works; False, for example, if ``work`` only
            gives back a connection.
        reads: whether ``work`` only reads, so that its success does not show that the database takes writes.
    """
    failure: BaseException
    try:
        result = await work
    except psycopg.Error as error:
        failure = translate(error, peer, opening=opening)
    except VaultError:
        raise
    except Exception as error:
        if not opening:
            raise
        cause = cause_of_refusal(error)
        failure = StorageError(f"{peer.name} could not be opened ({cause}, {type(error).__name__})", reason=cause)
        peer.faults.failed(cause)
    except BaseException as error:
        error.__context__ = None
        failure = error.with_traceback(None)
    else:
        if answers:
            peer.faults.worked(only_read=reads)
        return result
    finally:
        del work  # releases the coroutine with its frames
    raise failure


def translate(error: psycopg.Error, peer: Peer, *, opening: bool = False) -> StorageError:
    """Return the vault's error for an error of the driver."""
    cause = _cause(error, peer, opening=opening)
    code, retryable = _describe(error)
    if cause is not None and cause != causes.CLOSED:
        peer.faults.failed(cause)
    detail, in_doubt = code if cause is None else f"{cause}, {code}", getattr(error, _IN_DOUBT, False)
    message = f"{peer.name} could not do this ({detail})" + ("; it may have taken effect" if in_doubt else "")
    return StorageError(message, retryable=retryable, reason=cause or error.sqlstate, in_doubt=in_doubt)


async def decisive(work: Awaitable[T]) -> T:
    """Await a statement after which its transaction may be committed; mark errors that leave that open."""
    try:
        return await work
    except psycopg.Error as error:
        # An operational error without a code: the connection was lost, or the server did not answer in time.
        code = error.sqlstate
        lost = isinstance(error, psycopg.OperationalError) if code is None else code.startswith("08")
        if lost or code in _AFTER_COMMIT:
            setattr(error, _IN_DOUBT, True)
        raise


def _cause(error: psycopg.Error, peer: Peer, *, opening: bool) -> str | None:
    if opening and error.sqlstate is None and not isinstance(error, psycopg_pool.PoolTimeout):
        return cause_of_refusal(error)
    if isinstance(error, psycopg_pool.PoolTimeout) and peer.refusal is not None:
        return peer.refusal
    return cause_of(error)


def _describe(error: psycopg.Error) -> tuple[str, bool]:
    if error.sqlstate is not None:
        # Class 08 holds connection exceptions, including those of poolers.
        passes = error.sqlstate in _PASSING or error.sqlstate.startswith("08")
        return error.sqlstate, passes or (error.sqlstate, error.diag.message_primary) == _MOVED_SHARD
    if isinstance(error, psycopg_pool.PoolClosed):
        return "the vault or its pool is closed", False
    if isinstance(error, psycopg_pool.PoolTimeout | psycopg_pool.TooManyRequests):
        return "no connection became free in time", True
    if isinstance(error, OverdueError):
        return "no answer in time", True
    if isinstance(error, psycopg.OperationalError):
        # libpq gives no code if a connection cannot be opened or is lost.
        return "no connection", True
    return type(error).__name__, False


async def unless_undone(work: Awaitable[T]) -> T | None:
    """Await ``work``, a statement about several rows; return None if the server refused it because of one row.

    A refused statement has stored nothing, and might succeed without that row. All other errors are raised: those that
    leave the outcome unknown, those after which no time is left for another statement, and those that any statement
    would get.
    """
    try:
        return await work
    except psycopg.Error as error:
        code = error.sqlstate or ""
        if code == _UNKNOWN_OUTCOME or (code not in _UNDONE and code[:2] not in _UNDONE_CLASSES):
            raise
    return None
