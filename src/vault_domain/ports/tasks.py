"""Tasks: process-local time, shared calls and concurrent jobs."""

from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar
from uuid import UUID

K = TypeVar("K")
T = TypeVar("T")

Choose = Callable[[Iterable[Hashable], Mapping[Hashable, int], int], Hashable | None]
"""A function that chooses whose call begins next, such as `vault_domain.rules.shares.next_member`."""


class Tasks(Protocol):
    """The operations that use cases need from the event loop."""

    def monotonic(self) -> float:
        """Return the seconds of a monotonic clock."""

    def jitter(self) -> float:
        """Return a random number from 0 to 1."""

    def new_id(self) -> UUID:
        """Return a random id."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    async def within(self, seconds: float, work: Callable[[], Awaitable[T]]) -> T:
        """Run ``work``; cancel it after ``seconds`` seconds.

        Raises:
            TimeoutError: the time ran out and ``work`` was cancelled.
        """

    async def within_briefly(self, seconds: float, work: Callable[[], Awaitable[T]]) -> T:
        """Do the same as `within` at a fraction of its cost, for work that calls no provider.

        The work may take longer than ``seconds`` by up to a tenth of it.
        """

    def limited(self, seconds: float, call: Awaitable[T], only_if: Callable[[K], bool], about: K) -> Awaitable[T]:
        """Return an awaitable that gives the result of ``call``.

        If there is no result after ``seconds`` seconds, ``call`` is ended, and the awaitable raises `TimeoutError`.
        This costs less than `within_briefly`. Await the result at once, because the limit counts from the call of this
        method or from the await.

        Args:
            seconds: the limit; ``call`` may take longer by up to a tenth of it.
            call: nobody else may await it, because it may be ended.
            only_if: called with ``about`` when the time has run out; if it returns False, ``call`` goes on without a
                limit.
            about: the argument for ``only_if``.

        Raises:
            TimeoutError: raised when the result is awaited: the time ran out and ``call`` was ended.
        """

    async def within_lease(
        self,
        seconds: float,
        work: Callable[[], Awaitable[T]],
        *,
        pace: float,
        renew: Callable[[], Coroutine[Any, Any, object]],
    ) -> T:
        """Run ``work`` under a lease; cancel ``work`` after ``seconds`` seconds.

        ``renew`` is called every ``pace`` seconds, unless its previous call is still running. Its errors have no
        effect. When ``work`` ends, a running call of ``renew`` is not awaited. If the process was suspended for so long
        that a call comes a whole ``pace`` late, the lease may be over. Then ``work`` is cancelled if it may still send
        its request to the provider, and goes on if the request has left.

        Raises:
            TimeoutError: ``work`` was cancelled, because the time ran out or because the lease may be over.
        """

    def is_flying(self, key: Hashable) -> bool:
        """Return whether new callers can join a running call with this key."""

    async def share(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]], timeout: float | None = None) -> T:
        """Run ``work`` once for all concurrent callers with the same key, and return its result to each.

        Neither a caller's cancellation nor its timeout cancels the work. If the work raises a `VaultError`, each caller
        raises its own copy.

        Raises:
            TimeoutError: this caller's ``timeout`` (seconds) ran out.
        """

    def forget(self, key: Hashable) -> None:
        """Let the next `share` with this key start anew; a running call goes on for its present callers."""

    async def run_all(self, jobs: Sequence[tuple[str, Callable[[], Awaitable[None]]]], per_group: int) -> None:
        """Run jobs, each given with its group, at most ``per_group`` of a group at a time; return when all have ended.

        If jobs fail, the other jobs go on. At the end, the error of the failed job that comes first in ``jobs`` is
        raised. Cancelling the caller does not cancel the jobs.
        """

    async def in_turn(
        self, group: Hashable, member: Hashable, work: Callable[[], Awaitable[T]], *, most: int, choose: Choose
    ) -> T:
        """Wait for a turn of the group, then run ``work``.

        A group has ``most`` turns. A call of `in_turn` has one turn while its ``work`` runs. When ``work`` has ended or
        failed, the turn is free again, and another call may take it.

        ``choose`` chooses the member of the group that takes the next turn. The calls of one member begin in the order
        in which they were made. All calls of a group must pass the same ``most`` and ``choose``.
        """

    def end_turn(self) -> None:
        """Free the turn of the call of `in_turn` whose ``work`` calls this; ``work`` goes on without a turn."""

    async def run_beside(self, work: Callable[[], Awaitable[None]], ahead: Callable[[], Awaitable[None]]) -> None:
        """Run ``work``, and meanwhile ``ahead``, which prepares the next step; return when both have ended.

        - Cancelling the caller cancels ``ahead`` but not ``work``.
        - If ``work`` fails, ``ahead`` is cancelled, because there is no next step.
        """
