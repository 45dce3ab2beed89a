"""Lines of a dump, each of bounded length."""

from collections.abc import Iterator
from typing import BinaryIO

from attrs import field, frozen

from vault_adapters.importing.piped import PipedLines
from vault_domain.entities.imported import ImportFailure

MOST_BYTES = 2 * 1024 * 1024
"""The longest line. A value has 64 KiB at most; how JSON may spell it, and a row's other columns, leave room."""

_BOM = b"\xef\xbb\xbf"


@frozen
class Line:
    """A line with its end.

    Attributes:
        number: from 1.
        text: it may be a credential.
    """

    number: int
    text: str = field(repr=False)


def read_lines(stream: BinaryIO | PipedLines) -> Iterator[Line | ImportFailure]:
    """Yield the lines of UTF-8 text; one that is too long or not UTF-8 is a failure.

    Args:
        stream: read to its end, a line at a time.
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
    while piece and not piece.endswith(b"\n"):
        piece = stream.readline(MOST_BYTES)


def _decoded(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None
