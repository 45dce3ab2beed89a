"""Reads tokens from a dump of any length, a few rows at a time."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from itertools import islice
from typing import BinaryIO

from anyio import to_thread

from vault_adapters.importing.failing import UnreadableRowError
from vault_adapters.importing.formats import Draft, Format
from vault_adapters.importing.piped import PipedLines
from vault_adapters.importing.records import Record, read_records
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.imported import ImportedToken, ImportFailure
from vault_domain.entities.secret import Secret

Opener = Callable[[Sequence[str]], Awaitable[Sequence[Secret | None]]]
"""Decrypts values; returns None for a value that cannot be decrypted."""

_AT_ONCE = 64
"""Number of rows to decrypt together: enough for a pool of threads, and few enough to hold in memory."""

_MOST_CONTENT = 400_000
"""Largest accepted length of a value's text. In each format, even the text of the largest value (64 KiB) is shorter."""

_NAME = re.compile(r"[A-Za-z0-9_]{1,48}\Z")
"""A failure shows the name of an unknown column only if the name has this form."""

_Parsed = tuple[int, Draft] | ImportFailure


async def read_dump(
    stream: BinaryIO | PipedLines, form: Format, opener: Opener
) -> AsyncIterator[ImportedToken | ImportFailure]:
    """Yield the tokens of a dump in order, and a failure for each row that cannot be read.

    Args:
        stream: JSON lines or CSV; see `read_records`.
        form: the format of the columns.
        opener: function that decrypts the values.
    """
    rows = (_parse(record, form) for record in read_records(stream, form.required, form.guarded))
    while chunk := await _chunk(rows, stream):
        for row in await _opened(chunk, opener):
            yield row


async def read_rows(
    records: Iterator[Record | ImportFailure], form: Format
) -> AsyncIterator[ImportedToken | ImportFailure]:
    """Yield the tokens of rows with plaintext values, as `read_dump` does.

    Args:
        records: the rows; a thread reads them, because another system's database may take its time.
        form: the format of the columns.
    """
    rows = (_parse(record, form) for record in records)
    while chunk := await to_thread.run_sync(lambda: list(islice(rows, _AT_ONCE))):
        for row in await _opened(chunk, open_plain):
            yield row


async def _opened(chunk: Sequence[_Parsed], opener: Opener) -> list[ImportedToken | ImportFailure]:
    drafts = [row for row in chunk if not isinstance(row, ImportFailure)]
    values = iter(await opener([draft.content for _, draft in drafts]))
    return [row if isinstance(row, ImportFailure) else _complete(row, values) for row in chunk]


async def _chunk(rows: Iterator[_Parsed], stream: BinaryIO | PipedLines) -> list[_Parsed]:
    """Return the next rows; from a pipe, wait for one row and return it with the rows that have already arrived."""
    if not isinstance(stream, PipedLines):
        return list(islice(rows, _AT_ONCE))
    await stream.wait()
    chunk = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _AT_ONCE or not stream.has_line():
            break
    return chunk


async def open_plain(texts: Sequence[str]) -> list[Secret | None]:
    """Return plaintext values as they are, for formats without encryption."""
    return [_secret(text) for text in texts]


def _parse(record: Record | ImportFailure, form: Format) -> _Parsed:
    if isinstance(record, ImportFailure):
        return record
    try:
        draft = form.parse(record.values)
    except UnreadableRowError as error:
        named = error.column if record.has_header and error.column and _NAME.match(error.column) else None
        return ImportFailure(record.line, error.code if named is None else f"{error.code}_{named}")
    # Refuse a long value here, because it would stay in memory until the other rows are decrypted.
    return (
        ImportFailure(record.line, "unreadable_value") if len(draft.content) > _MOST_CONTENT else (record.line, draft)
    )


def _complete(row: tuple[int, Draft], values: Iterator[Secret | None]) -> ImportedToken | ImportFailure:
    line, draft = row
    value = next(values)
    if value is None:
        return ImportFailure(line, "unreadable_value")
    return draft.complete(value, line) if value.reveal() else ImportFailure(line, "empty_value")


def _secret(text: str) -> Secret | None:
    try:
        return Secret(text)
    except InvalidInputError:
        return None
