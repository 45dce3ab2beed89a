"""Keeps a forked child from using or closing a vault that its parent has opened.

A child inherits rows, data keys, connections and tasks. It hears of no change and no erasure, shares its parent's
connections, and has none of its parent's threads. So in a child, every call of the inherited vault raises an error, and
the end of the vault's block closes nothing.
"""

from __future__ import annotations

import asyncio
import os
import selectors
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, NoReturn
from weakref import WeakSet

from vault_domain.entities.errors import ConfigurationError

_opened: WeakSet[Any] = WeakSet()
_loops: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
_abandoned: list[AsyncExitStack] = []
"""What a child has inherited. It is kept, because the garbage collector would end it."""


def used_across_fork() -> ConfigurationError:
    """Return the error for a call in a process that was forked after the vault was opened."""
    return ConfigurationError(
        "this vault was opened before the process forked: open a vault in the child", code="used_across_fork"
    )


class _Refused:
    def __getattribute__(self, name: str) -> NoReturn:
        raise used_across_fork()


def refuse_in_children(services: object) -> None:
    """In processes that are forked from now on, make every use of this object raise `used_across_fork`.

    Call this on the event loop of the vault. The object's class must have no slots.
    """
    _opened.add(services)
    _loops.add(asyncio.get_running_loop())


def _refuse() -> None:
    for loop in list(_loops):
        _part(loop)
    for services in list(_opened):
        object.__setattr__(services, "__class__", _Refused)


def _part(loop: Any) -> None:
    """Part a child's copy of the parent's event loop from the parent's.

    Both would share one epoll object and one self-pipe. When a child leaves ``asyncio.run``, for example by
    ``sys.exit``, asyncio removes the self-pipe from the shared epoll object. Then no thread wakes the parent's loop any
    more, and SQLite's threads get no answer through. uvloop parts by itself, and has no such attributes.
    """
    if hasattr(loop, "_selector") and hasattr(loop, "_make_self_pipe"):
        loop._selector = selectors.DefaultSelector()  # noqa: SLF001 - asyncio offers no public way
        loop._make_self_pipe()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_refuse)


class OwnProcess:
    """The process in which this object was made."""

    __slots__ = ("_id",)

    def __init__(self) -> None:
        self._id = os.getpid()

    @property
    def is_here(self) -> bool:
        """Whether this process made the object, and is not a forked child of the one that did."""
        return self._id == os.getpid()


class OwnStack(AsyncExitStack):
    """An `AsyncExitStack` that ends nothing in a forked child."""

    def __init__(self) -> None:
        super().__init__()
        self._process = OwnProcess()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """End what was entered, unless this is a forked child."""
        if not self._process.is_here:
            _abandoned.append(self.pop_all())
            return False
        return await super().__aexit__(kind, error, traceback)
