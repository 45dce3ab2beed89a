"""`Session`: passes blocking calls to the vault, which runs on a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures.thread  # noqa: F401 - see `Session._close`: its exit function must be registered first
import os
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import CancelledError, Future, wait
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from attrs import define, field

from vault_adapters.sync.rows import CallersThread, give_up
from vault_adapters.sync.signals import in_signal_handler
from vault_domain.entities.errors import ConfigurationError

if TYPE_CHECKING:
    from vault_adapters.sync.running import Opener, Running
    from vault_domain.facade.vault import TokenVault

T = TypeVar("T")
V = TypeVar("V")

# Seconds for which `Session.close` waits for running calls. Then it ends each import of tokens that has waited all this
# time for its next rows. If another import is still running, `Session.close` waits again. After its last wait,
# `Running.stop` waits without a limit, because each call that is left has a deadline of its own.
_PATIENCE_SECONDS = 30.0

# If a signal handler closes the vault, the call that it has interrupted cannot return before the handler does. `close`
# waits for such a call's result only for the first time, and returns after the second time in any case.
_INTERRUPTED_SECONDS = 1.0
_HANDLER_SECONDS = 1.5


# Maps the name of a blocking method to its replacement on an event loop. The replacement of any other method is the
# same method with ``await``, or with ``async for`` if it iterates.
_INSTEAD = {
    "open": "async with open_vault(...)",
    "close": "async with open_vault(...)",
    "event_feed": "async for page in vault.event_feed(...)",
    "measures.counts": "vault.measures.counts()",
    "on": "vault.on(connection)",
}


_FEED = "event_feed"
"""The name of calls that may wait for ever."""


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

    def at(self, target: Callable[[TokenVault], V]) -> Call[V, T]:
        """Return the same call of another object."""
        return Call(self._method, target, self._args, self._kwargs, self.name)

    async def __call__(self, vault: TokenVault) -> T:
        """Call the method; runs on the vault's event loop."""
        return await self._method(self._target(vault), *self._args, **self._kwargs)


@define(eq=False, repr=False)
class _Inside:
    """A thread that is inside a call.

    Attributes:
        name: the name of the method.
        rows: the rows that the thread reads for the call, or None.
        thread: the thread's id.
        future: the result, or None until the vault's thread has the call.
    """

    name: str
    rows: CallersThread | None = None
    thread: int = field(factory=threading.get_ident)
    future: Future[Any] | None = None


class Session:
    """Owns the thread with the event loop and the vault; all views of one `SyncVault` share the session.

    Args:
        opener: opens the vault on that thread.
    """

    def __init__(self, opener: Opener) -> None:
        self._opener: Opener | None = opener
        self._idle = threading.Condition()
        self._inside: set[_Inside] = set()
        self._closed = False
        self._closing: int | None = None
        """The thread that is inside `close`."""
        self._running: Running | None = None
        self._hooks: list[Callable[[TokenVault], object]] = []
        # The process that uses this session. `run`, `open` and `close` check it and set it; `when_open` only checks it.
        # Each of them does so before it takes the lock of `_idle`, because a fork may copy this lock while another
        # thread holds it. A forked child that waited for the copy would wait forever.
        self._process: int | None = None

    def run(self, call: Call[V, T], rows: CallersThread | None = None) -> T:
        """Run a call on the vault's event loop and wait for its result; this thread reads ``rows`` meanwhile."""
        self._refuse_wrong_place(call.name)
        if self._closed:  # while the vault closes, another thread holds the lock
            raise _closed()
        inside = _Inside(call.name, rows)
        self._inside.add(inside)
        try:
            return cast("T", self._result(inside, self._enter(), call))
        finally:
            self._leave(inside)

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
            running, inside = self._running, _Inside("when_open")
            self._inside.add(inside)
        try:
            self._result(inside, running, hook)
        finally:
            self._leave(inside)

    def close(self) -> None:
        """Refuse new calls, wait for running ones, then close the vault.

        This does nothing if the vault is closed, or in a forked child. In a signal handler, the method returns after
        `_HANDLER_SECONDS`. The vault's thread goes on closing, and the next `close` waits for it, at the latest the one
        at the end of the process.
        """
        if self._process not in (None, os.getpid()):
            return
        self._refuse_wrong_place("close")
        own = threading.get_ident()
        if self._closing == own:  # a signal handler has interrupted `close`
            return
        self._closed = True
        is_interrupted = in_signal_handler() or any(each.thread == own for each in tuple(self._inside))
        ends = time.monotonic() + _HANDLER_SECONDS if is_interrupted else _never()
        if not self._idle.acquire(timeout=ends - time.monotonic()):
            return  # another thread closes the vault, or is opening it and then closes it
        self._closing = own
        try:
            self._close(ends)
        finally:
            self._closing = None
            self._idle.release()

    def _close(self, ends: float) -> None:
        running = self._running
        if running is not None:
            if not self._has_ended(running, ends):
                # The exit functions of `atexit` run when threads can no longer be started, and without threads no host
                # name is looked up for a new connection to the database.
                with suppress(AttributeError, RuntimeError):  # another Python, or the process is ending already
                    threading._register_atexit(self._wait_at_exit)  # type: ignore[attr-defined]  # noqa: SLF001
                return
            atexit.unregister(self._close_at_exit)
        self._running = self._process = None
        if running is not None:
            running.raise_error()

    def _has_ended(self, running: Running, ends: float) -> bool:
        """Close the vault; return whether it is closed at the time ``ends`` of `time.monotonic`."""
        self._end_calls()
        self._wait_for_calls(ends)
        running.stop()
        return running.has_ended(max(0.0, ends - time.monotonic()))

    def _wait_at_exit(self) -> None:
        """Wait until the vault is closed, after a signal handler could not; see `_close`."""
        if self._process == os.getpid():
            with self._idle:
                if self._running is not None:
                    self._has_ended(self._running, _never())

    def _result(self, inside: _Inside, running: Running, work: Callable[[TokenVault], Any]) -> Any:
        try:
            inside.future = future = running.begin(work)
            try:
                if inside.rows is not None:
                    inside.rows.serve(future)
                return future.result()
            except BaseException:  # for example an interrupt: the caller no longer waits for the result
                future.cancel()
                raise
        except CancelledError:
            if not self._closed:
                raise
        raise _closed()

    def _end_calls(self) -> None:
        """End the calls that would not end by themselves: feeds, and the calls of this thread."""
        own = {inside for inside in tuple(self._inside) if inside.thread == threading.get_ident()}
        for inside in own:
            if inside.rows is not None:  # only this thread could read them
                inside.rows.refuse(_closed())
        wait([each.future for each in own if each.future and each.name != _FEED], _INTERRUPTED_SECONDS)
        for inside in tuple(self._inside):
            if inside.future and (inside in own or inside.name == _FEED):
                inside.future.cancel()

    def _wait_for_calls(self, ends: float) -> None:
        """Wait until no other thread is inside a call, and end the imports whose rows do not come.

        Args:
            ends: time of `time.monotonic` at which the wait ends in any case.
        """
        own, is_moving = threading.get_ident(), True
        while is_moving:
            awaited = {inside: inside.rows.awaited for inside in tuple(self._inside) if inside.rows is not None}
            left = max(0.0, ends - time.monotonic())
            has_ended = self._idle.wait_for(
                lambda: all(each.thread == own for each in tuple(self._inside)), min(left, _PATIENCE_SECONDS)
            )
            if has_ended or left < _PATIENCE_SECONDS:
                return
            is_moving = False
            for inside, answer in awaited.items():
                if answer is not None and inside.rows is not None and inside.rows.awaited is answer:
                    give_up(answer, _closed())
                else:
                    is_moving |= inside in self._inside

    def _enter(self) -> Running:
        with self._idle:
            return self._open()

    def _leave(self, inside: _Inside) -> None:
        self._inside.discard(inside)
        if self._closed:  # `close` may wait for this call
            with self._idle:
                self._idle.notify_all()

    def _open(self) -> Running:
        if self._closed:
            raise _closed()
        opener = self._opener
        if self._running is None and opener is not None:
            from vault_adapters.sync.running import Running  # a program that opens no vault needs no event loop

            self._process = os.getpid()
            try:
                running = Running.start(opener)
            except BaseException:
                self._process = None  # the vault is not open, so a fork is harmless
                raise
            self._opener = None  # it holds the configuration, with the encryption secret
            if self._closed:  # by a signal handler, while the vault was opening
                self._process = None
                running.stop()
                running.raise_error()
                raise _closed()
            self._running = running
            atexit.register(self._close_at_exit)
            self._call_hooks(running)
        return cast("Running", self._running)

    def _call_hooks(self, running: Running) -> None:
        if self._hooks:
            hook = self._hooks.pop(0)
            try:
                running.begin(hook).result()
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


def _never() -> float:
    """Return a time of `time.monotonic` that does not come."""
    return time.monotonic() + threading.TIMEOUT_MAX / 2


def _closed() -> ConfigurationError:
    return ConfigurationError("this SyncVault was closed; open another one", code="vault_closed")


def on_event_loop() -> bool:
    """Return whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
