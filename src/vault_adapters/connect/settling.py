"""Changes the errors of `Connector` before its caller gets them.

`settling` removes from an error's traceback the stack frames that hold an OAuth code, state or token, and `sparing`
those that hold a request. `about` adds the tenant and the provider to an error.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from vault_domain.entities.account import Account
from vault_domain.entities.errors import ConnectError, VaultError
from vault_domain.entities.scrub import foreign

P = ParamSpec("P")
T = TypeVar("T")

BROKEN = "connect_broken"
"""Error code if an unexpected error ended the connecting of an account."""


def settling(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Make a coroutine function raise errors without the stack frames of the functions that it calls.

    Those stack frames hold the callback's parameters.

    A `VaultError` and a cancellation stay what they are. Any other error may repeat a text of the provider, so it
    becomes a `ConnectError` that names only the class of that error.
    """

    @functools.wraps(method)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        failure: BaseException
        try:
            return await method(*args, **kwargs)
        except (VaultError, asyncio.CancelledError) as error:
            failure = error.with_traceback(None)
        except Exception as error:
            failure = ConnectError(f"connecting broke off ({type(error).__name__})", code=BROKEN)
        finally:
            del args, kwargs
        # Raise outside of the handler, so that the error has no `__context__`, which would hold frames too.
        failure.__context__ = failure.__cause__ = None
        raise failure

    return wrapper


def sparing(view: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Make a view raise errors without the stack frames of the vault, which hold the request and the host's session.

    The frames of a host's function that raised the error stay.
    """

    @functools.wraps(view)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await view(*args, **kwargs)
        except BaseException as error:
            failure = error.with_traceback(foreign(error.__traceback__))
        finally:
            del args, kwargs
        try:
            raise failure  # outside of the handler, as in `settling`
        finally:
            del failure

    return wrapper


@contextmanager
def about(account: Account) -> Iterator[None]:
    """Name the tenant and the provider in each error that names no account."""
    try:
        yield
    except VaultError as error:
        error.account = error.account or account
        raise
