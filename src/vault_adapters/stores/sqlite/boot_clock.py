"""Follows steps of the machine's clock, by the time since the machine was started, which no step changes.

Only processes of one machine use a SQLite file. So each account records by how much the machine's clock differed from
the time since its start when a lease was taken. A later reader sees by how much the clock was set since, and moves the
times of the lease by as much.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

BootClock = Callable[[], tuple[str, int] | None]
"""Returns what identifies the start of the machine, and the microseconds since; None if that is not known."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LEAST_STEP = 1_000_000
"""Smallest difference in microseconds that counts as a step; smaller ones are the clock's usual corrections."""


def machine_boot_clock() -> tuple[str, int] | None:
    """Return the start of this machine and the microseconds since, time asleep included; None outside of Linux."""
    with suppress(OSError, AttributeError):
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/time").stat().st_ino  # a container may have a boot clock of its own
        return f"{boot_id}-{namespace}", time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    return None


def clock_functions(now: Callable[[], datetime], boot: BootClock) -> Iterable[tuple[str, int, Callable[..., Any]]]:
    """Return the SQL functions with which statements follow steps: name, number of arguments, function.

    - ``vault_boot_id()`` and ``vault_clock_offset()`` are recorded when times are written.
    - ``vault_clock_step(boot_id, clock_offset)`` is by how many microseconds the clock was set since.
    """

    def boot_id() -> str | None:
        found = boot()
        return None if found is None else found[0]

    def offset() -> int | None:
        found = boot()
        return None if found is None else (now() - _EPOCH) // _MICROSECOND - found[1]

    def step(recorded_boot: object, recorded_offset: object) -> int:
        current = offset()
        if recorded_boot is None or type(recorded_offset) is not int or current is None or recorded_boot != boot_id():
            return 0
        difference = current - recorded_offset
        return difference if _LEAST_STEP <= abs(difference) < 2**62 else 0

    return [("vault_boot_id", 0, boot_id), ("vault_clock_offset", 0, offset), ("vault_clock_step", 2, step)]


def no_boot_clock() -> None:
    """Return None: the clock is not the machine's."""
