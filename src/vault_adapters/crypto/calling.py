"""Runs calls of a key service's library in threads of their own, each for a limited time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from anyio import CapacityLimiter, to_thread

from vault_domain.entities.errors import KeyUnavailableError


class Answer:
    """The bytes of a key service's answer, as a thread returns them.

    asyncio's debug mode logs the results of futures, and a result may be a data key; this object's repr hides it.
    """

    __slots__ = ("content",)

    def __init__(self, content: bytes) -> None:
        self.content = content


class Calls:
    """Calls that block, for one key.

    They have their own limit of threads, so that an outage of the key service does not use up the host's threads.

    Args:
        at_once: largest number of calls at the same time.
        seconds: longest time of a call, its wait for a thread included. A thread that hangs goes on beyond that time.
        late: the reason of the error for a call that takes longer.
        translated: returns the vault's error for an error of the library; any of these may hold a data key.
    """

    def __init__(self, at_once: int, seconds: float, late: str, translated: Callable[[Exception], Exception]) -> None:
        self._limiter = CapacityLimiter(at_once)
        self._seconds = seconds
        self._late = late
        self._translated = translated

    async def run(self, work: Callable[[], bytes]) -> bytes:
        """Return what ``work`` returns.

        Raises:
            KeyUnavailableError: there is no answer within the time.
            Exception: what ``translated`` returned.
        """

        def run() -> Answer | Exception:
            try:
                return Answer(work())
            except Exception as error:
                return self._translated(error)

        outcome: Answer | Exception = KeyUnavailableError(reason=self._late)
        try:
            async with asyncio.timeout(self._seconds):
                outcome = await to_thread.run_sync(run, limiter=self._limiter, abandon_on_cancel=True)
        except TimeoutError:
            pass
        if isinstance(outcome, Answer):
            return outcome.content
        # Raised here, because an error that the thread raises would keep the library's frames, which hold the request
        # and the answer.
        raise outcome
