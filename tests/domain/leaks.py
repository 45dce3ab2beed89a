"""Finds a canary, a text that must not leak, in an error: in its texts, arguments, causes and frames."""

import traceback
from pathlib import Path

import pytest

from vault_domain.entities.errors import InvalidInputError

_HERE = str(Path(__file__).parent)


def shown_by(error):
    """Return everything that an error shows of itself, with the locals of every frame but the tests' own."""
    texts, seen, waiting = [], set(), [error]
    while waiting:
        found = waiting.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        texts += [str(found), repr(found), repr(found.args), repr(vars(found)), repr(getattr(found, "__notes__", ()))]
        rendered = traceback.TracebackException.from_exception(found, capture_locals=True)
        for frame in rendered.stack:
            if not frame.filename.startswith(_HERE):
                texts.append(f"{frame.name}: {frame.locals}")
        waiting += [found.__cause__, found.__context__]
        waiting += getattr(found, "exceptions", ())
    return "\n".join(texts)


def assert_refused(call, canary, error=InvalidInputError):
    """Assert that a call is refused and that nothing of the error shows the canary."""
    with pytest.raises(error) as caught:
        call()
    shown = shown_by(caught.value)
    assert canary not in shown, shown
    assert caught.value.code
    return caught.value


def run(coroutine):
    """Drive a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    finally:
        coroutine.close()
    raise AssertionError("the coroutine waits for something")
