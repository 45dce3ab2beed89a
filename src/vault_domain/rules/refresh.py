"""Whether and when an account is refreshed: pure decisions over an account, the time and the policy.

`decide` serves callers and `decide_ahead` sweeps; `next_due` is the schedule that a store keeps for sweeps.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from attrs import evolve, frozen

from vault_domain.entities.account import TokenKind
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.refresh_state import AccountRecord, RefreshState
from vault_domain.entities.rotation_policy import Rotation, RotationKind
from vault_domain.entities.token import TokenInfo, TokenRef, TokenStatus
from vault_domain.rules.connection import credential_of
from vault_domain.rules.freshness import Freshness, RefreshPolicy, capped, freshness, is_usable

LONGEST_BACKOFF = timedelta(hours=1)

_NEVER = datetime.max.replace(tzinfo=UTC)


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
    held_until = _held_until(state, credential, now)
    if held_until is not None:
        return Use(good) if good is not None else Wait(held_until)
    when = now if demand.forced else _not_before(state, credential, good, now, rule)
    if when <= now:
        return claim
    return Use(good) if good is not None else BackOff(when - now, state.error_code)


def _held_until(state: RefreshState, credential: TokenInfo, now: datetime) -> datetime | None:
    """Return until when somebody else holds the lease on this credential, or None."""
    if state.lease_until is None or state.lease_until <= now or not state.concerns(credential):
        return None
    return state.lease_until


def _not_before(
    state: RefreshState, credential: TokenInfo, good: TokenInfo | None, now: datetime, rule: RefreshRule
) -> datetime:
    """Return the first time at which the credential may be presented: ``now``, or a later one.

    - A running lease is somebody else's attempt.
    - Backoff follows a failure.
    - An attempt whose outcome is unknown may have spent the credential. A provider that does not rotate takes it
      again, and so does one with a grace period, as long as that lasts.
    - Any other provider may revoke the grant when it sees the credential again. So it is presented after the
      quiescence, and not while the access token ``good`` can still be used.
    """
    if not state.concerns(credential):
        return now  # the state speaks of a credential that is no longer stored
    held_until = _held_until(state, credential, now)
    if held_until is not None:
        return held_until
    start = now if state.next_attempt_at is None else max(now, state.next_attempt_at)
    since = state.unknown_at(now)
    if since is None or rule.rotation.kind is RotationKind.NON_ROTATING:
        return start
    # As of the start: a grace period may be over when the backoff is.
    grace_end = None if state.sent_at is None else state.sent_at + rule.rotation.grace_period
    if rule.rotation.kind is RotationKind.GRACE and grace_end and start + rule.timing.deadline < grace_end:
        return start
    quiet = max(start, since + rule.timing.quiescence)
    if good is None:
        return quiet
    return _NEVER if good.expires_at is None else max(quiet, good.expires_at)


def decide_ahead(record: AccountRecord | None, now: datetime, policy: RefreshPolicy, rule: RefreshRule) -> Decision:
    """Decide for a sweep, which nobody waits for: refresh ahead only what a caller would soon have to wait for.

    It is what `decide` says for a caller with the longer horizon, for accounts that have a valid access token with an
    expiry. An account whose access token is missing or invalid waits until somebody asks for it.

    Args:
        record: what is stored of the account; None where nothing is.
        now: the store's time.
        policy: when a token is due.
        rule: the provider's.
    """
    access = _scheduled(record)
    if record is None or access is None:
        return NothingStored()
    return decide(record, now, evolve(policy, buffer=policy.horizon), rule)


def next_due(record: AccountRecord | None, now: datetime, policy: RefreshPolicy, rule: RefreshRule) -> datetime | None:
    """Return when `decide_ahead` says `Claim` next if nothing changes; None: never.

    Stores keep a time that is never later than this one, so that a sweep reads nothing but what is due.
    """
    access = _scheduled(record)
    credential = None if record is None else credential_of(record, rule.spends)
    if record is None or access is None or access.expires_at is None or credential is None:
        return None
    when = max(now, access.expires_at - capped(policy.horizon, access.lifetime))
    while is_usable(credential, when):
        good = access if is_usable(access, when) else None
        later = _not_before(record.refresh, credential, good, when, rule)
        if later <= when:
            return when
        when = later
    return None


def lead(kind: TokenKind, lifetime: timedelta | None, policy: RefreshPolicy) -> timedelta | None:
    """Return how long before the end of a new value its account is due for a sweep; None where it sets no such time.

    A store adds it up with the expiry that it stores. That may be too early, where more is known of the account, but
    never too late: a sweep judges an account by `decide_ahead` before anything is sent.

    Args:
        kind: the value's kind.
        lifetime: how long the value was issued for, where known.
        policy: when a token is due.
    """
    return capped(policy.horizon, lifetime) if kind is TokenKind.ACCESS_TOKEN else None


def _scheduled(record: AccountRecord | None) -> TokenInfo | None:
    """Return the access token if sweeps look after it: it is valid, or was before it expired, and has an expiry."""
    access = None if record is None else record.tokens.get(TokenKind.ACCESS_TOKEN)
    if access is None or access.status is not TokenStatus.VALID or access.expires_at is None:
        return None
    return access


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
