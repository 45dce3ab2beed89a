"""Reads the lines of a dump, with a limit on their length."""

from collections.abc import Iterator
from typing import BinaryIO

from attrs import field, frozen

from vault_adapters.importing.piped import PipedLines
from vault_domain.entities.imported import ImportFailure

MOST_BYTES = 2 * 1024 * 1024
"""Longest line in bytes. The limit has room for a value of 64 KiB with JSON escapes, and for the other columns."""

_BOM = b"\xef\xbb\xbf"


@frozen
class Line:
    """A line, including its line end.

    Attributes:
        number: the line's number, from 1.
        text: the line's text, which may hold a credential.
    """

    number: int
    text: str = field(repr=False)


def read_lines(stream: BinaryIO | PipedLines) -> Iterator[Line | ImportFailure]:
    """Yield the lines of UTF-8 text; yield a failure for a line that is too long or not UTF-8.

    Args:
        stream: the text, read line by line to its end.
    """
    number = 0
    while raw := stream.readline(MOST_BYTES + 1):
        number += 1
        if len(raw) > MOST_BYTES:
            _skip_rest(stream, raw)
            yield ImportFailure(number, "line_too_long")
            continue
        if number == 1:
            raw = raw.removeprefix(_BOM)
        text = _decoded(raw)
        yield ImportFailure(number, "not_utf8") if text is None else Line(number, text)


def _skip_rest(stream: BinaryIO | PipedLines, piece: bytes) -> None:
    if isinstance(stream, PipedLines):
        stream.skip_rest()  # does not wait for the rest
        return
    while piece and not piece.endswith(b"\n"):
        piece = stream.readline(MOST_BYTES)


def _decoded(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None
