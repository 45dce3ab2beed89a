"""Calling the vault from code without an event loop: it runs on one in a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from vault_domain.errors import ConfigurationError
from vault_domain.page import Page
from vault_domain.vault import TokenVault

P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V")

# Calls under way are bounded by the deadlines of the vault; this only keeps a fault from hanging the process's end.
_PATIENCE_SECONDS = 30.0


class Call(Generic[V, T]):
    """A method with its arguments. They may be secrets, so neither its repr nor a frame on the way shows them."""

    __slots__ = ("_args", "_kwargs", "_method", "_target")

    def __init__(
        self,
        method: Callable[..., Awaitable[T]],
        target: Callable[[TokenVault], V],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        self._method = method
        self._target = target
        self._args = args
        self._kwargs = kwargs

    @property
    def name(self) -> str:
        """The method's name."""
        return self._method.__name__

    def behind(self, after: str | None) -> Call[V, T]:
        """Return the same call for the page behind a cursor."""
        return Call(self._method, self._target, self._args, {**self._kwargs, "after": after})

    async def __call__(self, vault: TokenVault) -> T:
        """Do it; on the vault's event loop."""
        return await self._method(self._target(vault), *self._args, **self._kwargs)


class Session:
    """The thread with the event loop and the vault on it, shared by all views of one `SyncVault`.

    Args:
        opener: gives the vault to be opened there.
    """

    def __init__(self, opener: Callable[[], AbstractAsyncContextManager[TokenVault]]) -> None:
        self._opener = opener
        self._idle = threading.Condition()
        self._calls = 0
        self._closed = False
        self._stack = ExitStack()
        self._running: tuple[BlockingPortal, TokenVault] | None = None
        # Set before the lock is first taken: a fork may copy the lock while another thread holds it.
        self._process: int | None = None

    def run(self, call: Call[V, T]) -> T:
        """Run a call on the vault's event loop and wait for it."""
        portal, vault = self._enter(call.name)
        try:
            future = portal.start_task_soon(call, vault)
            try:
                return future.result()
            except BaseException:  # an interrupt, say: then nobody waits for the result any more
                future.cancel()
                raise
        finally:
            with self._idle:
                self._calls -= 1
                self._idle.notify_all()

    def open(self) -> None:
        """Open the vault, unless it is."""
        self._refuse_wrong_place("open")
        with self._idle:
            self._open()

    def close(self) -> None:
        """Wait for the calls under way and close, once; what a forked child inherited is left alone."""
        if self._process not in (None, os.getpid()):
            return
        self._refuse_wrong_place("close")
        with self._idle:
            if self._closed:
                return
            self._closed = True
            self._idle.wait_for(lambda: self._calls == 0, _PATIENCE_SECONDS)
            self._running = None
            atexit.unregister(self._close_at_exit)
            self._stack.close()

    def _enter(self, name: str) -> tuple[BlockingPortal, TokenVault]:
        self._refuse_wrong_place(name)
        with self._idle:
            running = self._running or self._open()
            self._calls += 1
            return running

    def _open(self) -> tuple[BlockingPortal, TokenVault]:
        if self._closed:
            raise ConfigurationError("this SyncVault was closed; open another one", code="vault_closed")
        if self._running is None:
            self._process = os.getpid()
            with ExitStack() as stack:
                stack.callback(self._forget_process)
                portal = stack.enter_context(start_blocking_portal("asyncio", name="token-vault"))
                vault = stack.enter_context(portal.wrap_async_context_manager(self._opener()))
                # Its threads are daemons, as threads of daemons are, or the process would wait for them before this.
                atexit.register(self._close_at_exit)
                self._stack = stack.pop_all()
                self._running = portal, vault
        return self._running

    def _close_at_exit(self) -> None:
        if self._process == os.getpid():  # a forked child inherits the registration
            self.close()

    def _forget_process(self) -> None:
        # After a failure to open, and after the end, there is nothing that a fork could leave behind.
        self._process = None

    def _refuse_wrong_place(self, name: str) -> None:
        if self._process not in (None, os.getpid()):
            raise ConfigurationError(
                "this SyncVault was used before the process forked, and its thread stayed in the parent: make the "
                "first call after the fork, or call open_sync_vault in the child (gunicorn: post_fork; Celery: "
                "worker_process_init)",
                code="used_across_fork",
            )
        if _on_event_loop():
            instead = "async with open_vault(...)" if name in ("open", "close") else f"await vault.{name}(...)"
            raise ConfigurationError(
                f"SyncVault.{name} would block the event loop that runs here: use `{instead}` with a vault from "
                "open_vault, or a thread without an event loop",
                code="running_event_loop",
            )
        self._process = os.getpid()


def _on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class View(Generic[V]):
    """A face of a session: some object of the vault, and the actor."""

    def __init__(self, session: Session, target: Callable[[TokenVault], V]) -> None:
        self._session = session
        self._target = target


def blocking(method: Callable[Concatenate[V, P], Awaitable[T]]) -> Callable[Concatenate[View[V], P], T]:
    """Return a method that runs an async one and waits for it: the same arguments, the same result."""

    @functools.wraps(method)
    def wrapper(self: View[V], /, *args: P.args, **kwargs: P.kwargs) -> T:
        call: Call[V, T] = Call(method, self._target, args, kwargs)
        del args, kwargs  # a traceback of what follows must not hold them
        return self._session.run(call)

    return wrapper


def walk_pages(session: Session, call: Call[V, Page[T]]) -> Iterator[T]:
    """Yield the items of all pages of a listing."""
    after: str | None = None
    while True:
        page = session.run(call.behind(after))
        yield from page.items
        if (after := page.next) is None:
            return
