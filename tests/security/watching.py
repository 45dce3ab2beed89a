"""Everything that a workload shows of itself: log records of every logger, and errors with their frames' locals."""

import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_TESTS = str(Path(__file__).parents[1])


class Watcher:
    """Collects what was shown."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.records: list[logging.LogRecord] = []
        self.texts: list[str] = []

    async def expect(self, call: Callable[[], Awaitable[Any]]) -> None:
        """Run a call that must fail, and keep its error."""
        try:
            await call()
        except Exception as error:
            self.see(error)
        else:
            raise AssertionError("the call did not fail")

    def see(self, error: BaseException) -> None:
        """Keep an error, and render it now, before its frames change."""
        self.errors.append(error)
        self.texts.append(rendered(error))

    def shown(self) -> str:
        """Return all errors and log records as one text."""
        formatter = logging.Formatter("%(name)s %(levelname)s %(message)s")
        logs = [f"{formatter.format(record)} {record.args!r} {vars(record)!r}" for record in self.records]
        return "\n".join([*self.texts, *logs])


def rendered(error: BaseException) -> str:
    """Return an error, its causes, contexts and group as error reports show them, without the frames of tests."""
    texts, seen, waiting = [], set(), [error]
    while waiting:
        found = waiting.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        texts += [str(found), repr(found), repr(found.args), repr(getattr(found, "__dict__", None))]
        for frame, _ in traceback.walk_tb(found.__traceback__):
            if not frame.f_code.co_filename.startswith(f"{_TESTS}/"):
                local = {name: _shown(value) for name, value in frame.f_locals.items()}
                texts.append(f"{frame.f_code.co_filename}:{frame.f_code.co_name} {local}")
        waiting += [found.__cause__, found.__context__, *getattr(found, "exceptions", ())]
    return "\n".join(texts)


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # an object that was not finished when the error came
        return f"{type(value).__name__} raised {error!r}"


class _Collector(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.DEBUG)
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


@contextmanager
def watching() -> Iterator[Watcher]:
    """Set every logger that there is to DEBUG, and collect its records."""
    watcher = Watcher()
    collector = _Collector(watcher.records)
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in list(logging.root.manager.loggerDict))]
    before = [(logger, logger.level, logger.disabled, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.disabled, logger.propagate = False, True
    logging.getLogger().addHandler(collector)
    try:
        yield watcher
    finally:
        logging.getLogger().removeHandler(collector)
        for logger, level, disabled, propagate in before:
            logger.setLevel(level)
            logger.disabled, logger.propagate = disabled, propagate
