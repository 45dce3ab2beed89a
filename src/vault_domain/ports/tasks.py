"""Tasks: time within the process, and running things at once."""

from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from typing import Any, Protocol, TypeVar
from uuid import UUID

T = TypeVar("T")


class Tasks(Protocol):
    """What a use case needs of the event loop."""

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back."""

    def jitter(self) -> float:
        """Return a random number from 0 to 1."""

    def new_id(self) -> UUID:
        """Return a random id."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    async def within(self, seconds: float, work: Callable[[], Awaitable[T]]) -> T:
        """Run ``work`` and cancel it after so many seconds.

        Raises:
            TimeoutError: it was cancelled.
        """

    def is_flying(self, key: Hashable) -> bool:
        """Whether a call with this key is running."""

    async def share(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]], timeout: float | None = None) -> T:
        """Run ``work`` once for all who ask with the same key meanwhile.

        Cancelling a caller does not cancel the work, and neither does the end of its time. Each caller raises its own
        copy of a `VaultError`.

        Raises:
            TimeoutError: this caller's time ran out.
        """

    async def run_all(self, jobs: Sequence[tuple[str, Callable[[], Awaitable[None]]]], per_group: int) -> None:
        """Run jobs at once, at most ``per_group`` of the same group; returns when all have ended.

        Where one fails the others go on, and then its error is raised. Cancelling the caller does not cancel the jobs.
        """

    async def run_beside(self, work: Callable[[], Awaitable[None]], ahead: Callable[[], Awaitable[None]]) -> None:
        """Run ``work``, and meanwhile ``ahead``, which prepares what follows; returns when both have ended.

        - Cancelling the caller cancels ``ahead`` but not ``work``.
        - Where ``work`` fails, ``ahead`` is cancelled, because nothing follows.
        """
