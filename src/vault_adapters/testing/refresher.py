"""A refresher that answers as a test tells it."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeAlias

import anyio
from attrs import field, frozen

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.errors import ProviderConfigurationError
from vault_domain.entities.rotation_policy import Rotation
from vault_domain.entities.scrub import scrubbed
from vault_domain.entities.secret import Secret
from vault_domain.entities.token_set import TokenSet
from vault_domain.ports.token_refresher import RefreshRequest

Answer: TypeAlias = TokenSet | BaseException | timedelta | Callable[[RefreshRequest], Awaitable[TokenSet]]
"""One step of a script: a token set to return, an error to raise, a time to wait before the next step, or a coroutine
function that returns the token set."""


@frozen
class RecordedCall:
    """One call of a refresher.

    Attributes:
        account: account to refresh.
        kind: kind of the presented credential.
        scopes: scopes of the request.
        deadline: longest time that the whole call may take.
        credential: the presented credential.
    """

    account: Account
    kind: TokenKind
    scopes: tuple[str, ...]
    deadline: timedelta
    credential: Secret = field(repr=False)

    @scrubbed
    def spent(self, credential: Secret | str) -> bool:
        """Whether the call presented this credential."""
        return self.credential == (credential if isinstance(credential, Secret) else Secret(credential))


class ScriptedRefresher:
    """Implements `TokenRefresher` without a provider.

    Args:
        answers: the script. A call after the script's end raises `ProviderConfigurationError`.
        rotation: rotation policy of the provider; None: `Rotation.strict()`.
        spends: kind of credential that the refresher takes.

    Attributes:
        calls: the calls of `refresh` so far, in order.
    """

    def __init__(
        self,
        *answers: Answer,
        rotation: Rotation | None = None,
        spends: TokenKind = TokenKind.REFRESH_TOKEN,
    ) -> None:
        self.rotation = rotation or Rotation.strict()
        self.spends = spends
        self.calls: list[RecordedCall] = []
        self._script: deque[Answer] = deque(answers)

    def then(self, *answers: Answer) -> ScriptedRefresher:
        """Append answers to the script; return this refresher."""
        self._script.extend(answers)
        return self

    @property
    def remaining(self) -> int:
        """Number of steps that are left in the script, waiting times included."""
        return len(self._script)

    async def refresh(self, request: RefreshRequest) -> TokenSet:
        """Wait and answer as the next steps of the script say."""
        self.calls.append(
            RecordedCall(request.account, request.kind, request.scopes, request.deadline, request.credential)
        )
        # Take the steps before any wait, so that concurrent calls get them in the order of the calls.
        pause, answer = self._next()
        await anyio.sleep(pause.total_seconds())
        if isinstance(answer, TokenSet):
            return answer
        if isinstance(answer, BaseException):
            raise answer
        return await answer(request)

    def __repr__(self) -> str:
        return f"ScriptedRefresher({len(self.calls)} calls, {self.remaining} steps left)"

    def _next(self) -> tuple[timedelta, TokenSet | BaseException | Callable[[RefreshRequest], Awaitable[TokenSet]]]:
        pause = timedelta(0)
        while self._script:
            step = self._script.popleft()
            if not isinstance(step, timedelta):
                return pause, step
            pause += step
        return pause, ProviderConfigurationError("this ScriptedRefresher has no answer left; add some with then(...)")
