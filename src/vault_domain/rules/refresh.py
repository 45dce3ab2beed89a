"""What `ensure_access_token` does with what it finds: a pure decision over an account, the time and the rules."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from attrs import frozen

from vault_domain.entities.account import TokenKind
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.refresh_state import AccountRecord, RefreshState
from vault_domain.entities.rotation_policy import Rotation, RotationKind
from vault_domain.entities.token import TokenInfo, TokenRef
from vault_domain.rules.connection import credential_of
from vault_domain.rules.freshness import Freshness, RefreshPolicy, freshness, is_usable

LONGEST_BACKOFF = timedelta(hours=1)


@frozen
class RefreshTiming:
    """How long the steps of a refresh may take.

    Attributes:
        deadline: the total time that a provider is given.
        quiescence: how long an unknown outcome is left alone under a strict rotation policy.
        commit_budget: the time for writing the answer down.
        slack: the time between the claim and the request; with less than the rest of the lease nothing is sent.
    """

    deadline: timedelta = timedelta(seconds=10)
    quiescence: timedelta = timedelta(seconds=60)
    commit_budget: timedelta = timedelta(seconds=5)
    slack: timedelta = timedelta(seconds=5)

    @property
    def lease(self) -> timedelta:
        """How long nobody else may attempt: at least deadline and commit budget."""
        return self.slack + self.deadline + self.commit_budget

    def __attrs_post_init__(self) -> None:
        if self.deadline <= timedelta(0) or min(self.commit_budget, self.slack, self.quiescence) < timedelta(0):
            raise InvalidInputError("the times of a refresh must be positive")


@frozen
class RefreshRule:
    """What is known of one provider.

    Attributes:
        spends: the kind of credential that its refresher takes.
        rotation: what a refresh does to it; see `effective_rotation`.
        timing: how long the steps may take.
    """

    spends: TokenKind
    rotation: Rotation
    timing: RefreshTiming

    @classmethod
    def of(cls, spends: TokenKind, rotation: Rotation, timing: RefreshTiming) -> RefreshRule:
        """Return the rule of a provider; a grace period too short to be of use is treated as none."""
        if rotation.kind is RotationKind.GRACE and timing.lease + timing.deadline >= rotation.grace_period:
            rotation = Rotation.strict()
        return cls(spends, rotation, timing)


@frozen
class Use:
    """Hand out the stored access token."""

    access: TokenInfo


@frozen
class Wait:
    """Somebody else is refreshing: look again until then."""

    until: datetime


@frozen
class Claim:
    """Claim the account and refresh it, spending this credential."""

    credential: TokenRef
    access: TokenRef | None
    seen_attempt: UUID | None


@frozen
class BackOff:
    """Not now; the provider may be asked again after this time."""

    retry_after: timedelta
    reason: str | None = None


@frozen
class Reauthorize:
    """Only the user can help."""

    reason: str | None


@frozen
class NoRefresher:
    """It could be refreshed, but the vault has no refresher for the provider."""


@frozen
class NothingStored:
    """There is no token to speak of."""


Decision = Use | Wait | Claim | BackOff | Reauthorize | NoRefresher | NothingStored


@frozen
class Demand:
    """Why a refresh is asked for.

    Attributes:
        forced: `refresh_account`: even if it is not due, and in spite of backoff and unknown outcomes.
        replaced: with `forced` or a rejected token: the access token that is not good enough.
    """

    forced: bool = False
    replaced: TokenRef | None = None


def decide(
    record: AccountRecord | None,
    now: datetime,
    policy: RefreshPolicy,
    rule: RefreshRule | None,
    demand: Demand = Demand(),
) -> Decision:
    """Decide what to do for a caller who needs an access token.

    Args:
        record: what is stored of the account; None where nothing is.
        now: the store's time.
        policy: when a token is due.
        rule: the provider's; None where there is no refresher for it.
        demand: what the caller wants beyond a usable token.
    """
    access = None if record is None else record.tokens.get(TokenKind.ACCESS_TOKEN)
    credential = None if record is None else credential_of(record, rule.spends if rule else None)
    if record is None or (access is None and credential is None):
        return NothingStored()
    wanted = demand.replaced is not None and access is not None and TokenRef.of(access) == demand.replaced
    good = None if access is None or wanted or not is_usable(access, now) else access
    if good is not None and (rule is None or freshness(good, now, policy) is Freshness.FRESH):
        return Use(good)
    if credential is None or not is_usable(credential, now):
        return Use(good) if good is not None else Reauthorize(_why(credential, access))
    if rule is None:
        return NoRefresher()
    return _may_attempt(record, credential, access, good, now, rule, demand)


def _may_attempt(
    record: AccountRecord,
    credential: TokenInfo,
    access: TokenInfo | None,
    good: TokenInfo | None,
    now: datetime,
    rule: RefreshRule,
    demand: Demand,
) -> Decision:
    claim = Claim(TokenRef.of(credential), None if access is None else TokenRef.of(access), record.refresh.attempt_id)
    state = record.refresh
    if not state.concerns(credential):
        return claim  # the state speaks of a credential that is no longer stored
    if state.lease_until is not None and state.lease_until > now:
        return Use(good) if good is not None else Wait(state.lease_until)
    if demand.forced:
        return claim
    pause = max(_backoff_left(state, now), timedelta(0))
    # As of the end of that pause: a grace period may be over by then.
    quiet = _quiescence_left(state, now + pause, rule, usable=good is not None)
    if not pause and quiet <= timedelta(0):
        return claim
    return Use(good) if good is not None else BackOff(pause + max(quiet, timedelta(0)), state.error_code)


def _backoff_left(state: RefreshState, now: datetime) -> timedelta:
    return timedelta(0) if state.next_attempt_at is None else state.next_attempt_at - now


def _quiescence_left(state: RefreshState, now: datetime, rule: RefreshRule, *, usable: bool) -> timedelta:
    """Return how long an unknown outcome forbids to present the credential again."""
    since = state.unknown_at(now)
    kind = rule.rotation.kind
    if since is None or kind is RotationKind.NON_ROTATING:
        return timedelta(0)
    grace_end = None if state.sent_at is None else state.sent_at + rule.rotation.grace_period
    if kind is RotationKind.GRACE and grace_end is not None and now + rule.timing.deadline < grace_end:
        return timedelta(0)
    if usable:
        return timedelta.max  # a strict credential is not risked while nobody needs it
    return since + rule.timing.quiescence - now


def _why(credential: TokenInfo | None, access: TokenInfo | None) -> str | None:
    if credential is not None and credential.error_code is not None:
        return credential.error_code
    return None if access is None else access.error_code


def backoff(failures: int, jitter: float, retry_after: timedelta | None) -> timedelta:
    """Return how long to wait after a failure.

    Args:
        failures: consecutive ones, this one included.
        jitter: 0 to 1; keeps many accounts from coming back at the same moment.
        retry_after: what the provider asked for, or None.
    """
    wanted = timedelta(seconds=2 ** min(failures - 1, 12)) * (0.5 + jitter / 2)
    return min(max(wanted, retry_after or timedelta(0)), LONGEST_BACKOFF)
