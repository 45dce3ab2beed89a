"""A fuzz target, and the promises that hold for every input of every target."""

import logging
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from attrs import frozen
from tests.security.canaries import leaks_in

CANARY: Final = "cAnA~?>y0000-a-fuzzed-secretY<~?zAnc"
"""Stands for each secret in the inputs; `leaks_in` finds it in all encodings."""

MOST_SECONDS: Final = 5.0
"""Most CPU time for one input. It is not wall-clock time, so that a busy machine makes no difference."""

MOST_BYTES: Final = 16 * 1024 * 1024
"""Most memory for one input, on top of 64 times its size."""

_CORPUS = Path(__file__).resolve().parent / "corpus"
_LOGGERS = ("vault_adapters", "vault_domain")

Run = Callable[[bytes], None]


@frozen
class Target:
    """A reader of bytes that others have written.

    Attributes:
        name: its name, and that of its folder in the corpus.
        opened: returns a context manager. It gives the function that reads one input; leaving it frees the resources.
        refusals: the errors with which an input may be refused. The function itself asserts everything else.
        words: byte strings that its inputs may contain; mutations insert them.
    """

    name: str
    opened: Callable[[], AbstractContextManager[Run]]
    refusals: tuple[type[Exception], ...] = ()
    words: tuple[bytes, ...] = (b"",)

    @property
    def folder(self) -> Path:
        """The folder of its corpus."""
        return _CORPUS / self.name

    @property
    def corpus(self) -> list[bytes]:
        """Its inputs, sorted by name."""
        return [path.read_bytes() for path in sorted(self.folder.iterdir())]


def check(target: Target, run: Run, data: bytes) -> None:
    """Run a target with one input, and check that it keeps its promises.

    Raises:
        AssertionError: the target shows a secret, takes too long, or needs too much memory.
        Exception: the target raised an error that its callers do not expect.
    """
    shown: list[str] = []
    with _recorded(shown), _limited(len(data)):
        try:
            run(data)
        except target.refusals as error:
            shown += _everything_of(error)
    leaks = [leak for text in shown for leak in leaks_in(text)]
    assert not leaks, f"a secret is shown: {leaks[0]}"


def _everything_of(error: BaseException) -> Iterator[str]:
    yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
    yield "".join(traceback.format_exception(error))


@contextmanager
def _recorded(shown: list[str]) -> Iterator[None]:
    """Collect what is logged inside the block, at every level."""
    handler = logging.Handler()
    handler.emit = lambda record: shown.append(logging.Formatter().format(record))  # type: ignore[method-assign]
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)


@contextmanager
def _limited(size: int) -> Iterator[None]:
    """Measure CPU time and memory; check them only if the block did not raise."""
    tracemalloc.start()
    started = time.process_time()
    try:
        yield
        seconds = time.process_time() - started
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seconds <= MOST_SECONDS, f"{size} bytes took {seconds:.1f} s of a processor"
    assert peak <= MOST_BYTES + 64 * size, f"{size} bytes took {peak} bytes of memory"
