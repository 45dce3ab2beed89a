"""Shows what a provider says about a refusal, to a developer who asks for it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import parse_qsl

_log = logging.getLogger(__name__)

_SHOWN = ("error", "error_description")
_MOST_LETTERS = 300
_SHORTEST_SECRET = 8
"""Shorter values of a request, such as a grant type's name, are not taken for secrets."""


def describe(status: int, body: bytes | None, content: bytes, headers: Iterable[str]) -> None:
    """Log ``error`` and ``error_description`` of a refusal if the level of this module's own logger is DEBUG.

    The level of a logger above it does not count, so that a service that logs everything shows no text of a provider.
    Values of the request that the provider repeats are masked.

    Args:
        status: the answer's HTTP status.
        body: the answer's body.
        content: the request's body.
        headers: the values of the request's headers.
    """
    if _is_asked() and 400 <= status < 500 and body is not None:
        members = _members(body)
        words = [str(members[name]) for name in _SHOWN if members.get(name)]
        text = _shown(words, [*headers, *map(str, _members(content).values())])
        _log.debug("the provider refused with %d: %s", status, text)


def describe_callback(error: str, description: str, sent: Iterable[str]) -> None:
    """Log, on the same condition, what a callback says about a refusal.

    Args:
        error: the parameter ``error``, which the user's browser has passed on.
        description: the parameter ``error_description``.
        sent: texts to mask.
    """
    if _is_asked():
        _log.debug("the callback refuses: %s", _shown([error, description], sent))


def _is_asked() -> bool:
    return _log.level == logging.DEBUG


def _shown(words: Iterable[str], sent: Iterable[str]) -> str:
    text = " ".join(word for word in words if word)
    for value in sorted(sent, key=len, reverse=True):
        if len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "**********")
    shown = "".join(letter if letter.isprintable() else " " for letter in text[:_MOST_LETTERS])
    return shown or "no description"


def _members(body: bytes) -> dict[str, object]:
    text = body.decode(errors="replace")
    with suppress(ValueError):
        found = json.loads(text)
        return found if isinstance(found, dict) else {}
    return dict(parse_qsl(text))
