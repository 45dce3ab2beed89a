"""Cursors of the driver psycopg that convert values in the same way on every connection, the host's included."""

import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Dumper, Loader
from psycopg.pq import Format
from psycopg.rows import tuple_row
from psycopg.types.numeric import Int8

Connection = psycopg.AsyncConnection[Any]
Row = tuple[Any, ...]

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_unpack = struct.Struct("!q").unpack
_array_head = struct.Struct("!iiIii").pack
_size = struct.Struct("!i").pack
_TEXT = psycopg.adapters.types["text"].oid


class UtcLoader(Loader):
    """Loads a timestamptz as UTC.

    The driver's loader uses the session's zone, and fails for a time that Python's `datetime` cannot hold.
    """

    format = Format.BINARY

    def load(self, data: Buffer) -> datetime:
        """Return the time; a time beyond Python's range, such as infinity, becomes Python's first or last time."""
        (micros,) = _unpack(data)
        try:
            return _EPOCH + timedelta(0, 0, micros)
        except OverflowError:
            return (datetime.max if micros > 0 else datetime.min).replace(tzinfo=UTC)


class Texts(list[str]):
    """Texts for a parameter of type ``text[]``."""


class TextsDumper(Dumper):
    """Encodes `Texts`.

    The driver's dumper for lists asks of each element whether it is NULL or a list, and calls another dumper for it.
    With many callers, this was 4 % of a read's time.
    """

    format = Format.BINARY
    oid = psycopg.adapters.types["text"].array_oid

    def dump(self, obj: Texts) -> bytes:
        """Return the array in PostgreSQL's binary format."""
        parts = [_array_head(1, 0, _TEXT, len(obj), 1)]  # one dimension, no NULL, elements counted from 1
        for text in obj:
            encoded = text.encode()
            parts.append(_size(len(encoded)))
            parts.append(encoded)
        return b"".join(parts)


ADAPTERS = AdaptersMap(psycopg.adapters)
ADAPTERS.register_loader("timestamptz", UtcLoader)
ADAPTERS.register_dumper(Texts, TextsDumper)


class VaultCursor(psycopg.AsyncCursor[Row]):
    """A cursor of psycopg whose types and rows do not depend on its connection's settings."""

    __slots__ = ()

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, row_factory=tuple_row)

    @property
    def adapters(self) -> AdaptersMap:
        """The type adapters, the same for all connections."""
        return ADAPTERS


def int8(value: int | None) -> Int8 | None:
    """Return an integer whose SQL type does not depend on its size, so that one prepared statement serves all sizes."""
    return None if value is None else Int8(value)
