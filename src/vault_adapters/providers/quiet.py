"""Keeps the HTTP library's log records of a token exchange out of the host's logs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# These loggers print the URL and the answer's reason phrase at INFO, and every header at DEBUG. A provider may repeat a
# token in the reason phrase or in a header. hpack prints the request's headers if the host's client uses HTTP/2.
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
    """Drops the log records of the vault's token exchanges and passes all other records."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _exchanging.get()


@contextmanager
def quiet_exchange() -> Iterator[None]:
    """Drop the HTTP library's log records of the running task until the block ends.

    A context variable limits this to the running task and the tasks that it starts. So the host's own concurrent
    requests are still logged, even if they use the same client.
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
