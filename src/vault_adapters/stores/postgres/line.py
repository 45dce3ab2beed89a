"""Runs statements on one connection through libpq, without cursors of psycopg."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

import psycopg
from psycopg import capabilities
from psycopg.abc import Buffer
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import InvalidSqlStatementName, error_from_result
from psycopg.pq import ConnStatus, ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

from vault_adapters.stores.postgres.cursors import ADAPTERS, Row

Parameters = Mapping[str, Any]

_MOST_PREPARED = 100
"""Largest number of prepared statements on one connection; the server keeps a plan for each."""

_CAN_CLOSE = capabilities.has_send_close_prepared()
"""Whether libpq can close a prepared statement.

The vault does not use DEALLOCATE instead, because DEALLOCATE fails behind poolers that rename the statement.
"""

_PLACEHOLDER = re.compile(r"%\((\w+)\)b|%%")
_SOUND = {ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK, ExecStatus.EMPTY_QUERY}


class Encoded(NamedTuple):
    """A statement with encoded parameters."""

    sql: str
    text: bytes
    values: Sequence[Buffer | None]
    types: tuple[int, ...]
    formats: Sequence[Format] | None


class Line:
    """Sends statements on one connection, and keeps its socket registered with the event loop between statements.

    psycopg registers the socket with the event loop anew for each answer. This and the creation of a cursor take
    longer than the server takes to read a row.

    Args:
        pgconn: the connection. Nobody else may use it while a statement runs.
    """

    def __init__(self, pgconn: PGconn) -> None:
        self._pgconn = pgconn
        self._loop = asyncio.get_running_loop()
        self._watched: int | None = None  # the descriptor of the socket
        self._waiter: asyncio.Future[None] | None = None
        self._rest: asyncio.Future[None] | None = None  # done when the rest of a request was sent; None: nothing waits
        self._prepared: OrderedDict[tuple[str, tuple[int, ...]], bytes] = OrderedDict()
        self._named = 0
        self._transformer = Transformer(_TYPES)

    async def run(self, sql: str, parameters: Parameters | None, *, prepare: bool) -> PGresult:
        """Run a statement; see `send`."""
        return await self.send(self.encoded(sql, parameters), prepare=prepare)

    def encoded(self, sql: str, parameters: Parameters | None) -> Encoded:
        """Return a statement with its parameters in binary format. Another statement may run meanwhile."""
        text, names = (sql.encode(), ()) if parameters is None else _numbered(sql)
        given = [] if parameters is None else [parameters[name] for name in names]
        values = self._transformer.dump_sequence(given, [PyFormat.BINARY] * len(given))
        return Encoded(sql, text, values, self._transformer.types or (), self._transformer.formats)

    async def send(self, statement: Encoded, *, prepare: bool) -> PGresult:
        """Run a statement; return its result in binary format.

        Raises:
            psycopg.Error: the error that a cursor would raise.
        """
        sql, text, values, types, formats = statement
        is_kept = (sql, types) in self._prepared or len(self._prepared) < _MOST_PREPARED or _CAN_CLOSE
        if not prepare or not is_kept:
            return await self._result(
                lambda: self._pgconn.send_query_params(text, values, types, formats, Format.BINARY)
            )
        try:
            return await self._run_prepared(statement)
        except InvalidSqlStatementName:
            # The server has dropped all prepared statements, because psycopg sends DEALLOCATE ALL when it rolls back.
            self._prepared.clear()
            if self._pgconn.transaction_status != TransactionStatus.IDLE:
                raise
        return await self._run_prepared(statement)

    async def run_script(self, sql: str) -> PGresult:
        """Run one or several statements without parameters; return the last result, in text format.

        Raises:
            psycopg.Error: the error that a cursor would raise.
        """
        return await self._result(lambda: self._pgconn.send_query(sql.encode()))

    async def sent(self) -> None:
        """Wait until the request that is being sent was sent whole, or has failed.

        While the server prepares a statement, this method returns at once.
        """
        if self._rest is not None:
            await asyncio.wait([self._rest])

    def rows(self, result: PGresult) -> list[Row]:
        """Return the rows of a result of `run`."""
        if not result.nfields:
            return []
        self._transformer.set_pgresult(result)
        try:
            return self._transformer.load_rows(0, result.ntuples, tuple)
        finally:
            self._transformer.set_pgresult(None)

    def release(self) -> None:
        """Stop watching the socket; call this before closing the connection, and before psycopg waits for an answer.

        A running statement fails, because nothing would wake it any more.
        """
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(psycopg.OperationalError("the connection was closed"))
        if self._watched is None:
            return
        descriptor, self._watched = self._watched, None
        for stop in (self._loop.remove_reader, self._loop.remove_writer):
            with suppress(OSError):  # libpq has closed the socket
                stop(descriptor)

    async def _run_prepared(self, statement: Encoded) -> PGresult:
        sql, text, values, types, formats = statement
        name = self._prepared.get((sql, types)) or await self._prepare(sql, types, text)
        self._prepared.move_to_end((sql, types))
        return await self._result(lambda: self._pgconn.send_query_prepared(name, values, formats, Format.BINARY))

    async def _prepare(self, sql: str, types: tuple[int, ...], text: bytes) -> bytes:
        if len(self._prepared) >= _MOST_PREPARED:
            _, oldest = self._prepared.popitem(last=False)
            await self._result(lambda: self._pgconn.send_close_prepared(oldest))
        self._named += 1
        name = b"_vault_%d" % self._named
        await self._result(lambda: self._pgconn.send_prepare(name, text, types))
        self._prepared[(sql, types)] = name
        return name

    async def _result(self, send: Callable[[], None]) -> PGresult:
        """Call ``send``, which sends a request to the server; return the last result.

        Raises:
            psycopg.Error: the server refused what was sent, or the connection is lost.
        """
        if self._waiter is not None:
            raise psycopg.OperationalError("another statement is running on this connection")
        results: list[PGresult] = []
        try:
            send()
            if self._pgconn.flush():
                self._rest = self._loop.create_future()
                self._loop.add_writer(self._watch(), self._send_rest)
            while True:
                if self._pgconn.is_busy():
                    self._watch()
                    self._waiter = self._loop.create_future()
                    await self._waiter
                result = self._pgconn.get_result()
                if result is None:
                    break
                results.append(result)
        except psycopg.OperationalError:
            if not any(_is_error(each) for each in results):
                raise
            # The server sent its reason before it ended the connection. This reason is raised below.
        finally:
            self._waiter = None
            self._end_sending()
            if self._pgconn.status != ConnStatus.OK:
                self.release()  # libpq has closed the socket, whose descriptor may soon belong to another file
        return _last(results)

    def _watch(self) -> int:
        """Let the event loop watch the socket; return its descriptor."""
        if self._watched is None:
            self._watched = self._pgconn.socket
            self._loop.add_reader(self._watched, self._receive)
        return self._watched

    def _receive(self) -> None:
        """Read what has come, and wake the waiting statement if a result is complete."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            self.release()  # nobody reads what has come, so the event loop would call this again and again
            return
        try:
            self._pgconn.consume_input()
            if self._pgconn.is_busy():
                return
        except psycopg.Error as error:
            self._fail(error)
        else:
            waiter.set_result(None)

    def _send_rest(self) -> None:
        """Send more of a statement that did not fit into the socket's buffer."""
        try:
            is_sent = not self._pgconn.flush()
        except psycopg.Error as error:
            self._fail(error)
            return
        if is_sent:
            if self._watched is not None:
                self._loop.remove_writer(self._watched)
            self._end_sending()

    def _end_sending(self) -> None:
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.set_result(None)

    def _fail(self, error: psycopg.Error) -> None:
        """Raise an error in the waiting statement."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
        self.release()


class _Types:
    """The vault's types for a `Transformer`, without a connection, which the transformer would keep alive."""

    adapters = ADAPTERS
    connection = None


_TYPES = _Types()


@lru_cache(maxsize=1024)
def _numbered(sql: str) -> tuple[bytes, tuple[str, ...]]:
    """Return a statement with numbers in place of its parameters' names, and the names in the order of the numbers."""
    names: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        name = match[1]
        return "%" if name is None else f"${names.setdefault(name, len(names) + 1)}"

    return _PLACEHOLDER.sub(number, sql).encode(), tuple(names)


def _last(results: list[PGresult]) -> PGresult:
    for result in results:
        if _is_error(result):
            raise error_from_result(result)
    if not results:
        raise psycopg.InternalError("no result")
    return results[-1]


def _is_error(result: PGresult) -> bool:
    return result.status not in _SOUND
