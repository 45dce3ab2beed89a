"""Finds out by how much the machine's clock was set, so that stored times can be moved by the same amount.

In this module, a step is the amount by which the clock was set. Setting the clock does not change the time since the
machine's start. Only processes of one machine use a SQLite file, so they agree on this time unless a container has a
boot clock of its own. When a refresh writes the times of a lease or of a failure, the account's row records the
difference between the clock and the time since the start. A later reader computes the difference again. If the
difference has changed, the clock was set, and the reader moves these times by the change.
"""

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

BootClock = Callable[[], tuple[str, int] | None]
"""Returns an id of the machine's last start, and the microseconds since then; None if they are not known."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LEAST_STEP = 1_000_000
"""Smallest step that counts, in microseconds; smaller ones are the clock's usual corrections."""

_KEPT_SECONDS = 1.0
"""Time for which the id of the machine's last start is not read again."""


def _read_start() -> str:
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    namespace = Path("/proc/self/ns/time").stat().st_ino  # a container may have a boot clock of its own
    return f"{boot_id}-{namespace}"


class MachineStart:
    """The id of this machine's last start. It is read from two files, so a process keeps it for a second."""

    def __init__(self, read: Callable[[], str] = _read_start) -> None:
        self._read = read
        self._kept: tuple[str, int, float] | None = None

    def name(self, *, pid: int, now: float) -> str:
        """Return the id.

        Args:
            pid: the id of this process; a child process may have a boot clock of its own.
            now: monotonic time in seconds.
        """
        kept = self._kept
        if kept is None or kept[1] != pid or now - kept[2] > _KEPT_SECONDS:
            kept = self._kept = self._read(), pid, now
        return kept[0]


_START = MachineStart()


def machine_boot_clock() -> tuple[str, int] | None:
    """Return an id of this machine's last start, and the microseconds since, sleep included; None outside of Linux."""
    with suppress(OSError, AttributeError):
        name = _START.name(pid=os.getpid(), now=time.monotonic())
        return name, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    return None


def clock_functions(now: Callable[[], datetime], boot: BootClock) -> Iterable[tuple[str, int, Callable[..., Any]]]:
    """Return the SQL functions by which statements learn that the clock was set: name, number of arguments, function.

    - ``vault_boot_id()`` and ``vault_clock_offset()`` return the values that are recorded when times are written.
    - ``vault_clock_step(boot_id, clock_offset)`` returns by how many microseconds the clock was set since these values
      were recorded: less than 0 if it was set back; 0 if the step is smaller than a second or not known.
    """

    def boot_id() -> str | None:
        found = boot()
        return None if found is None else found[0]

    def offset() -> int | None:
        found = boot()
        return None if found is None else (now() - _EPOCH) // _MICROSECOND - found[1]

    def step(recorded_boot: object, recorded_offset: object) -> int:
        # Return early, because most rows have no lease and a statement calls this several times for each row.
        if recorded_boot is None or not isinstance(recorded_offset, int):
            return 0
        found = boot()
        if found is None or recorded_boot != found[0]:
            return 0
        difference = (now() - _EPOCH) // _MICROSECOND - found[1] - recorded_offset
        return difference if _LEAST_STEP <= abs(difference) < 2**62 else 0

    return [("vault_boot_id", 0, boot_id), ("vault_clock_offset", 0, offset), ("vault_clock_step", 2, step)]


def no_boot_clock() -> None:
    """Return None, for a store with its own clock, because the store's times do not come from the machine's clock."""
