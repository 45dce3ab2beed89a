"""`RefreshWorker`: runs sweeps at an interval until it is stopped."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Self

from vault_domain.entities.errors import InvalidInputError, VaultError
from vault_domain.entities.reports import SweepReport
from vault_domain.entities.scrub import scrubbed_class
from vault_domain.entities.text import as_duration
from vault_domain.facade.vault import TokenVault

_log = logging.getLogger(__name__)

_JITTER = 0.2
"""Each wait between two sweeps varies by up to this fraction, so that workers that started together drift apart."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@scrubbed_class
class RefreshWorker:
    """Refreshes due accounts at an interval; any number of workers may run, in any number of processes.

    Args:
        vault: an open vault with refreshers; the worker never closes it.
        interval: average time from the end of a sweep to the start of the next one. A token that expires before the
            next sweep is refreshed by the next caller that asks for it.
        limit: largest number of accounts per sweep; None: all that are due.
        on_sweep: called with each sweep's report; exceptions that it raises are logged.

    ``await worker.run()`` is for a process of its own. Inside a service, ``async with RefreshWorker(vault):`` runs the
    worker in a task, and leaves signals alone. The end of the block calls `stop` and waits until the worker has ended.
    """

    def __init__(
        self,
        vault: TokenVault,
        *,
        interval: timedelta = timedelta(minutes=1),
        limit: int | None = None,
        on_sweep: Callable[[SweepReport], object] | None = None,
    ) -> None:
        self._vault = vault
        self._interval = as_duration(interval, "interval", positive=True)
        self._limit = limit
        self._on_sweep = on_sweep
        self._stopped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._task is not None:
            raise InvalidInputError("a worker runs once; make another one")
        self._task = asyncio.create_task(self.run(handle_signals=False), name="token-vault-worker")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        if self._task is not None:
            await self._task

    def stop(self) -> None:
        """Make `run` return; this method must be called on the worker's event loop.

        A running sweep first finishes the accounts that it has already taken, at most 20 of each provider.
        """
        self._stopped.set()

    async def run(self, *, handle_signals: bool = True) -> None:
        """Run sweeps until `stop` is called, or until SIGTERM or SIGINT arrives.

        An error of one sweep is logged and does not end the worker.

        Args:
            handle_signals: whether the two signals stop the worker. Outside of the main thread, the worker handles no
                signals. The previous handlers are restored at the end, except one that was not set from Python, which
                Python cannot restore.
        """
        with _stopped_by_signals(self.stop, wanted=handle_signals):
            while not self._stopped.is_set():
                await self._sweep()
                pause = self._interval.total_seconds() * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._stopped.wait()

    async def _sweep(self) -> None:
        """Run one sweep and log one line about it."""
        try:
            report = await self._vault.refresh_due(limit=self._limit, should_stop=self._stopped.is_set)
        except VaultError as error:
            _log.warning("a sweep failed (%s); the next one follows", error.reason or error.code)
        except Exception as error:
            # Log neither the error's text nor its traceback, because they may hold secrets.
            _log.warning("a sweep ended with %s; the next one follows", type(error).__qualname__)
        else:
            _log.info("%s", describe(report))
            self._tell(report)

    def _tell(self, report: SweepReport) -> None:
        if self._on_sweep is None:
            return
        try:
            self._on_sweep(report)
        except Exception as error:
            _log.warning("on_sweep raised %s", type(error).__qualname__)


def describe(report: SweepReport) -> str:
    """Return a report as one line of text."""
    counts = [
        f"{report.refreshed} refreshed",
        f"{report.failed} failed",
        f"{report.reauthorization_required} to be connected again",
        f"{report.skipped} skipped",
        f"{report.unreadable} unreadable",
    ]
    return ", ".join([f"sweep: {report.claimed} claimed", *[count for count in counts if not count.startswith("0 ")]])


@contextmanager
def _stopped_by_signals(stop: Callable[[], None], *, wanted: bool) -> Iterator[None]:
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            if handler is not None:
                signal.signal(number, handler)
