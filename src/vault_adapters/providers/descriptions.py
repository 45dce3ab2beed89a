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
    if _log.level != logging.DEBUG or not 400 <= status < 500 or body is None:
        return
    members = _members(body)
    text = " ".join(str(members[name]) for name in _SHOWN if members.get(name))
    sent = [*headers, *_members(content).values()]
    for value in sorted(map(str, sent), key=len, reverse=True):
        if len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "**********")
    _log.debug("the provider refused with %d: %s", status, text[:_MOST_LETTERS] or "no description")


def _members(body: bytes) -> dict[str, object]:
    text = body.decode(errors="replace")
    with suppress(ValueError):
        found = json.loads(text)
        return found if isinstance(found, dict) else {}
    return dict(parse_qsl(text))
