"""Runs a vault on a thread of its own, for code without an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, cast

import anyio
from anyio.from_thread import BlockingPortal
from attrs import frozen

from vault_domain.facade.vault import TokenVault

Opener = Callable[[], AbstractAsyncContextManager[TokenVault]]


@frozen(eq=False, repr=False)
class Running:
    """An open vault on its thread.

    The thread runs everything from opening to closing. anyio's `start_blocking_portal` is not used, because it is a
    generator. When a forked child exits, Python closes the generators that have not ended. This one would then wait for
    a thread that only the parent has.
    """

    portal: BlockingPortal
    vault: TokenVault
    _thread: threading.Thread
    _ended: Future[None]

    @classmethod
    def start(cls, opener: Opener) -> Running:
        """Open the vault on a new thread; raise the error if opening fails."""
        begun: Future[Callable[[], object]] = Future()
        opened: Future[tuple[BlockingPortal, TokenVault]] = Future()
        ended: Future[None] = Future()
        # The thread is a daemon, and so are the threads that it starts. Otherwise the process would never end: it would
        # wait for this thread before it runs its atexit functions, and one of these functions ends this thread.
        # The opener holds the encryption secret. It is passed in a list from which the thread takes it out, so that the
        # thread's arguments do not keep the secret in memory.
        thread = threading.Thread(target=_serve, args=([opener], begun, opened, ended), name="token-vault", daemon=True)
        try:
            thread.start()
            portal, vault = opened.result()
        except BaseException:
            # After an interrupt, cancel the thread's task, because nobody would use or close the vault. If opening
            # failed, the task has ended, and cancelling it does nothing.
            begun.add_done_callback(lambda cancel: cancel.result()())
            if thread.is_alive():
                thread.join()
            raise
        return cls(portal, vault, thread, ended)

    def begin(self, work: Callable[[TokenVault], Any]) -> Future[Any]:
        """Call ``work`` with the vault on the vault's event loop.

        Raises:
            concurrent.futures.CancelledError: the vault is closed.
        """
        with suppress(RuntimeError):
            return self.portal.start_task_soon(work, self.vault)
        raise CancelledError

    def stop(self) -> None:
        """Begin to close the vault: the thread waits for the running calls and refreshes, closes the vault and ends."""
        with suppress(RuntimeError):  # closing has begun
            self.portal.start_task_soon(self.portal.stop)

    def has_ended(self, seconds: float) -> bool:
        """Wait for the thread's end, at most ``seconds``; return whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def raise_error(self) -> None:
        """Wait for the thread's end; raise the error if closing the vault has failed."""
        self._thread.join()
        self._ended.result()


def _serve(
    openers: list[Opener],
    begun: Future[Callable[[], object]],
    opened: Future[tuple[BlockingPortal, TokenVault]],
    ended: Future[None],
) -> None:
    async def serve() -> None:
        begun.set_result(_canceller())
        # The portal waits for running calls, so they end before the vault closes.
        async with openers.pop()() as vault, BlockingPortal() as portal:
            opened.set_result((portal, vault))
            await portal.sleep_until_stopped()

    try:
        anyio.run(serve)
    except BaseException as error:
        (ended if opened.done() else opened).set_exception(error)
    else:
        ended.set_result(None)


def _canceller() -> Callable[[], object]:
    """Return a function that cancels the running task; any thread may call it."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def cancel() -> None:
        with suppress(RuntimeError):  # the loop is closed, so the task has ended
            loop.call_soon_threadsafe(cast("asyncio.Task[Any]", task).cancel)

    return cancel
