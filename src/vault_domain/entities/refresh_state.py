"""The refresh state of an account, and the account with its tokens' metadata."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from attrs import frozen

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.token import TokenInfo


@frozen
class RefreshState:
    """An account's lease and backoff.

    The state concerns one credential, identified by its value id, and applies only while that value is stored.

    Attributes:
        credential_value_id: value id of the credential that the latest attempt presents.
        attempt_id: id of the latest attempt, or None.
        lease_until: end of the lease, UTC, or None; no other attempt may begin before it.
        sent_at: start of the latest attempt, or, after unknown outcomes, of the first attempt with an unknown outcome;
            UTC, or None.
        failures: number of consecutive failures.
        next_attempt_at: end of the backoff, UTC, or None.
        unknown_since: time since which an attempt's outcome is unknown, UTC, or None.
        error_code: error code of the latest failure, or None.
    """

    credential_value_id: UUID | None = None
    attempt_id: UUID | None = None
    lease_until: datetime | None = None
    sent_at: datetime | None = None
    failures: int = 0
    next_attempt_at: datetime | None = None
    unknown_since: datetime | None = None
    error_code: str | None = None

    def concerns(self, credential: TokenInfo | None) -> bool:
        """Return whether this state concerns the credential that is stored now."""
        return credential is not None and credential.value_id == self.credential_value_id

    def unknown_at(self, now: datetime) -> datetime | None:
        """Return the time since which an attempt's outcome is unknown, or None.

        A lease that ran out is an unknown outcome, because its holder may have got an answer and may still commit it.
        """
        if self.lease_until is not None and self.lease_until <= now:
            return max(self.lease_until, self.unknown_since or self.lease_until)
        return self.unknown_since


@frozen
class AccountRecord:
    """An account with everything that is stored for it except its values.

    Attributes:
        account: the account.
        tokens: the metadata of its tokens, by kind.
        label: the label given with the last token set, or None.
        refresh: the refresh state: lease, backoff and unknown outcome.
    """

    account: Account
    tokens: dict[TokenKind, TokenInfo]
    label: str | None = None
    refresh: RefreshState = RefreshState()
