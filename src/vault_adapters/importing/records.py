"""Reads the rows of a dump from JSON lines or CSV."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from attrs import field, frozen

from vault_adapters.importing.csv_fields import fields_of
from vault_adapters.importing.formulas import unguard
from vault_adapters.importing.lines import MOST_BYTES, Line, read_lines
from vault_adapters.importing.piped import PipedLines
from vault_domain.entities.imported import ImportFailure

_NULLS = frozenset({"", "\\N", "NULL", "null"})
"""The spellings of NULL in CSV by COPY, psql and other tools."""

_NAMES = frozenset({"tenant_id", "identifier"})
"""Columns in which a spelling of NULL may also be a real name; reading it as NULL would merge two accounts."""

_Lines = Iterator[Line | ImportFailure]


@frozen
class Record:
    """A row.

    Attributes:
        line: line at which the row begins, counted from 1.
        values: the values by column name; they may be credentials.
        has_header: whether the names come from the header of the dump.
    """

    line: int
    values: Mapping[str, Any] = field(repr=False)
    has_header: bool = False


def read_records(
    stream: BinaryIO | PipedLines, required: Sequence[str], guarded: Collection[str] = ()
) -> Iterator[Record | ImportFailure]:
    """Yield the rows of a dump.

    The dump is CSV if its first non-empty line names all required columns; otherwise it is JSON with one object per
    line. Empty lines are skipped.

    Args:
        stream: the dump, read to its end.
        required: the columns that the header of a CSV dump must name.
        guarded: the columns in which `formulas.guard` may have put an apostrophe before a text.
    """
    lines = read_lines(stream)
    first = next((line for line in lines if not _is_blank(line)), None)
    if first is None:
        return
    header = _header(first, required)
    if header is not None:
        yield from _csv_records(lines, header, guarded)
        return
    yield _json_record(first)
    for line in lines:
        if not _is_blank(line):
            yield _json_record(line)


def _is_blank(line: Line | ImportFailure) -> bool:
    return isinstance(line, Line) and not line.text.strip("\r\n\t ")


def _header(line: Line | ImportFailure, required: Sequence[str]) -> list[str] | None:
    fields = None if isinstance(line, ImportFailure) else fields_of(line.text)
    if fields is None:
        return None
    names = [name.strip() for name in fields]
    return names if set(required) <= set(names) and len(set(names)) == len(names) else None


def _json_record(line: Line | ImportFailure) -> Record | ImportFailure:
    if isinstance(line, ImportFailure):
        return line
    try:
        values = _decode(line.text)
    except (ValueError, RecursionError):
        return ImportFailure(line.number, "not_json")
    if not isinstance(values, dict):
        return ImportFailure(line.number, "not_an_object")
    return Record(line.number, values)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError
    return values


# Refuse an object with a repeated name, because Python would take the last value and another reader the first. Make one
# decoder for all lines, because `json.loads` would make a new decoder for each.
_decode = json.JSONDecoder(object_pairs_hook=_unique).decode


def _csv_records(lines: _Lines, header: list[str], guarded: Collection[str]) -> Iterator[Record | ImportFailure]:
    """Yield rows; a quoted text may span several lines.

    If a row of several lines is malformed, only its first line is reported as a failure, and its other lines are read
    again as rows of their own. So a stray quote does not hide the rows after it.
    """
    again: list[Line | ImportFailure] = []
    while (line := again.pop() if again else next(lines, None)) is not None:
        if _is_blank(line):
            continue
        if isinstance(line, ImportFailure):
            yield line
            continue
        taken = _whole_row(line, again, lines)
        texts = [part.text for part in taken if isinstance(part, Line)]
        fields = fields_of("".join(texts)) if len(texts) == len(taken) else None
        if fields is None or len(fields) != len(header):
            again.extend(reversed(taken[1:]))
            yield ImportFailure(line.number, "not_csv" if fields is None else "wrong_number_of_columns")
            continue
        values = dict(zip(header, fields, strict=True))
        doubtful = next((name for name in _NAMES if values.get(name) in _NULLS - {""}), None)
        if doubtful is not None:
            yield ImportFailure(line.number, f"ambiguous_{doubtful}")
            continue
        cells = {name: _cell(text, name in guarded) for name, text in values.items()}
        yield Record(line.number, cells, has_header=True)


def _cell(text: str, is_guarded: bool) -> str | None:
    if text in _NULLS:
        return None
    return unguard(text) if is_guarded else text


def _whole_row(line: Line, again: list[Line | ImportFailure], lines: _Lines) -> list[Line | ImportFailure]:
    """Return the line and the following lines until no quote is open, up to a limit."""
    taken: list[Line | ImportFailure] = [line]
    size, is_open = len(line.text), line.text.count('"') % 2 == 1
    while is_open and size <= MOST_BYTES:
        following = again.pop() if again else next(lines, None)
        if following is None:
            break
        taken.append(following)
        if isinstance(following, ImportFailure):
            break
        size += len(following.text)
        is_open ^= following.text.count('"') % 2 == 1
    return taken
