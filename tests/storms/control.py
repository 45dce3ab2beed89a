"""What the storm tells its workers while they run: the phase, and the offset of the clock."""

import mmap
import struct
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from pathlib import Path
from typing import Final

_FORM: Final = struct.Struct("=id")


class Phase(IntEnum):
    """What the workers do."""

    WAIT = 0
    STORM = 1
    CALM = 2
    """All faults are over; nobody stores tokens or forces a refresh."""
    STOP = 3
    """No more calls; workers record which calls hang, and their memory, descriptors and tasks, and close the vault."""


class Control:
    """A small file that the storm and its workers map into memory."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_FORM.size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _FORM.size)

    @property
    def phase(self) -> Phase:
        """The phase."""
        return Phase(self._read()[0])

    @property
    def offset(self) -> float:
        """The seconds by which the clock is ahead."""
        return self._read()[1]

    def set(self, *, phase: Phase | None = None, offset: float | None = None) -> None:
        """Change the phase or the offset; only the storm calls this."""
        now = self._read()
        _FORM.pack_into(self._memory, 0, now[0] if phase is None else phase, now[1] if offset is None else offset)

    def _read(self) -> tuple[int, float]:
        number, offset = _FORM.unpack_from(self._memory, 0)
        return int(number), float(offset)


class SteppedClock:
    """Implements the vault's `Clock`: the machine's time plus the offset."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def now(self) -> datetime:
        """Return the time, UTC."""
        return datetime.now(UTC) + timedelta(seconds=self._control.offset)
