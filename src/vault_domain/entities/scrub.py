"""Keeps arguments out of tracebacks.

A traceback rendered with locals (structlog, rich, Sentry, ``pytest -l``) shows the arguments of every frame
that an error passed through. A caller may have put a secret into the wrong argument, so an input error leaves
the vault without the frames that hold what was passed.
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
            del self, args, kwargs  # an error of another kind, of a missing argument say, passes through this frame
            raise
        if refusal is not None:
            # Raised outside of the handler, so that the error carries no context with frames of its own.
            del self, args, kwargs
            raise refusal.with_traceback(None)

    cls.__init__ = __init__
    return cls


def scrubbed(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function raise its input errors from a frame that no longer holds the arguments."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except InvalidInputError as error:
            refusal = error
        finally:
            del args, kwargs
        raise refusal.with_traceback(None)

    return wrapper


def scrubbed_async(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Do the same for a coroutine function, and drop its arguments from this frame on any other error."""

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
