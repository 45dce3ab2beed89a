"""Decorators that keep arguments out of tracebacks.

A traceback rendered with locals (structlog, rich, Sentry, ``pytest -l``) shows the arguments of every frame
that an error passed through. A caller may have put a secret into the wrong argument. So the traceback of an input
error that the vault raises has no frames that hold arguments.

An argument may also raise an error of its own while the vault checks it, for example when the vault iterates a lazy
query, or calls a method of a time zone. Such an error stays as it is, but loses the frames of the vault.
"""

import functools
from collections.abc import Callable, Coroutine
from types import FunctionType, TracebackType
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
        except BaseException as error:
            del self, args, kwargs
            raise error.with_traceback(foreign(error.__traceback__))  # noqa: B904 - it is the same error
        if refusal is not None:
            # Raise outside of the handler, so that the error has no `__context__`, which would hold frames too.
            del self, args, kwargs
            try:
                raise refusal.with_traceback(None)
            finally:
                del refusal  # a frame that holds its own error stays until the garbage collector runs

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
        except BaseException as error:
            raise error.with_traceback(foreign(error.__traceback__))  # noqa: B904 - it is the same error
        finally:
            del args, kwargs
        try:
            raise refusal.with_traceback(None)
        finally:
            del refusal  # as in `scrubbed_class`

    return wrapper


def scrubbed_async(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Make a coroutine function raise `InvalidInputError` from a frame that no longer holds the arguments.

    On any other error, the wrapper's own frame drops the arguments too, as in `scrubbed`. An error that an argument
    raised while it was checked loses the frames of the vault.
    """

    @functools.wraps(method)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await method(*args, **kwargs)
        except InvalidInputError as error:
            refusal = error
        except Exception as error:
            if not _is_of_a_check(error.__traceback__):
                raise
            raise error.with_traceback(foreign(error.__traceback__))  # noqa: B904 - it is the same error
        finally:
            del args, kwargs
        try:
            raise refusal.with_traceback(None)
        finally:
            del refusal  # as in `scrubbed_class`

    return cast("Callable[P, Coroutine[Any, Any, T]]", wrapper)


def scrubbed_methods(*, are_async: bool) -> Callable[[C], C]:
    """Make the constructor and all public methods of a class drop their frames from every error, as `scrubbed` does.

    It is for classes whose methods hold plaintext, because another library gives it to them or gets it from them.

    Args:
        are_async: whether the methods are coroutine functions.
    """

    def decorate(cls: C) -> C:
        for name, method in list(vars(cls).items()):
            if not name.startswith("_") and isinstance(method, FunctionType):
                setattr(cls, name, _opaque(method) if are_async else scrubbed(method))
        return scrubbed_class(cls)

    return decorate


def _opaque(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    @functools.wraps(method)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await method(*args, **kwargs)
        except VaultError as error:
            refusal = error
        except BaseException as error:
            raise error.with_traceback(foreign(error.__traceback__))  # noqa: B904 - it is the same error
        finally:
            del args, kwargs
        try:
            raise refusal.with_traceback(None)
        finally:
            del refusal  # as in `scrubbed_class`

    return wrapper


def foreign(traceback: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback after the last frame of the vault: the frames of what the vault has called."""
    rest = traceback
    while traceback is not None:
        following = traceback.tb_next
        if _is_ours(traceback):
            rest = following
        traceback = following
    return rest


def _is_ours(traceback: TracebackType) -> bool:
    code, module = traceback.tb_frame.f_code, traceback.tb_frame.f_globals.get("__name__", "")
    return module.startswith(("vault_domain.", "vault_adapters.")) or code.co_filename.startswith("<attrs generated")


def _is_of_a_check(traceback: TracebackType | None) -> bool:
    while traceback is not None:
        if traceback.tb_frame.f_globals.get("__name__") == _CHECKS:
            return True
        traceback = traceback.tb_next
    return False


_CHECKS = "vault_domain.facade.arguments"
"""The module that checks the arguments of the facade."""
