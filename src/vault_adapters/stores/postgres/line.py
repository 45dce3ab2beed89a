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
from psycopg.pq import ConnStatus, ExecStatus, Format, PipelineStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

from vault_adapters.stores.postgres.cursors import ADAPTERS, Row

Parameters = Mapping[str, Any]

_MOST_PREPARED = 100
"""Largest number of prepared statements on one connection; the server keeps a plan for each."""

_CAN_CLOSE = capabilities.has_send_close_prepared()
"""Whether libpq can close a prepared statement.

The vault does not use DEALLOCATE instead, because DEALLOCATE fails behind poolers that rename the statement.
"""

CAN_COMBINE = capabilities.has_pipeline()
"""Whether libpq can send several statements at once."""

_PLACEHOLDER = re.compile(r"%\((\w+)\)b(?=(?:::(\w+(?:\[\])?))?)|%%")
_SOUND = {ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK, ExecStatus.EMPTY_QUERY, ExecStatus.PIPELINE_SYNC}


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

    async def run(self, sql: str, parameters: Parameters | None, *, prepare: bool, then: str | None = None) -> PGresult:
        """Run a statement; see `send`.

        Args:
            sql: the statement.
            parameters: its parameters.
            prepare: see `send`.
            then: another statement with the same parameters. Both are sent at once and are one transaction, in which
                each sees what was committed before it began. The server must allow READ COMMITTED, see `CAN_COMBINE`.

        Returns:
            The result of the first statement.
        """
        first = self.encoded(sql, parameters)
        if then is None:
            return await self.send(first, prepare=prepare)
        return await self.send(first, self.encoded(then, parameters), prepare=prepare)

    def encoded(self, sql: str, parameters: Parameters | None) -> Encoded:
        """Return a statement with its parameters in binary format. Another statement may run meanwhile."""
        text, names, casts = (sql.encode(), (), ()) if parameters is None else _numbered(sql)
        given = [] if parameters is None else [parameters[name] for name in names]
        values = self._transformer.dump_sequence(given, [PyFormat.BINARY] * len(given))
        types = self._transformer.types or ()
        if 0 in types:  # None has no type of its own
            types = tuple(oid or cast for oid, cast in zip(types, casts, strict=True))
        return Encoded(sql, text, values, types, self._transformer.formats)

    async def send(self, *statements: Encoded, prepare: bool) -> PGresult:
        """Run one statement, or several as one transaction; return the first result, in binary format.

        Raises:
            psycopg.Error: the error that a cursor would raise.
        """
        try:
            return await self._send(statements, prepare=prepare)
        except InvalidSqlStatementName:
            # The server has dropped all prepared statements, because psycopg sends DEALLOCATE ALL when it rolls back.
            self._prepared.clear()
            if self._pgconn.transaction_status != TransactionStatus.IDLE:
                raise
        return await self._send(statements, prepare=prepare)

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

    async def _send(self, statements: Sequence[Encoded], *, prepare: bool) -> PGresult:
        requests = [await self._request(each, prepare=prepare) for each in statements]
        if len(requests) == 1:
            return await self._result(requests[0])
        self._pgconn.enter_pipeline_mode()
        try:
            return await self._result(lambda: self._send_together(requests))
        finally:
            if self._pgconn.status == ConnStatus.OK:
                self._leave_pipeline()

    async def _request(self, statement: Encoded, *, prepare: bool) -> Callable[[], None]:
        """Return a function that sends a statement, which is prepared first if need be."""
        sql, text, values, types, formats = statement
        name = self._prepared.get((sql, types))
        if not prepare or (name is None and len(self._prepared) >= _MOST_PREPARED and not _CAN_CLOSE):
            return lambda: self._pgconn.send_query_params(text, values, types, formats, Format.BINARY)
        found = name or await self._prepare(sql, types, text)
        self._prepared.move_to_end((sql, types))
        return lambda: self._pgconn.send_query_prepared(found, values, formats, Format.BINARY)

    def _send_together(self, requests: Sequence[Callable[[], None]]) -> None:
        for send in requests:
            send()
        self._pgconn.pipeline_sync()

    def _leave_pipeline(self) -> None:
        try:
            self._pgconn.exit_pipeline_mode()
        except psycopg.Error:  # answers are still to come, and nobody waits for them
            self.release()
            self._pgconn.finish()

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
        """Call ``send``, which sends a request to the server; return the result, the first one of a pipeline.

        Raises:
            psycopg.Error: the server refused what was sent, or the connection is lost.
        """
        if self._waiter is not None:
            raise psycopg.OperationalError("another statement is running on this connection")
        results: list[PGresult] = []
        is_pipeline = self._pgconn.pipeline_status != PipelineStatus.OFF
        try:
            send()
            if self._pgconn.flush():
                self._rest = self._loop.create_future()
                self._loop.add_writer(self._watch(), self._send_rest)
            ends = 0
            while ends < (2 if is_pipeline else 1):  # a pipeline has such an end after each answer, but one at the last
                if self._pgconn.is_busy():
                    self._watch()
                    self._waiter = self._loop.create_future()
                    await self._waiter
                result = self._pgconn.get_result()
                ends = ends + 1 if result is None else 0
                if result is not None:
                    results.append(result)
                    if result.status == ExecStatus.PIPELINE_SYNC:
                        break
        except psycopg.OperationalError:
            if not any(_is_error(each) for each in results):
                raise
            # The server sent its reason before it ended the connection. This reason is raised below.
        finally:
            self._waiter = None
            self._end_sending()
            if self._pgconn.status != ConnStatus.OK:
                self.release()  # libpq has closed the socket, whose descriptor may soon belong to another file
        return _answer(results, is_pipeline=is_pipeline)

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
def _numbered(sql: str) -> tuple[bytes, tuple[str, ...], tuple[int, ...]]:
    """Return a statement with numbers in place of its parameters' names.

    Returns:
        The statement; the names in the order of the numbers; and the type to which the statement first casts each
        parameter, or 0. With this type for None, one prepared statement serves all values.
    """
    names: dict[str, tuple[int, int]] = {}

    def number(match: re.Match[str]) -> str:
        name, cast = match.groups()
        if name is None:
            return "%"
        place, _ = names.setdefault(name, (len(names) + 1, _oid_of(cast)))
        return f"${place}"

    return _PLACEHOLDER.sub(number, sql).encode(), tuple(names), tuple(oid for _, oid in names.values())


def _oid_of(cast: str | None) -> int:
    if cast is None:
        return 0
    found = ADAPTERS.types.get(cast.removesuffix("[]"))
    if found is None:
        return 0
    return found.array_oid if cast.endswith("[]") else found.oid


def _answer(results: list[PGresult], *, is_pipeline: bool) -> PGresult:
    for result in results:
        if _is_error(result):
            raise error_from_result(result)
    if not results:
        raise psycopg.InternalError("no result")
    if is_pipeline and results[-1].status != ExecStatus.PIPELINE_SYNC:
        raise psycopg.OperationalError("the connection was lost")
    return results[0 if is_pipeline else -1]


def _is_error(result: PGresult) -> bool:
    return result.status not in _SOUND
