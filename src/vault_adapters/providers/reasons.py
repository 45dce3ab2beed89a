"""Turns an HTTP client's error into a code of `vault_domain.entities.causes`.

Only the types of errors decide. Their texts are not read, because they may hold the request.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from vault_domain.entities import causes

_MOST_ERRORS = 50

_BY_TYPE: tuple[tuple[type[BaseException], str], ...] = (
    (socket.gaierror, causes.UNKNOWN_HOST),
    (ssl.SSLError, causes.TLS),
    (ConnectionRefusedError, causes.CONNECTION_REFUSED),
    (TimeoutError, causes.TIMEOUT),
)
# TLS raises these errors only to wait for the network. The chain of a later error may hold them, but they do not
# tell why it was raised.
_WAITING = (ssl.SSLWantReadError, ssl.SSLWantWriteError)
# Compare class names, so that a host may use httpx or httpx2 and neither has to be imported here.
_TIMEOUTS = {"ConnectTimeout", "ReadTimeout", "WriteTimeout", "PoolTimeout"}


def cause_of_failure(error: BaseException, *, sent: bool) -> str:
    """Return the code of the cause for which an exchange failed.

    Args:
        error: the HTTP client's error; the errors that led to it are examined too.
        sent: whether the request may have left this process.
    """
    chain = [each for each in _chain(error) if not isinstance(each, _WAITING)]
    for kind, cause in _BY_TYPE:
        if any(isinstance(each, kind) for each in chain):
            return cause
    if any(cls.__name__ in _TIMEOUTS for each in chain for cls in type(each).__mro__):
        return causes.TIMEOUT
    return causes.CONNECTION_LOST if sent else causes.CONNECTION_FAILED


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors that led to it, `_MOST_ERRORS` at most."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < _MOST_ERRORS:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        more = (each.__cause__, each.__context__, *getattr(each, "exceptions", ()))
        waiting += [other for other in more if isinstance(other, BaseException)]
