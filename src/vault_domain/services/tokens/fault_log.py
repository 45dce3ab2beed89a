"""Logs faults: one warning when something begins to fail, fails for another reason, or works again."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from vault_domain.entities.causes import WRITE_CAUSES

_QUIET_SECONDS = 60.0
"""Shortest time in seconds between two lines about the same cause, for faults that come and go."""


class FaultLog:
    """The faults of one thing, such as the database or a provider.

    Args:
        log: gets the lines.
        name: names the thing in the lines; contains no secret and no tenant.
        monotonic: returns the seconds of a monotonic clock.
    """

    def __init__(self, log: logging.Logger, name: str, monotonic: Callable[[], float]) -> None:
        self.name = name
        self._log = log
        self._monotonic = monotonic
        self._cause: str | None = None
        self._told: str | None = None  # the cause in the last logged line; None if that line says "works again"
        self._count = 0
        self._said_at: dict[str, float] = {}

    def failed(self, cause: str) -> None:
        """Count a failure; log it unless the last line says that the thing fails for this cause.

        If a cause comes back less than a minute after the last line about it, the failure is not logged. The first
        failure for this cause after that minute is logged.
        """
        self._count += 1
        self._cause = cause
        if cause == self._told:
            return
        now = self._monotonic()
        if now - self._said_at.get(cause, -math.inf) < _QUIET_SECONDS:
            return
        self._said_at[cause] = now
        self._told = cause
        self._log.warning("%s fails: %s", self.name, cause)

    def worked(self, *, only_read: bool = False) -> None:
        """Note a success; log it if a failure was logged since the last success.

        The line tells the number of failures since the last such line.

        Args:
            only_read: whether the success was a read; a read does not end a fault that affects only writes.
        """
        if self._cause is None or (only_read and self._cause in WRITE_CAUSES):
            return
        if self._told is not None:
            self._log.warning("%s works again; failures: %d, the last one: %s", self.name, self._count, self._cause)
            self._count = 0
        self._cause = self._told = None
