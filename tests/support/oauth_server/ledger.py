"""Counts the server's answers in memory, because writing the counts to its database would slow down requests."""

import hashlib
import json
import threading
from collections import Counter
from typing import Final


class Ledger:
    """Thread-safe counters under the names that `Stats` has."""

    _NAMES: Final = (
        "token_requests",
        "refreshes",
        "replays",
        "invalid_grants",
        "other_errors",
        "revocations",
        "resource_ok",
        "resource_unauthorized",
    )

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._presented: Counter[bytes] = Counter()
        self._issued: set[bytes] = set()

    def count(self, name: str) -> None:
        """Add one to a counter."""
        with self._lock:
            self._counts[name] += 1

    def count_token_answer(self, refresh_token: str | None, status: int, body: bytes) -> None:
        """Count a request to the token endpoint and its answer; store only hashes of tokens."""
        answer = json.loads(body)
        with self._lock:
            self._counts["token_requests"] += 1
            if refresh_token is not None:
                self._presented[_digest(refresh_token)] += 1
            if status != 200:
                refused = answer.get("error") == "invalid_grant"
                self._counts["invalid_grants" if refused else "other_errors"] += 1
            elif refresh_token is not None:
                self._counts["refreshes"] += 1
                self._counts["replays"] += self._seen(answer["access_token"])

    def as_dict(self) -> dict[str, int]:
        """Return all counters."""
        with self._lock:
            counts = {name: self._counts[name] for name in self._NAMES}
            return {**counts, "most_presented": max(self._presented.values(), default=0)}

    def _seen(self, access_token: str) -> bool:
        digest = _digest(access_token)
        seen = digest in self._issued
        self._issued.add(digest)
        return seen


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
