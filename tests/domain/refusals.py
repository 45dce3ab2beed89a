"""How the domain's tests look for a value that must not show."""

import traceback
from collections.abc import Callable

from vault_domain import InvalidInputError

CANARY = "canary-7f3a-must-not-show"


def refusal(work: Callable[[], object]) -> InvalidInputError:
    """Return the error that ``work`` raises; its own frame is left out, it holds what the test passes."""
    try:
        work()
    except InvalidInputError as error:
        return error
    raise AssertionError("nothing was refused")


def shown_by(error: BaseException) -> str:
    """Return all that an error shows: message, arguments, attributes, causes, and the locals of our frames."""
    parts = []
    seen: BaseException | None = error
    while seen is not None:
        parts += [str(seen), repr(seen), repr(seen.args), repr(vars(seen))]
        seen = seen.__cause__ or seen.__context__
    rendered = traceback.TracebackException.from_exception(error, capture_locals=True)
    for frame in rendered.stack:
        if "vault_domain" in frame.filename or "/enum.py" in frame.filename:
            parts.append(repr(frame.locals))
    return "\n".join(parts)


def assert_hidden(work: Callable[[], object], value: str = CANARY) -> None:
    """Assert that ``work`` is refused without showing the value anywhere."""
    error = refusal(work)
    assert error.code == "invalid_input"
    assert not error.retryable
    assert value not in shown_by(error)
