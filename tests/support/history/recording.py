"""The history file of a process: one line of JSON for each record, in memory that outlives a kill.

The file is mapped into memory, so the kernel keeps what was written before a kill. A storm imitates a full
disk by a limit on the size of files. This limit does not affect writes to mapped memory.
"""

import json
import mmap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from .evidence import Call, Process, Sample

_BYTES: Final = 64 * 1024 * 1024
_PIECE: Final = 256 * 1024


class Recorder:
    """Appends records to a new file."""

    def __init__(self, path: Path) -> None:
        with path.open("x+b") as file:
            file.truncate(_BYTES)
            self._memory = mmap.mmap(file.fileno(), _BYTES)
        self._at = 0

    def write(self, record: str, **fields: Any) -> None:
        """Append one record."""
        line = json.dumps({"record": record, "t": time.time(), **fields}, separators=(",", ":")).encode() + b"\n"
        # The line end is written last, so that a kill in the middle leaves a line that is not read.
        self._memory[self._at : self._at + len(line) - 1] = line[:-1]
        self._memory[self._at + len(line) - 1] = line[-1]
        self._at += len(line)


def read_process(path: Path) -> Process:
    """Read the history of a process; the file is named after it."""
    process = Process(path.stem, started=0.0)
    for line in _lines(path):
        record = json.loads(line)
        kind, at = record.pop("record"), record.pop("t")
        if kind == "started":
            process.started = at
        elif kind == "opened":
            process.opened = at
        elif kind == "call":
            process.calls.append(Call(end=at, **record))
        elif kind == "begin":
            process.begun.append((record["op"], record["account"], at))
        elif kind == "hung":
            process.hung.append((record["op"], record["account"], record["begin"]))
        elif kind == "sample":
            process.samples.append(Sample(at=at, **record))
    return process


def _lines(path: Path) -> Iterator[bytes]:
    rest = b""
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines
            if b"\0" in rest:
                return
