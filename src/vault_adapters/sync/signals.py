"""Tells whether a signal handler is running."""

from __future__ import annotations

import functools
import signal
import sys
import threading
from types import CodeType


def in_signal_handler() -> bool:
    """Return whether this thread is inside a function that `signal.signal` has registered.

    Python does not tell this. A handler that has already replaced itself is not recognised, and a registered function
    that the program calls by itself is.
    """
    if threading.current_thread() is not threading.main_thread():  # handlers run in the main thread only
        return False
    codes = {_code(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    frame = sys._getframe()  # noqa: SLF001 - inspect.currentframe is the same
    while frame is not None:
        if frame.f_code in codes:
            return True
        frame = frame.f_back  # type: ignore[assignment]  # the last frame has none
    return False


def _code(handler: object) -> CodeType | None:
    while isinstance(handler, functools.partial):
        handler = handler.func
    found = getattr(handler, "__code__", None)
    if found is None and callable(handler):
        found = getattr(type(handler).__call__, "__code__", None)
    return found if isinstance(found, CodeType) else None
