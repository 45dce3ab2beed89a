"""AccountState: everything that a store keeps of one account, and what a transition makes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from attrs import evolve, field, frozen

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.audit import AuditEvent
from vault_domain.entities.errors import DecryptionError
from vault_domain.entities.refresh_state import AccountRecord, RefreshState
from vault_domain.entities.token import SealedToken, StoredToken, TokenRef

R_co = TypeVar("R_co", covariant=True)


@frozen
class AccountRow:
    """What is stored of an account besides its tokens.

    Attributes:
        label: the host's label, or None.
        refresh: the refresh state.
        committed_attempt_id: id of the attempt whose answer was stored last, or None.
        endpoint: fingerprint of the client at the token endpoint of the latest claim (`Attempt.endpoint`), or None.
        due_at: time at which a sweep has to check the account, UTC; None: never.
    """

    label: str | None = None
    refresh: RefreshState = field(factory=RefreshState)
    committed_attempt_id: UUID | None = None
    endpoint: bytes | None = None
    due_at: datetime | None = None


@frozen
class KeptAnswer:
    """A provider's answer that could not be read, and is kept until something can read it.

    Attributes:
        attempt_id: id of the attempt that got the answer.
        sealed: the sealed answer.
        kept_at: time of storing, UTC.
    """

    attempt_id: UUID
    sealed: SealedToken
    kept_at: datetime


@frozen
class AccountState:
    """One account whole. An account of which nothing is stored has neither tokens nor a row.

    Attributes:
        account: the account.
        tokens: its tokens with their sealed values, by kind.
        row: the rest; None if there is no row yet.
        answer: the answer that is kept for it, or None. It goes with the row.
        damaged: the rows that cannot be read: a damaged token by its kind, row and answer under None. The value is the
            token's generation, or None if this cannot be read either. Such a row can only stay as it is, be replaced by
            a new value, or be deleted.
        version: whatever the store needs to tell whether this is still what it keeps; transitions never read it.
    """

    account: Account
    tokens: Mapping[TokenKind, StoredToken] = field(factory=dict)
    row: AccountRow | None = None
    answer: KeptAnswer | None = None
    damaged: Mapping[TokenKind | None, int | None] = field(factory=dict)
    version: Any = field(default=None, eq=False, repr=False)

    @property
    def refresh(self) -> RefreshState:
        """The refresh state; an account without a row has an empty one."""
        return RefreshState() if self.row is None else self.row.refresh

    @property
    def record(self) -> AccountRecord | None:
        """The account without its values; None if it has no token."""
        if not self.tokens:
            return None
        label = None if self.row is None else self.row.label
        return AccountRecord(self.account, {kind: each.info for kind, each in self.tokens.items()}, label, self.refresh)

    @property
    def value_ids(self) -> list[UUID]:
        """The ids of the stored values."""
        return [token.info.value_id for token in self.tokens.values()]

    @property
    def is_empty(self) -> bool:
        """Whether the account has no token, not even a damaged one."""
        return not self.tokens and all(kind is None for kind in self.damaged)

    def generation(self, kind: TokenKind) -> int:
        """Return the generation of the token of a kind; 0: there is none, or its generation cannot be read."""
        token = self.tokens.get(kind)
        return (self.damaged.get(kind) or 0) if token is None else token.info.generation

    def require_intact(self) -> AccountState:
        """Return the state itself.

        Raises:
            DecryptionError: a row is damaged.
        """
        if self.damaged:
            raise DecryptionError(account=self.account, keys=[self.account.key(kind) for kind in TokenKind])
        return self

    def holds(self, ref: TokenRef) -> StoredToken | None:
        """Return the token to which ``ref`` refers, if exactly this value is stored.

        Raises:
            DecryptionError: the token is damaged.
        """
        if ref.key.kind in self.damaged:
            raise DecryptionError(account=self.account, keys=[ref.key])
        token = self.tokens.get(ref.key.kind)
        return token if token is not None and TokenRef.of(token.info) == ref else None

    def with_token(self, token: StoredToken, **changes: Any) -> AccountState:
        """Return the state with a token in place of the one of its kind; ``changes`` go into its metadata."""
        changed = evolve(token, info=evolve(token.info, **changes)) if changes else token
        return self.with_tokens(changed)

    def with_tokens(self, *tokens: StoredToken) -> AccountState:
        """Return the state with tokens in place of those of their kinds, damaged ones included."""
        new = {token.key.kind: token for token in tokens}
        damaged = {kind: each for kind, each in self.damaged.items() if kind not in new}
        return evolve(self, tokens={**self.tokens, **new}, damaged=damaged)

    def without(self, kinds: Iterable[TokenKind]) -> AccountState:
        """Return the state without the tokens of these kinds; without any token, nothing else is left either."""
        gone = set(kinds)
        tokens = {kind: token for kind, token in self.tokens.items() if kind not in gone}
        damaged = {kind: each for kind, each in self.damaged.items() if kind not in gone}
        new = evolve(self, tokens=tokens, damaged=damaged)
        return evolve(new, row=None, answer=None, damaged={}) if new.is_empty else new

    def with_row(self, **changes: Any) -> AccountState:
        """Return the state with a changed row, which is made if it is missing.

        Raises:
            DecryptionError: the row is damaged.
        """
        if None in self.damaged:
            self.require_intact()
        return evolve(self, row=evolve(self.row or AccountRow(), **changes))

    def due_by(self, when: datetime) -> AccountState:
        """Return the state with an account that is due at ``when``, unless it is due earlier already."""
        due_at = None if self.row is None else self.row.due_at
        return self if due_at is not None and due_at <= when else self.with_row(due_at=when)


@frozen
class Decision(Generic[R_co]):
    """What becomes of an account.

    Attributes:
        state: the new state; the very object that was passed in if nothing changes.
        result: what the caller learns.
        events: the audit events that are stored with the change.
        durable: whether the change must survive a crash of the server even if the host lets commits be lost.
    """

    state: AccountState
    result: R_co
    events: tuple[AuditEvent, ...] = ()
    durable: bool = False
