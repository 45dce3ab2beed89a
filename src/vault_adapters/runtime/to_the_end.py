"""Runs short work to its end in a thread, even if its caller is cancelled or the event loop is closing."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def run_to_the_end(work: Callable[[], T], seconds: float) -> T:
    """Run ``work`` in a thread of its own and return its result.

    - The thread is started before anything is awaited. It is no thread of the event loop's pool, because the host's own
      work may fill that pool.
    - If the caller is cancelled, this function blocks the event loop until the thread ends, for ``seconds`` at most,
      and then raises the cancellation. The reason is that a loop that is being closed might not run the caller again.
    - If no thread can be started, as when the interpreter shuts down, the calling thread does the work.

    Args:
        work: must not raise an error.
        seconds: longest time to wait.

    Raises:
        TimeoutError: the time ran out; the work goes on.
    """
    loop = asyncio.get_running_loop()
    results: list[T] = []
    has_ended, woken = threading.Event(), loop.create_future()

    def run() -> None:
        try:
            results.append(work())
        finally:
            has_ended.set()
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(_wake, woken)

    try:
        threading.Thread(target=run, name="token-vault-journal").start()
    except RuntimeError:
        return work()
    try:
        await asyncio.wait([woken], timeout=seconds)
    except BaseException:
        has_ended.wait(seconds)
        raise
    if not has_ended.is_set() or not results:
        raise TimeoutError
    return results[0]


def _wake(woken: "asyncio.Future[None]") -> None:
    if not woken.done():
        woken.set_result(None)
