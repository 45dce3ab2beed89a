"""Decorators that keep arguments out of tracebacks.

A traceback rendered with locals (structlog, rich, Sentry, ``pytest -l``) shows the arguments of every frame
that an error passed through. A caller may have put a secret into the wrong argument. So the traceback of an input
error that the vault raises has no frames that hold arguments.
"""

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar, cast

from vault_domain.entities.errors import InvalidInputError, VaultError

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound=type[Any])


def scrubbed_class(cls: C) -> C:
    """Make ``cls(...)`` raise its input errors from a frame that no longer holds the arguments."""
    construct = cls.__init__

    @functools.wraps(construct)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it becomes the class's __init__
        refusal = None
        try:
            construct(self, *args, **kwargs)
        except VaultError as error:
            refusal = error
        except BaseException:
            del self, args, kwargs  # other errors, such as for a missing argument, keep this frame in their traceback
            raise
        if refusal is not None:
            # Raise outside of the handler, so that the error has no `__context__`, which would hold frames too.
            del self, args, kwargs
            raise refusal.with_traceback(None)

    cls.__init__ = __init__
    return cls


def scrubbed(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function raise the vault's errors from a frame that no longer holds the arguments."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except VaultError as error:
            refusal = error
        finally:
            del args, kwargs
        raise refusal.with_traceback(None)

    return wrapper


def scrubbed_async(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Make a coroutine function raise `InvalidInputError` from a frame that no longer holds the arguments.

    On any other error, the wrapper's own frame drops the arguments too, as in `scrubbed`.
    """

    @functools.wraps(method)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await method(*args, **kwargs)
        except InvalidInputError as error:
            refusal = error
        finally:
            del args, kwargs
        raise refusal.with_traceback(None)

    return cast("Callable[P, Coroutine[Any, Any, T]]", wrapper)
