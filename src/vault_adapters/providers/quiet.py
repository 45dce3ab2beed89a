"""Keeps the HTTP library's log records of a token exchange out of the host's logs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# At INFO these print URL and reason phrase, at DEBUG every header: a provider may echo a token in each of them.
# hpack prints the request's headers too, where a host's client speaks HTTP/2.
_TALKATIVE = (
    "httpx",
    "httpx2",
    "hpack.hpack",
    "hpack.table",
    *(f"{core}.{part}" for core in ("httpcore", "httpcore2") for part in ("connection", "http11", "http2", "proxy")),
    *(f"{core}.socks" for core in ("httpcore", "httpcore2")),
)

_exchanging: ContextVar[bool] = ContextVar("vault_adapters_exchanging", default=False)


class _OnlyOthers(logging.Filter):
    """Lets through what was not logged by a token exchange of ours."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _exchanging.get()


@contextmanager
def quiet_exchange() -> Iterator[None]:
    """Drop what the HTTP library logs in this context until the end of the block.

    The context variable limits it to the running task and what it starts, so that the host's own requests, which
    may run at the same time and through the same client, are logged as ever. The filter is taken off afterwards.
    """
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    guard = _OnlyOthers()
    mark = _exchanging.set(True)
    for logger in loggers:
        logger.addFilter(guard)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(guard)
        _exchanging.reset(mark)
