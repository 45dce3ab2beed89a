"""The refresh state of an account, and the account with its tokens' metadata."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from attrs import evolve, frozen

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.causes import OUTAGES
from vault_domain.entities.token import TokenInfo

LONGEST_LEASE = timedelta(minutes=6)
"""No lease is longer, because the deadline of a refresh is 5 minutes at most and the rest of a lease lasts seconds."""

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@frozen
class RefreshState:
    """An account's lease, backoff, unknown outcome and run of refusals.

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
        refused_since: start of the run of refusals, UTC; None if there was no refusal since the last success. It is the
            time of the latest refusal minus `refused_for`. So it may be later than the first refusal, because long
            times between two refusals count only in part (`vault_domain.rules.refusals.refused_for`).
        refused_for: length of the run of refusals up to its latest refusal.
    """

    credential_value_id: UUID | None = None
    attempt_id: UUID | None = None
    lease_until: datetime | None = None
    sent_at: datetime | None = None
    failures: int = 0
    next_attempt_at: datetime | None = None
    unknown_since: datetime | None = None
    error_code: str | None = None
    refused_since: datetime | None = None
    refused_for: timedelta = timedelta(0)

    def concerns(self, credential: TokenInfo | None) -> bool:
        """Return whether this state concerns the credential that is stored now."""
        return credential is not None and credential.value_id == self.credential_value_id

    def code_of(self, credential: TokenInfo) -> str | None:
        """Return the code of the latest failure with the credential that is stored now, or None."""
        return self.error_code if self.concerns(credential) else None

    def latest_code(self, now: datetime) -> str | None:
        """Return the error code of the latest attempt; None if it has none, or if the attempt's lease ran out.

        The end of an attempt clears its lease, so a lease that ran out belongs to an attempt of unknown outcome.
        """
        is_unknown = self.lease_until is not None and self.leased_until(now) is None
        return None if is_unknown else self.error_code

    def was_refused(self, now: datetime) -> bool:
        """Return whether the latest ended attempt was refused, so that its failure counts for the run of refusals.

        The time of the latest refusal is `refused_since` plus `refused_for`. An attempt was not refused if it began
        after this refusal, or if its outcome became unknown after this refusal.

        `sent_at` counts only while `next_attempt_at` is set. Only a failure sets `next_attempt_at`, and the next claim
        clears it. While it is None, `sent_at` may belong to an attempt that is running, or whose lease was released.

        If an earlier attempt had an unknown outcome, `sent_at` stays the start of that attempt. In this case, only a
        code in `OUTAGES` shows that a later attempt, which has ended, was not refused.
        """
        if self.refused_since is None or self.error_code in OUTAGES:
            return False
        begun = self.sent_at if self.next_attempt_at is not None else None
        later = [moment for moment in (begun, self.unknown_at(now)) if moment is not None]
        return all(moment <= self.refused_since + self.refused_for for moment in later)

    def settled(self, *, keep_lease: bool) -> RefreshState:
        """Return the state after a success: no failure, no unknown outcome, no run of refusals."""
        return evolve(
            self,
            failures=0,
            next_attempt_at=None,
            unknown_since=None,
            error_code=None,
            refused_since=None,
            refused_for=timedelta(0),
            lease_until=self.lease_until if keep_lease else None,
        )

    def leased_until(self, now: datetime) -> datetime | None:
        """Return the end of a running lease, or None.

        A lease that ends more than `LONGEST_LEASE` from ``now`` counts as over, because it was taken before the
        clock was set back.
        """
        if self.lease_until is None or self.lease_until <= now or was_set_back(self.lease_until, now):
            return None
        return self.lease_until

    def unknown_at(self, now: datetime) -> datetime | None:
        """Return the time since which an attempt's outcome is unknown, or None; of several such times, the latest.

        A lease that ran out is an unknown outcome, because its holder may have got an answer and may still commit it.
        """
        times = [self.unknown_since]
        if self.leased_until(now) is None:
            times.append(self.lease_until)
        known = [_LONG_AGO if was_set_back(moment, now) else moment for moment in times if moment is not None]
        return max(known, default=None)


def was_set_back(moment: datetime, now: datetime) -> bool:
    """Return whether a stored time is so late that the clock must have been set back since it was written."""
    return moment - now > LONGEST_LEASE


@frozen
class AccountRecord:
    """An account with everything that is stored for it except its values.

    Attributes:
        account: the account.
        tokens: the metadata of its tokens, by kind.
        label: the label that was last given with a token set, or None.
        refresh: the refresh state: lease, backoff, unknown outcome and run of refusals.
    """

    account: Account
    tokens: dict[TokenKind, TokenInfo]
    label: str | None = None
    refresh: RefreshState = RefreshState()
