"""What is known of an account's refreshes, and of the account as a whole."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from attrs import frozen

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.token import TokenInfo


@frozen
class RefreshState:
    """An account's lease and backoff.

    It speaks of one credential, by id and generation: once another value is stored, it no longer holds.

    Attributes:
        credential_id: the credential that the latest attempt spends.
        credential_generation: its generation.
        attempt_id: the attempt under way, or None.
        lease_until: until when nobody else may attempt, UTC, or None.
        sent_at: when the latest attempt began, UTC, or None.
        failures: consecutive ones.
        next_attempt_at: not before then, UTC, or None.
        unknown_since: since when an attempt's outcome is unknown, UTC, or None.
        error_code: of the latest failure, or None.
    """

    credential_id: UUID | None = None
    credential_generation: int | None = None
    attempt_id: UUID | None = None
    lease_until: datetime | None = None
    sent_at: datetime | None = None
    failures: int = 0
    next_attempt_at: datetime | None = None
    unknown_since: datetime | None = None
    error_code: str | None = None

    def concerns(self, credential: TokenInfo | None) -> bool:
        """Whether this state speaks of the credential that is stored now."""
        return (
            credential is not None
            and credential.id == self.credential_id
            and credential.generation == self.credential_generation
        )

    def unknown_at(self, now: datetime) -> datetime | None:
        """Return since when an attempt's outcome is unknown, or None.

        A lease that ran out is such an outcome: its holder may have been answered, and its late commit still lands.
        """
        if self.lease_until is not None and self.lease_until <= now:
            return max(self.lease_until, self.unknown_since or self.lease_until)
        return self.unknown_since


@frozen
class AccountRecord:
    """An account as the store holds it.

    Attributes:
        account: which.
        tokens: what is known of its tokens, by kind.
        label: the text given with the last token set, or None.
        refresh: lease and backoff.
    """

    account: Account
    tokens: dict[TokenKind, TokenInfo]
    label: str | None = None
    refresh: RefreshState = RefreshState()
