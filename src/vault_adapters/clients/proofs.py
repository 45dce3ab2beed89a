"""DPoP (RFC 9449) at APIs: the nonces of their servers, and requests that are sent again with another proof."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TypedDict
from urllib.parse import urlsplit

PROOF = "DPoP"
NONCE = "DPoP-Nonce"

_NONCE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,1024}\Z")
_LEAST_SKEW = timedelta(seconds=5)
_MOST_SKEW = timedelta(days=1)
_MOST_SERVERS = 256
_LONGEST = 8192


class Known(TypedDict):
    """What a server has told of its proofs; see `TokenVault.api_proof`."""

    nonce: str | None
    ahead: timedelta


class Servers:
    """What servers have told of their proofs: their last nonces, and by how much the local clock is ahead of theirs."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}
        self._lock = threading.Lock()

    def known(self, url: str) -> Known:
        """Return what the server of a URL has told."""
        return self._known.get(_origin(url)) or Known(nonce=None, ahead=timedelta(0))

    def has_learned(
        self, url: str, status: int, nonce: str | None, date: str | None, challenges: Iterable[str]
    ) -> bool:
        """Remember what a response tells; return whether it refuses the proof, and may accept another one.

        Args:
            url: the URL of the request.
            status: the response's status.
            nonce: its header ``DPoP-Nonce``, or None.
            date: its header ``Date``, or None.
            challenges: the values of its headers ``WWW-Authenticate``.
        """
        used = self.known(url)
        found = Known(nonce=nonce if nonce is not None and _NONCE.match(nonce) else used["nonce"], ahead=used["ahead"])
        refusal = refused_proof(status, challenges)
        if refusal == "invalid_dpop_proof":
            ahead = _ahead_of(date)
            if ahead is not None and abs(ahead) <= _MOST_SKEW and abs(ahead - used["ahead"]) >= _LEAST_SKEW:
                found["ahead"] = ahead
        if found != used:
            with self._lock:
                self._known.pop(_origin(url), None)
                self._known[_origin(url)] = found
                while len(self._known) > _MOST_SERVERS:
                    self._known.pop(next(iter(self._known)))
        return refusal is not None and found != used


SERVERS = Servers()
"""What servers have told this process. A nonce is no secret, and is of no token (RFC 9449 section 9)."""


def refused_proof(status: int, challenges: Iterable[str]) -> str | None:
    """Return the code with which a response refuses the proof, and so says nothing about the token; None otherwise."""
    text = ", ".join(challenges)[:_LONGEST] if status == 401 else ""
    return next((code for code in ("use_dpop_nonce", "invalid_dpop_proof") if code in text), None)


def _ahead_of(date: str | None) -> timedelta | None:
    try:
        there = parsedate_to_datetime(date or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return datetime.now(UTC) - (there.replace(tzinfo=UTC) if there.tzinfo is None else there)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
