"""Calls the vault from code without an event loop; the vault runs on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

import anyio
from anyio.from_thread import BlockingPortal
from attrs import frozen

from vault_adapters.sync.rows import CallersRows
from vault_domain.entities.errors import ConfigurationError
from vault_domain.entities.page import Page
from vault_domain.facade.vault import TokenVault

P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V")
Opener = Callable[[], AbstractAsyncContextManager[TokenVault]]

# Longest time that `Session.close` waits for threads inside a call. Only a fault reaches this limit, such as an
# iterable that blocks after its import has failed. `_Running.stop` waits for the calls themselves, without a limit.
_PATIENCE_SECONDS = 30.0


class Call(Generic[V, T]):
    """A method with its arguments. The arguments may be secrets, so neither the repr nor any frame shows them."""

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
        """Return the same call for the page after a cursor."""
        return Call(self._method, self._target, self._args, {**self._kwargs, "after": after})

    async def __call__(self, vault: TokenVault) -> T:
        """Call the method; runs on the vault's event loop."""
        return await self._method(self._target(vault), *self._args, **self._kwargs)


@frozen
class _Running:
    """An open vault on its thread.

    The thread runs everything from opening to closing. anyio's `start_blocking_portal` is not used, because it is a
    generator. A forked child would finish the generator before the child exits, and so wait for a thread that only the
    parent has.
    """

    portal: BlockingPortal
    vault: TokenVault
    _thread: threading.Thread
    _ended: Future[None]

    @classmethod
    def start(cls, opener: Opener) -> _Running:
        """Open the vault on a new thread; raise the error if opening fails."""
        opened: Future[tuple[BlockingPortal, TokenVault]] = Future()
        ended: Future[None] = Future()
        # The thread is a daemon, and so are the threads that it starts. Otherwise the process would never end: it would
        # wait for this thread before it runs its atexit functions, and one of these functions ends this thread.
        # The thread takes the opener out of the list, because the opener holds the encryption secret.
        thread = threading.Thread(target=_serve, args=([opener], opened, ended), name="token-vault", daemon=True)
        thread.start()
        try:
            portal, vault = opened.result()
        except Exception:
            thread.join()  # the thread has nothing left to do
            raise
        return cls(portal, vault, thread, ended)

    def stop(self) -> None:
        """Close the vault and wait for the thread's end; raise the error if closing fails."""
        self.portal.start_task_soon(self.portal.stop)
        self._thread.join()
        self._ended.result()


def _serve(openers: list[Opener], opened: Future[tuple[BlockingPortal, TokenVault]], ended: Future[None]) -> None:
    async def serve() -> None:
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


class Session:
    """Owns the thread with the event loop and the vault; all views of one `SyncVault` share the session.

    Args:
        opener: opens the vault on that thread.
    """

    def __init__(self, opener: Opener) -> None:
        self._opener: Opener | None = opener
        self._idle = threading.Condition()
        self._calls = 0
        self._closed = False
        self._running: _Running | None = None
        self._hooks: list[Callable[[TokenVault], object]] = []
        # The process that uses this session. `run`, `open` and `close` check and set it before they take
        # the lock, because a forked child must not wait for the lock: a fork may copy the lock while another thread
        # holds it.
        self._process: int | None = None

    def run(self, call: Call[V, T], serve: Callable[[Future[T]], object] | None = None) -> T:
        """Run a call on the vault's event loop and wait for its result; ``serve`` runs on this thread meanwhile."""
        running = self._enter(call.name)
        try:
            future = running.portal.start_task_soon(call, running.vault)
            try:
                if serve is not None:
                    serve(future)
                return future.result()
            except BaseException:  # for example an interrupt: the caller no longer waits for the result
                future.cancel()
                raise
        finally:
            with self._idle:
                self._calls -= 1
                self._idle.notify_all()

    def open(self) -> None:
        """Open the vault, unless it is already open."""
        self._refuse_wrong_place("open")
        with self._idle:
            self._open()

    def when_open(self, hook: Callable[[TokenVault], object]) -> None:
        """Call ``hook`` with the vault, on the vault's event loop: now if the vault is open, else when it opens."""
        with self._idle:
            if self._running is None:
                self._hooks.append(hook)
                return
            running = self._running
        running.portal.start_task_soon(hook, running.vault).result()

    def close(self) -> None:
        """Wait for running calls, then close the vault; do nothing if the vault is closed, or in a forked child."""
        if self._process not in (None, os.getpid()):
            return
        self._refuse_wrong_place("close")
        with self._idle:
            if self._closed:
                return
            self._closed = True
            self._idle.wait_for(lambda: self._calls == 0, _PATIENCE_SECONDS)
            running, self._running = self._running, None
            atexit.unregister(self._close_at_exit)
            if running is not None:
                running.stop()
            self._process = None

    def _enter(self, name: str) -> _Running:
        self._refuse_wrong_place(name)
        with self._idle:
            running = self._running or self._open()
            self._calls += 1
            return running

    def _open(self) -> _Running:
        if self._closed:
            raise ConfigurationError("this SyncVault was closed; open another one", code="vault_closed")
        opener = self._opener
        if self._running is None and opener is not None:
            self._process = os.getpid()
            try:
                self._running = _Running.start(opener)
            except BaseException:
                self._process = None  # the vault is not open, so a fork is harmless
                raise
            self._opener = None  # it holds the configuration, with the encryption secret
            atexit.register(self._close_at_exit)
            while self._hooks:
                self._running.portal.start_task_soon(self._hooks.pop(0), self._running.vault).result()
        return cast("_Running", self._running)

    def _close_at_exit(self) -> None:
        if self._process == os.getpid():  # a forked child inherits the atexit registration and must not close the vault
            self.close()

    def _refuse_wrong_place(self, name: str) -> None:
        if self._process not in (None, os.getpid()):
            raise ConfigurationError(
                "this SyncVault was used before the process forked, and its thread stayed in the parent: make the "
                "first call after the fork, or call open_sync_vault in the child (gunicorn: post_fork; Celery: "
                "worker_process_init)",
                code="used_across_fork",
            )
        if on_event_loop():
            instead = "async with open_vault(...)" if name in ("open", "close") else f"await vault.{name}(...)"
            raise ConfigurationError(
                f"SyncVault.{name} would block the event loop that runs here: use `{instead}` of the "
                "asynchronous vault, or a thread without an event loop",
                code="running_event_loop",
            )
        self._process = os.getpid()


def on_event_loop() -> bool:
    """Return whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class View(Generic[V]):
    """A blocking view of one object of the vault, such as the vault with an actor."""

    def __init__(self, session: Session, target: Callable[[TokenVault], V]) -> None:
        self._session = session
        self._target = target


def blocking(method: Callable[Concatenate[V, P], Awaitable[T]]) -> Callable[Concatenate[View[V], P], T]:
    """Return a blocking method with the arguments and the result of an async method."""

    @functools.wraps(method)
    def wrapper(self: View[V], /, *args: P.args, **kwargs: P.kwargs) -> T:
        call: Call[V, T] = Call(method, self._target, args, kwargs)
        del args, kwargs  # tracebacks of later errors must not hold the arguments
        return self._session.run(call)

    return wrapper


def blocking_over_rows(method: Callable[Concatenate[V, P], Awaitable[T]]) -> Callable[Concatenate[View[V], P], T]:
    """Return a method as `blocking` does; the caller's thread reads the first argument, ``rows``."""

    @functools.wraps(method)
    def wrapper(self: View[V], /, *args: P.args, **kwargs: P.kwargs) -> T:
        rows, *others = args or (kwargs.get("rows"),)
        serve = None
        if isinstance(rows, Iterable):
            rows = CallersRows(rows)
            serve = rows.serve
        given = {name: value for name, value in kwargs.items() if name != "rows"}
        call: Call[V, T] = Call(method, self._target, (rows, *others), given)
        del args, kwargs, rows, others, given  # tracebacks of later errors must not hold the arguments
        return self._session.run(call, serve)

    return wrapper


def walk_pages(session: Session, call: Call[V, Page[T]]) -> Iterator[T]:
    """Yield the items of all pages of a listing."""
    after: str | None = None
    while True:
        page = session.run(call.behind(after))
        yield from page.items
        if (after := page.next) is None:
            return
