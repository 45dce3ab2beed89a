"""Takes reports of rejected tokens: replaces the token, or makes it suspect if no refresh can replace it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.errors import TokenNotFoundError
from vault_domain.entities.suspicion import ConfirmationWindow
from vault_domain.entities.token import MarkOutcome, StoredToken, Token, TokenInfo, TokenRef, TokenStatus
from vault_domain.ports.tasks import Tasks
from vault_domain.rules.connection import credential_of
from vault_domain.rules.freshness import is_presentable, is_usable
from vault_domain.rules.refresh import RefreshRule
from vault_domain.services.refresh.access import RefreshService
from vault_domain.services.refresh.answers import AnswerKeeper
from vault_domain.services.refresh.attempt_ledger import AttemptLedger
from vault_domain.services.refresh.exchange import overdue
from vault_domain.services.refresh.refusing import ended
from vault_domain.services.tokens.opening import checked_snapshot
from vault_domain.services.tokens.token_service import TokenService
from vault_domain.services.tokens.token_writer import TokenWriter

YOUNG = timedelta(seconds=30)
"""Age below which a rejected token is not refreshed, because the resource would probably reject a new one too."""

REJECTED = "invalid_token"
"""Error code of a token that a resource rejected (RFC 6750 section 3.1)."""

_MOST_OPEN = 10_000
"""Largest number of reports to remember that the store has not taken; beyond it, the oldest is forgotten."""


class RejectionService:
    """Returns the token to try after a resource rejected one, and marks the rejected token if one report suffices.

    No process hands out a marked token again. A very young token is not marked, and neither is a token that is its own
    credential.

    Args:
        tokens: hands out tokens.
        writing: marks tokens.
        ledger: reads accounts.
        keeper: stores an answer that waits, so that its token can be marked.
        refreshing: replaces access tokens.
        rules: the rule of each provider that has a refresher.
        window: shortest and longest time after a first report of a token at which a second report makes it invalid.
        tasks: limits the time of a report that `ensure` makes again.
        note: tells the audit log, given a token and an actor, of a report that changes nothing.
    """

    def __init__(
        self,
        tokens: TokenService,
        writing: TokenWriter,
        ledger: AttemptLedger,
        keeper: AnswerKeeper,
        refreshing: RefreshService,
        rules: Mapping[str, RefreshRule],
        window: ConfirmationWindow,
        tasks: Tasks,
        note: Callable[[TokenInfo, str | None], None],
    ) -> None:
        self._note = note
        self._tokens = tokens
        self._writing = writing
        self._ledger = ledger
        self._keeper = keeper
        self._refreshing = refreshing
        self._rules = rules
        self._window = window
        self._tasks = tasks
        self._open: OrderedDict[TokenRef, TokenInfo] = OrderedDict()

    async def ensure(self, account: Account, timeout: float | None, *, actor: str | None, fresh: bool = False) -> Token:
        """Return what `RefreshService.ensure` returns, but no token whose report the store has not taken.

        Such a token is reported again first, and the result is that of `report`.
        """
        if not self._open:
            return await self._refreshing.ensure(account, timeout, actor=actor, fresh=fresh)
        started = self._tasks.monotonic()
        token = await self._refreshing.ensure(account, timeout, actor=actor, fresh=fresh)
        info = self._open.get(TokenRef.of(token.info))
        if info is None:
            return token
        left = None if timeout is None else max(0.0, timeout - (self._tasks.monotonic() - started))
        try:
            return await self._tasks.share(("report", info.value_id), lambda: self.report(info, actor=actor), left)
        except TimeoutError:
            pass  # raise the new error below, so that it has no ``__context__``
        raise overdue(account)

    async def report(self, info: TokenInfo, *, actor: str | None) -> Token:
        """Return the token to try after a resource rejected one; a young or suspect token may be returned again."""
        key, account = info.key, info.key.account
        self._tokens.refuse(info)  # first, because the steps below fail while the database is unreachable
        with self._open_until_taken(info):
            await self._keeper.settle(account)  # a token can be marked only after its answer was stored
            snapshot = checked_snapshot(account, await self._ledger.read(account))
        row = snapshot.token(key.kind)
        if row is None:
            raise TokenNotFoundError(account=account)
        if TokenRef.of(row.info) != TokenRef.of(info):
            return await self._next(info, snapshot.now, actor=actor)
        record, rule = snapshot.record, self._rules.get(account.provider)
        if is_usable(row.info, snapshot.now) and snapshot.now - row.info.updated_at < YOUNG:
            self._note(row.info, actor)
            if rule is not None and rule.old_token_dies:  # a running attempt may have ended the token
                return await self._next(info, snapshot.now, actor=actor)
            return await self._tokens.hand_out(key, row, snapshot.now)
        credential = None if record is None or rule is None else credential_of(record, rule.spends)
        if credential is not None and is_presentable(credential, snapshot.now) and key.kind is TokenKind.ACCESS_TOKEN:
            return await self._replace(row, credential, actor=actor)
        is_condemned = credential is not None and credential.status is TokenStatus.INVALID
        if is_condemned and key.kind is TokenKind.ACCESS_TOKEN:  # the grant has ended, so one report is enough
            await self._mark(row.info, actor=actor)
            return await self._refreshing.ensure(account, None, actor=actor, fresh=True)
        if not is_usable(row.info, snapshot.now):
            raise ended(account, key.kind, row.info.error_code)
        return await self._suspect(row, snapshot.now, actor=actor)

    async def _replace(self, row: StoredToken, credential: TokenInfo, *, actor: str | None) -> Token:
        """Refresh an access token; mark it first, so that nobody gets it even if the refresh fails.

        A token that is its own credential is not marked, because the vault never presents an invalid credential to a
        provider. The provider's answer tells whether the token still works.
        """
        if credential.key.kind is not TokenKind.ACCESS_TOKEN:
            outcome = await self._mark(row.info, actor=actor)
            if outcome is MarkOutcome.STALE:
                return await self._refreshing.ensure(row.key.account, None, actor=actor, fresh=True)
        return await self._refreshing.replace(row.info, actor=actor)

    async def _mark(self, info: TokenInfo, *, actor: str | None) -> MarkOutcome:
        with self._open_until_taken(info):
            return await self._writing.mark_invalid(info, REJECTED, actor=actor)

    @contextmanager
    def _open_until_taken(self, info: TokenInfo) -> Iterator[None]:
        """Remember a report of an access token for `ensure`; forget it if the block ends without an error."""
        ref = TokenRef.of(info)
        if info.key.kind is TokenKind.ACCESS_TOKEN:
            self._open[ref] = info
        if len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)
        yield
        self._open.pop(ref, None)

    async def _suspect(self, row: StoredToken, now: datetime, *, actor: str | None) -> Token:
        """Note a report of a token that no refresh can replace; a second report within the window makes it invalid."""
        account = row.key.account
        outcome = await self._writing.report_rejected(row.info, REJECTED, window=self._window, actor=actor)
        if outcome in (MarkOutcome.APPLIED, MarkOutcome.ALREADY_INVALID):
            raise ended(account, row.key.kind, REJECTED)
        return await self._next(row.info, now, actor=actor)

    async def _next(self, info: TokenInfo, now: datetime, *, actor: str | None) -> Token:
        """Return the stored token if it may be used; for an access token, return what `ensure` returns.

        Raises:
            ReauthorizationRequiredError: the stored token is invalid or has expired.
            TokenNotFoundError: no token is stored any more.
        """
        if info.key.kind is TokenKind.ACCESS_TOKEN:
            return await self.ensure(info.key.account, None, actor=actor, fresh=True)
        token = await self._tokens.get(info.key)
        if token is None:
            raise TokenNotFoundError(account=info.key.account)
        if not is_usable(token.info, now):
            raise ended(info.key.account, info.key.kind, token.info.error_code)
        return token
