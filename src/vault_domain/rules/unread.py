"""Decides what becomes of a 2xx answer that cannot be read: whether the spent credential is presented again."""

from __future__ import annotations

import re
from datetime import timedelta

from vault_domain.entities.rotation_policy import Rotation, RotationKind
from vault_domain.entities.unread_answer import UnreadAnswer

UNREAD_HOLD = timedelta(days=4)
"""Time for which a credential is not presented again if a kept answer probably holds its replacement."""

KEPT_FOR = timedelta(days=30)
"""Time after which a kept answer is deleted, although nothing could read it."""

MOST_KEPT = 10_000
"""Largest number of kept answers, of all tenants together; there is at most one for an account."""

# Possessive, and without a condition on what follows, so that the time grows with the length only: a hostile endpoint
# may send any text.
_TOKEN = re.compile(rb"[\"'>=:]\s*+([A-Za-z0-9._~+/=|-]{8,}+)")
_AFTER_TOKEN = frozenset(b"\"'<&,} \t\n\r\f\v")
_NO_TOKEN = re.compile(
    rb"\d{4}-\d\d-\d\d(?:T.*)?|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[A-Za-z_.-]{1,19}|[0-9.]{1,16}|/.*"
)
_NAME = re.compile(rb"token|jwt|bearer|credential", re.IGNORECASE)
_PAGE = re.compile(rb"\s*<(?:!doctype|html|head|body|!--)", re.IGNORECASE)


def holds_tokens(body: bytes) -> bool:
    """Return whether an answer that cannot be read may hold tokens; if in doubt, True.

    A web page does not, such as that of a gateway during maintenance. Anything else does if a member is named after a
    token, or if a value looks like one: at least 8 characters without spaces, and neither a word, a number, a date, a
    UUID nor a path.
    """
    if _PAGE.match(body):
        return False
    return _NAME.search(body) is not None or any(_is_token(found, body) for found in _TOKEN.finditer(body))


def _is_token(found: re.Match[bytes], body: bytes) -> bool:
    is_whole = found.end() == len(body) or body[found.end()] in _AFTER_TOKEN
    return is_whole and not _NO_TOKEN.fullmatch(found[1])


def hold_of(rotation: Rotation, answer: UnreadAnswer) -> timedelta:
    """Return how long the credential is not presented again after an answer that cannot be read; zero: no longer.

    A strict provider revokes a grant when it sees a spent credential, and the new tokens in the kept answer with it.
    """
    is_spent = rotation.kind is not RotationKind.NON_ROTATING and holds_tokens(answer.content)
    return UNREAD_HOLD if is_spent else timedelta(0)
