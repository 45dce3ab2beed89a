"""An OAuth provider with single-use refresh tokens that remembers all that it issued and all that it was asked.

A refresh token that is presented a second time revokes its whole family, as RFC 9700 section 4.14.2 advises. The server
itself is `scripted_provider`. It breaks connections as the test says; this module only decides the answers.
"""

import hashlib
import itertools
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

from attrs import define, evolve, frozen

from .answers import Answer, ReceivedRequest, error_answer, token_answer
from .scripted_provider import ScriptedProvider

ANSWERED: Final = "answered"
REUSED: Final = "reused"
REVOKED: Final = "revoked"
UNKNOWN: Final = "unknown"

Fault = Literal[
    "none", "slow", "rst_after", "fin_after", "no_last_chunk", "wrong_length", "cut", "lost", "unavailable", "failing"
]
FAULTS_THAT_DELIVER: Final[tuple[Fault, ...]] = ("rst_after", "fin_after", "no_last_chunk", "wrong_length")
"""Faults after which the client has the whole JSON."""

FAULTS_THAT_LOSE: Final[tuple[Fault, ...]] = ("cut", "lost", "failing")
"""Faults after which the refresh token is spent and the client cannot have the answer."""


@frozen
class Issued:
    """A value that the provider gave out; times are those of `time.time`."""

    account: str
    family: int
    kind: Literal["access", "refresh"]
    at: float


@define
class Presented:
    """A refresh request as the provider saw it.

    Attributes:
        at: time at which it was received; the credential is spent from then on.
        sender: the form parameter `sender`, which names the client process.
        account: the account of the presented token, or None if the token is unknown.
        family: the token's family, or None if the token is unknown.
        digest: digest of the presented token.
        outcome: ANSWERED, REUSED, REVOKED or UNKNOWN; "refused" for a request that spent nothing.
        answer_at: time at which the answer was on its way.
        delivered: whether the whole JSON was sent.
    """

    at: float
    sender: str
    account: str | None
    family: int | None
    digest: str
    outcome: str
    answer_at: float
    delivered: bool


@define
class _Family:
    account: str
    live: str
    revoked_at: float | None = None


class StrictProvider:
    """The provider's rules and its memory; safe to use from any thread.

    Args:
        salt: goes into every digest; a digest is all that histories hold of a value.
        lifetime: `expires_in` of access tokens, in seconds.
        seed: of the random part of the values.
    """

    def __init__(self, salt: str, *, lifetime: float = 4, seed: int = 0) -> None:
        self.salt: Final = salt
        self._lifetime = lifetime
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._numbers = itertools.count(1)
        self._fault: Fault = "none"
        self._latency = 0.0
        self.issued: Final[dict[str, Issued]] = {}
        self.presented: Final[list[Presented]] = []
        self.families: Final[dict[int, _Family]] = {}

    def weather(self, fault: Fault = "none", *, latency: float = 0.0) -> None:
        """Choose how requests are answered from now on; `latency` is in seconds."""
        with self._lock:
            self._fault, self._latency = fault, latency

    def consent(self, account: str) -> tuple[str, str]:
        """Issue an access token and a refresh token of a new family."""
        with self._lock:
            family = len(self.families) + 1
            access, refresh = self._issue(account, family)
            self.families[family] = _Family(account, digest(self.salt, refresh))
            return access, refresh

    def is_live(self, refresh_digest: str) -> bool:
        """Return whether the provider would take this refresh token now."""
        with self._lock:
            known = self.issued.get(refresh_digest)
            family = None if known is None else self.families[known.family]
            return family is not None and family.revoked_at is None and family.live == refresh_digest

    def respond(self, request: ReceivedRequest) -> Answer:
        """Answer a request, as the responder of a `ScriptedProvider`."""
        form = request.form
        if request.path == "/consent":
            return token_answer(*self.consent(form["account"]), expires_in=self._lifetime)
        with self._lock:
            return self._refresh(form["refresh_token"], form.get("sender", "?"))

    def _refresh(self, token: str, sender: str) -> Answer:
        now, fault, latency = time.time(), self._fault, self._latency
        presented = digest(self.salt, token)
        known = self.issued.get(presented)
        record = Presented(
            now, sender, known and known.account, known and known.family, presented, UNKNOWN, now + latency, True
        )
        self.presented.append(record)
        if fault == "unavailable":
            record.outcome = "refused"
            return evolve(error_answer("temporarily_unavailable", status=503), headers={"Retry-After": "1"})
        if known is None or known.kind != "refresh":
            return error_answer("invalid_grant")
        family = self.families[known.family]
        if family.revoked_at is not None:
            record.outcome = REVOKED
            return error_answer("invalid_grant")
        if family.live != presented:
            record.outcome = REUSED
            family.revoked_at = now
            return error_answer("invalid_grant")
        record.outcome = ANSWERED
        record.delivered = fault not in FAULTS_THAT_LOSE
        access, refresh = self._issue(known.account, known.family)
        family.live = digest(self.salt, refresh)
        answer = token_answer(access, refresh, expires_in=self._lifetime)
        return _broken(evolve(answer, delay=latency), fault)

    def _issue(self, account: str, family: int) -> tuple[str, str]:
        number = next(self._numbers)
        pair = (
            f"at-{number}-{self._random.getrandbits(128):032x}",
            f"rt-{number}-{self._random.getrandbits(128):032x}",
        )
        now = time.time()
        self.issued[digest(self.salt, pair[0])] = Issued(account, family, "access", now)
        self.issued[digest(self.salt, pair[1])] = Issued(account, family, "refresh", now)
        return pair


def _broken(answer: Answer, fault: Fault) -> Answer:
    size = len(answer.payload())
    match fault:
        case "rst_after":
            return evolve(answer, drop="rst", drop_after=size)
        case "fin_after":
            return evolve(answer, drop="fin", drop_after=size)
        case "no_last_chunk":
            return evolve(answer, chunked=True, drop="fin", drop_after=size)
        case "wrong_length":
            return evolve(answer, headers={"Content-Length": str(size + 10)}, drop="fin", drop_after=size)
        case "cut":
            return evolve(answer, drop="rst", drop_after=size // 2)
        case "lost":
            return evolve(answer, drop="rst")
        case "failing":
            return Answer(status=500, delay=answer.delay)
    return answer


def digest(salt: str, value: str) -> str:
    """Return the digest that stands for a value in a history."""
    return hashlib.sha256(f"{salt}{value}".encode()).hexdigest()[:24]


@contextmanager
def strict_provider(salt: str, *, lifetime: float = 4, seed: int = 0) -> Iterator[tuple[StrictProvider, str]]:
    """Serve until the end of the block; give the provider and the base URL of `/token` and `/consent`."""
    provider = StrictProvider(salt, lifetime=lifetime, seed=seed)
    server = ScriptedProvider(provider.respond)
    try:
        yield provider, server.base_url
    finally:
        server.close()
    server.check()
