"""`Session`: passes blocking calls to the vault, which runs on a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, TypeVar, cast

from vault_adapters.sync.rows import CallersRows, give_up
from vault_adapters.sync.running import Opener, Running
from vault_domain.entities.errors import ConfigurationError
from vault_domain.entities.page import Page
from vault_domain.facade.vault import TokenVault

P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V")

# Seconds for which `Session.close` waits for running calls. Then it ends each import of tokens that has waited all this
# time for its next rows. If another import is still running, `Session.close` waits again. After its last wait,
# `Running.stop` waits without a limit, because each call that is left has a deadline of its own.
_PATIENCE_SECONDS = 30.0


# Maps the name of a blocking method to its replacement on an event loop. The replacement of any other method is the
# same method with ``await``, or with ``async for`` if it iterates.
_INSTEAD = {
    "open": "async with open_vault(...)",
    "close": "async with open_vault(...)",
    "event_feed": "async for page in vault.event_feed(...)",
    "measures.counts": "vault.measures.counts()",
}


class Call(Generic[V, T]):
    """A method with its arguments. The arguments may be secrets, so neither the repr nor any frame shows them.

    Args:
        method: the method, or a function.
        target: given the vault, returns the method's first argument, such as the vault itself or its ``keys``.
        args: the method's further arguments.
        kwargs: the method's keyword arguments.
        name: the name of the public method that the host called, such as ``keys.status``; None: the name of ``method``.
    """

    __slots__ = ("_args", "_kwargs", "_method", "_target", "name")

    def __init__(
        self,
        method: Callable[..., Awaitable[T]],
        target: Callable[[TokenVault], V],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        name: str | None = None,
    ) -> None:
        self.name = name or method.__name__
        self._method = method
        self._target = target
        self._args = args
        self._kwargs = kwargs

    def behind(self, after: str | None) -> Call[V, T]:
        """Return the same call for the page after a cursor."""
        return Call(self._method, self._target, self._args, {**self._kwargs, "after": after}, self.name)

    async def __call__(self, vault: TokenVault) -> T:
        """Call the method; runs on the vault's event loop."""
        return await self._method(self._target(vault), *self._args, **self._kwargs)


class Session:
    """Owns the thread with the event loop and the vault; all views of one `SyncVault` share the session.

    Args:
        opener: opens the vault on that thread.
    """

    def __init__(self, opener: Opener) -> None:
        self._opener: Opener | None = opener
        self._idle = threading.Condition()
        self._calls = 0
        self._imports: set[CallersRows[Any]] = set()
        self._closed = False
        self._running: Running | None = None
        self._hooks: list[Callable[[TokenVault], object]] = []
        # The process that uses this session. `run`, `open` and `close` check it and set it; `when_open` only checks it.
        # Each of them does so before it takes the lock of `_idle`, because a fork may copy this lock while another
        # thread holds it. A forked child that waited for the copy would wait forever.
        self._process: int | None = None

    def run(self, call: Call[V, T], rows: CallersRows[Any] | None = None) -> T:
        """Run a call on the vault's event loop and wait for its result; this thread reads ``rows`` meanwhile."""
        running = self._enter(call.name, rows)
        try:
            future = running.portal.start_task_soon(call, running.vault)
            try:
                if rows is not None:
                    rows.serve(future)
                return future.result()
            except BaseException:  # for example an interrupt: the caller no longer waits for the result
                future.cancel()
                raise
        finally:
            self._leave(rows)

    def open(self) -> None:
        """Open the vault, unless it is already open."""
        self._refuse_wrong_place("open")
        with self._idle:
            self._open()

    def when_open(self, hook: Callable[[TokenVault], object]) -> None:
        """Call ``hook`` with the vault, on the vault's event loop: now if the vault is open, else when it opens."""
        self._refuse_fork()
        with self._idle:
            if self._closed:
                raise _closed()
            if self._running is None:
                self._hooks.append(hook)
                return
            running = self._running
            self._calls += 1
        try:
            running.portal.start_task_soon(hook, running.vault).result()
        finally:
            self._leave()

    def close(self) -> None:
        """Wait for running calls, then close the vault; do nothing if the vault is closed, or in a forked child."""
        if self._process not in (None, os.getpid()):
            return
        self._refuse_wrong_place("close")
        with self._idle:
            if self._closed:
                return
            self._closed = True
            self._wait_for_calls()
            running, self._running = self._running, None
            atexit.unregister(self._close_at_exit)
            if running is not None:
                running.stop()
            self._process = None

    def _wait_for_calls(self) -> None:
        """Wait until no thread is inside a call, and end the imports whose rows do not come."""
        is_moving = True
        while is_moving:
            awaited = {rows: rows.awaited for rows in self._imports}
            if self._idle.wait_for(lambda: self._calls == 0, _PATIENCE_SECONDS):
                return
            is_moving = False
            for rows, answer in awaited.items():
                if answer is not None and rows.awaited is answer:
                    give_up(answer, _closed())
                else:
                    is_moving |= rows in self._imports

    def _enter(self, name: str, rows: CallersRows[Any] | None) -> Running:
        self._refuse_wrong_place(name)
        with self._idle:
            running = self._running or self._open()
            self._calls += 1
            if rows is not None:
                self._imports.add(rows)
            return running

    def _leave(self, rows: CallersRows[Any] | None = None) -> None:
        with self._idle:
            self._calls -= 1
            self._imports -= {rows}
            self._idle.notify_all()

    def _open(self) -> Running:
        if self._closed:
            raise _closed()
        opener = self._opener
        if self._running is None and opener is not None:
            self._process = os.getpid()
            try:
                self._running = Running.start(opener)
            except BaseException:
                self._process = None  # the vault is not open, so a fork is harmless
                raise
            self._opener = None  # it holds the configuration, with the encryption secret
            atexit.register(self._close_at_exit)
            self._call_hooks(self._running)
        return cast("Running", self._running)

    def _call_hooks(self, running: Running) -> None:
        if self._hooks:
            hook = self._hooks.pop(0)
            try:
                running.portal.start_task_soon(hook, running.vault).result()
            finally:
                self._call_hooks(running)  # an error of one hook does not keep the others from running

    def _close_at_exit(self) -> None:
        if self._process == os.getpid():  # a forked child inherits the atexit registration and must not close the vault
            self.close()

    def _refuse_fork(self) -> None:
        if self._process not in (None, os.getpid()):
            raise ConfigurationError(
                "this SyncVault was used before the process forked, and its thread stayed in the parent: make the "
                "first call after the fork, or call open_sync_vault in the child (gunicorn: post_fork; Celery: "
                "worker_process_init)",
                code="used_across_fork",
            )

    def _refuse_wrong_place(self, name: str) -> None:
        self._refuse_fork()
        if on_event_loop():
            usual = f"async for item in vault.{name}(...)" if name.startswith("iter_") else f"await vault.{name}(...)"
            instead = _INSTEAD.get(name, usual)
            raise ConfigurationError(
                f"SyncVault.{name} would block the event loop that runs here: use `{instead}` of the "
                "asynchronous vault, or a thread without an event loop",
                code="running_event_loop",
            )
        self._process = os.getpid()


def _closed() -> ConfigurationError:
    return ConfigurationError("this SyncVault was closed; open another one", code="vault_closed")


def on_event_loop() -> bool:
    """Return whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class View(Generic[V]):
    """A blocking view of the vault, or of an object that the vault gives, such as ``keys``.

    Attributes:
        _path: the attribute of the vault that gives this object, with a dot, such as ``keys.``.
    """

    _path: ClassVar[str] = ""

    def __init__(self, session: Session, target: Callable[[TokenVault], V]) -> None:
        self._session = session
        self._target = target


def blocking(method: Callable[Concatenate[V, P], Awaitable[T]]) -> Callable[Concatenate[View[V], P], T]:
    """Return a blocking method with the arguments and the result of an async method."""

    @functools.wraps(method)
    def wrapper(self: View[V], /, *args: P.args, **kwargs: P.kwargs) -> T:
        call: Call[V, T] = Call(method, self._target, args, kwargs, self._path + method.__name__)
        del args, kwargs  # tracebacks of later errors must not hold the arguments
        return self._session.run(call)

    return wrapper


def blocking_over_rows(method: Callable[Concatenate[V, P], Awaitable[T]]) -> Callable[Concatenate[View[V], P], T]:
    """Return a method as `blocking` does; the caller's thread reads the first argument, ``rows``."""

    @functools.wraps(method)
    def wrapper(self: View[V], /, *args: P.args, **kwargs: P.kwargs) -> T:
        positional, given = list[Any](args), dict[str, Any](kwargs)
        if not positional and "rows" in given:
            positional.append(given.pop("rows"))
        served = CallersRows(positional[0]) if positional and isinstance(positional[0], Iterable) else None
        if served is not None:
            positional[0] = served
        call: Call[V, T] = Call(method, self._target, tuple(positional), given)
        del args, kwargs, positional, given  # tracebacks of later errors must not hold the arguments
        return self._session.run(call, served)

    return wrapper


def walk_pages(session: Session, call: Call[V, Page[T]]) -> Iterator[T]:
    """Yield the items of all pages of a listing."""
    after: str | None = None
    while True:
        page = session.run(call.behind(after))
        yield from page.items
        if (after := page.next) is None:
            return
