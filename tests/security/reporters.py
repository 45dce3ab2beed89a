"""What tools for error reports send: sentry-sdk, rich, structlog and loguru, each showing the locals of every frame.

The frames of the tests are cut off, because they know the secrets.
"""

import io
import json
import sysconfig
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import sentry_sdk
import structlog
from loguru._logger import Core, Logger
from rich.console import Console
from rich.traceback import Trace, Traceback
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

_TESTS = str(Path(__file__).parents[1])
_LIBRARIES = tuple(str(Path(sysconfig.get_path(name)).parent) for name in ("purelib", "platlib", "stdlib"))


class _Keeping(Transport):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.envelopes: list[Envelope] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.envelopes.append(envelope)


@cache
def _sentry() -> tuple[sentry_sdk.Client, _Keeping]:
    """Return a client and its transport, made once: each new client asks git for the release and looks for packages."""
    transport = _Keeping()
    client = sentry_sdk.Client(
        dsn="https://key@sentry.invalid/1",
        transport=transport,
        default_integrations=False,
    )
    return client, transport


def by_sentry(error: BaseException) -> str:
    """Return what sentry-sdk sends with its default settings, which include local variables."""
    client, transport = _sentry()
    transport.envelopes.clear()
    with sentry_sdk.new_scope() as scope:
        scope.set_client(client)
        sentry_sdk.capture_exception(error)
    assert transport.envelopes
    return "\n".join(envelope.serialize().decode() for envelope in transport.envelopes)


def by_rich(error: BaseException) -> str:
    """Return what a traceback of rich says with all locals in full."""
    return _texts_of(_extracted(error, locals_max_length=100, locals_max_string=None, locals_hide_dunder=False))


def by_rich_briefly(error: BaseException) -> str:
    """Return what a traceback of rich says with its default limits, which cut texts with a slice."""
    return _texts_of(_extracted(error))


def printed_by_rich(error: BaseException) -> str:
    """Return a traceback of rich as a console shows it."""
    console = Console(file=io.StringIO(), width=2_000, no_color=True)
    console.print(Traceback(_extracted(error), show_locals=True))
    return console.file.getvalue()


def _extracted(error: BaseException, **limits: Any) -> Trace:
    return Traceback.extract(type(error), error, error.__traceback__, show_locals=True, **limits)


def _texts_of(trace: Trace) -> str:
    """Return all texts that rich read from an error and its locals.

    Rich reads everything before it prints. Printing adds only lines of source files, boxes and line breaks, and takes
    a hundred times as long.
    """
    texts: list[str] = []
    for stack in trace.stacks:
        texts += [stack.exc_type, stack.exc_value, *stack.notes, repr(stack.syntax_error)]
        for frame in stack.frames:
            texts += [frame.filename, frame.name, *(f"{name} = {node}" for name, node in (frame.locals or {}).items())]
        texts += [_texts_of(inner) for inner in stack.exceptions]
    return "\n".join(texts)


def by_structlog(error: BaseException) -> str:
    """Return structlog's dictionary of a traceback, with locals."""
    transform = structlog.tracebacks.ExceptionDictTransformer(
        show_locals=True, locals_max_length=10_000, locals_max_string=10_000, max_frames=1000
    )
    return json.dumps(transform((type(error), error, error.__traceback__)), default=repr)


@cache
def _loguru() -> tuple[Logger, list[str]]:
    """Return a logger and what it writes, made once: loguru reads Python's build settings for each new logger."""
    texts: list[str] = []
    logger = Logger(Core(), None, 0, False, False, False, False, True, [], {})
    logger.add(lambda message: texts.append(str(message)), diagnose=True, backtrace=False, colorize=False)
    return logger, texts


def by_loguru(error: BaseException) -> str:
    """Return what loguru writes with ``diagnose=True``."""
    logger, texts = _loguru()
    texts.clear()
    logger.opt(exception=error).error("it failed")
    assert texts
    return "\n".join(texts)


REPORTERS: dict[str, Callable[[BaseException], str]] = {
    "sentry": by_sentry,
    "rich": by_rich,
    "rich_briefly": by_rich_briefly,
    "structlog": by_structlog,
    "loguru": by_loguru,
}


def reports(error: BaseException, *, skip: tuple[str, ...] = ()) -> dict[str, str]:
    """Return what each tool sends of an error.

    Args:
        error: the error; its tracebacks lose the frames of the tests.
        skip: parts of the paths of installed libraries; the frames of such a file are cut off too. The folder in which
            this repository or the environment lies does not count.
    """
    _cut(error, skip, set())
    return {name: report(error) for name, report in REPORTERS.items()}


def _cut(error: BaseException | None, skip: tuple[str, ...], seen: set[int]) -> None:
    """Cut frames out of the tracebacks of an error, of its cause and context, and of the errors in its group."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    error.__traceback__ = _without(error.__traceback__, skip)
    for other in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
        _cut(other, skip, seen)


def _is_skipped(path: str, skip: tuple[str, ...]) -> bool:
    libraries = [library for library in _LIBRARIES if path.startswith(f"{library}/")]
    return path.startswith(f"{_TESTS}/") or any(
        part in path.removeprefix(library) for library in libraries for part in skip
    )


def _without(traceback: TracebackType | None, skip: tuple[str, ...]) -> TracebackType | None:
    kept: list[Any] = []
    while traceback is not None:
        if not _is_skipped(traceback.tb_frame.f_code.co_filename, skip):
            kept.append(traceback)
        traceback = traceback.tb_next
    rest: TracebackType | None = None
    for entry in reversed(kept):
        rest = TracebackType(rest, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return rest
