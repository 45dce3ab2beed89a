"""Blocking views of a vault, and of the objects that it gives."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, TypeVar

from vault_adapters.sync.rows import CallersRows
from vault_adapters.sync.session import Call, Session
from vault_domain.entities.page import Page
from vault_domain.facade.vault import TokenVault

P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V")


class View(Generic[V]):
    """A blocking view of the vault, or of an object that the vault gives, such as ``keys``.

    Attributes:
        _path: the attribute of the vault that gives this object, with a dot, such as ``keys.``.
    """

    _path: ClassVar[str] = ""

    def __init__(self, session: Session, target: Callable[[TokenVault], V]) -> None:
        self._session = session
        self._target = target

    def _run(self, call: Call[V, T]) -> T:
        return self._session.run(call)


def blocking(method: Callable[Concatenate[V, P], Awaitable[T]]) -> Callable[Concatenate[View[V], P], T]:
    """Return a blocking method with the arguments and the result of an async method."""

    @functools.wraps(method)
    def wrapper(self: View[V], /, *args: P.args, **kwargs: P.kwargs) -> T:
        call: Call[V, T] = Call(method, self._target, args, kwargs, self._path + method.__name__)
        del args, kwargs  # tracebacks of later errors must not hold the arguments
        return self._run(call)

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
