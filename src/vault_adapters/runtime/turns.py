"""Limits how many calls run at a time, and chooses whose call begins next."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from vault_domain.ports.tasks import Choose

T = TypeVar("T")


class _Turn:
    """A turn that ends once."""

    def __init__(self, turns: Turns, member: Hashable) -> None:
        self._turns: Turns | None = turns
        self._member = member

    def end(self) -> None:
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.give_back(self._member)


_running: ContextVar[_Turn | None] = ContextVar("_running", default=None)


def end_turn() -> None:
    """End the turn in which the caller runs; do nothing if it runs in none, or if the turn has ended."""
    turn = _running.get()
    if turn is not None:
        turn.end()


class Turns:
    """The turns of one group of calls. Each call belongs to a member of the group, such as a tenant.

    Args:
        most: the largest number of calls that run at a time.
        choose: chooses whose call begins next.
    """

    def __init__(self, most: int, choose: Choose) -> None:
        self._free = most
        self._choose = choose
        self._taken: Counter[Hashable] = Counter()
        # Members are in the order of their turns. A member moves to the end when one of its calls begins.
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    async def run(self, member: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """Wait for a turn of this member, then run ``work``."""
        await self._take(member)
        turn = _Turn(self, member)
        outer = _running.set(turn)
        try:
            return await work()
        finally:
            _running.reset(outer)
            turn.end()

    async def _take(self, member: Hashable) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(member, deque()).append(turn)
        self._share_out()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the turn was given just before the cancellation
                self.give_back(member)
            raise

    def give_back(self, member: Hashable) -> None:
        """Free a turn of this member."""
        self._free += 1
        self._taken[member] -= 1
        if not self._taken[member]:
            del self._taken[member]
        self._share_out()

    def _share_out(self) -> None:
        while (member := self._choose(self._waiting, self._taken, self._free)) is not None:
            queue = self._waiting[member]
            turn = queue.popleft()
            if not queue:
                del self._waiting[member]
            if turn.cancelled():  # the member keeps its place, because none of its calls begins
                continue
            if queue:
                self._waiting[member] = self._waiting.pop(member)
            self._free -= 1
            self._taken[member] += 1
            turn.set_result(None)
