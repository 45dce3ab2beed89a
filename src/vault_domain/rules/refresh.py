"""Decides whether and when to refresh an account, by pure functions of account, time and policy.

`decide` serves callers, and `decide_ahead` serves sweeps. `next_due` computes the schedule that stores keep.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from attrs import field, frozen

from vault_domain.entities.account import TokenKind
from vault_domain.entities.causes import OUTCOME_UNKNOWN, UNREADABLE_ANSWER
from vault_domain.entities.rotation_policy import Rotation, RotationKind
from vault_domain.entities.token import TokenInfo, TokenRef
from vault_domain.rules.connection import credential_of
from vault_domain.rules.freshness import Freshness, freshness, is_presentable, is_usable
from vault_domain.rules.grace import may_repeat, since_first_request
from vault_domain.rules.pacing import RATE_LIMITED, spaced
from vault_domain.rules.refusals import LONGEST_BACKOFF, LONGEST_WAIT
from vault_domain.rules.schedule import last_chance, last_stored, sweep_time
from vault_domain.rules.timing import RefreshTiming
from vault_domain.rules.turns import settled_at
from vault_domain.rules.unread import UNREAD_HOLD

if TYPE_CHECKING:
    from vault_domain.entities.refresh_state import AccountRecord, RefreshState
    from vault_domain.rules.freshness import RefreshPolicy

_NEVER = datetime.max.replace(tzinfo=UTC)


@frozen
class RefreshRule:
    """The rule by which the accounts of one provider are refreshed.

    Attributes:
        spends: the kind of credential that the provider's refresher takes.
        rotation: the provider's rotation policy.
        timing: time limits of the steps.
        old_token_dies: whether a refresh ends the old access token at once. If True, a caller waits for a running
            attempt.
        spacing: the least time between two refreshes of one account, because the provider limits them.
    """

    spends: TokenKind
    rotation: Rotation
    timing: RefreshTiming
    old_token_dies: bool = False
    spacing: timedelta = timedelta(0)

    @classmethod
    def of(cls, spends: TokenKind, rotation: Rotation, timing: RefreshTiming) -> RefreshRule:
        """Return a provider's rule with the defaults of the other attributes."""
        return cls(spends, rotation, timing)


@frozen
class Use:
    """Hand out the stored access token."""

    access: TokenInfo


@frozen
class Wait:
    """Another attempt is refreshing the account; read the account repeatedly until the lease ends at ``until``."""

    until: datetime


@frozen
class Claim:
    """Claim the account and refresh it with this credential.

    Attributes:
        credential: the credential to present.
        access: the stored access token, or None.
        seen_attempt: id of the latest attempt at the time of the decision, or None.
        client: fingerprint of the client under which the credential was stored, or None.
        now: the store's time of the decision.
        error_code: error code of the latest failure with this credential, or None.
        stored_at: see `Attempt`.
        forced: whether the caller demands the attempt now, whatever waits are over.
        endpoint: see `Attempt`; added after the decision.
    """

    credential: TokenRef
    access: TokenRef | None
    seen_attempt: UUID | None
    client: bytes | None = field(default=None, eq=False)
    now: datetime | None = field(default=None, eq=False)
    error_code: str | None = field(default=None, eq=False)
    stored_at: datetime | None = field(default=None, eq=False)
    forced: bool = field(default=False, eq=False)
    endpoint: bytes | None = field(default=None, eq=False)


@frozen
class BackOff:
    """Do not call the provider now; the next attempt may begin after ``retry_after``.

    Attributes:
        retry_after: time until the next attempt may begin.
        reason: error code of the latest failure with this credential, `OUTCOME_UNKNOWN` or `RATE_LIMITED`; or None.
        refused: whether the latest failure was a definite refusal.
    """

    retry_after: timedelta
    reason: str | None = None
    refused: bool = False


@frozen
class Reauthorize:
    """The user must connect the account again."""

    reason: str | None


@frozen
class NoRefresher:
    """The account has a credential, but the vault has no refresher for its provider."""


@frozen
class NothingStored:
    """No access token and no credential are stored, or a sweep has nothing to do for the account (`decide_ahead`)."""


Decision = Use | Wait | Claim | BackOff | Reauthorize | NoRefresher | NothingStored


@frozen
class Demand:
    """What a caller demands in addition to a usable token.

    Attributes:
        forced: refresh despite backoff and unknown outcomes (`refresh_account`). This alone does not refresh a usable
            token that is not due, so `refresh_account` also sets `replaced`.
        replaced: an access token that the caller does not accept, because a resource rejected it or the caller wants a
            new one.
        early: refresh although the access token is fresh, because a sweep looks further ahead than callers
            (`sweep_time`).
    """

    forced: bool = False
    replaced: TokenRef | None = None
    early: bool = False


def decide(
    record: AccountRecord | None,
    now: datetime,
    policy: RefreshPolicy,
    rule: RefreshRule | None,
    demand: Demand = Demand(),
    store_since: datetime | None = None,
    turned_at: datetime | None = None,
) -> Decision:
    """Decide what to do for a caller who needs an access token.

    Args:
        record: the stored account; None if nothing is stored.
        now: the store's time.
        policy: when a token is due.
        rule: the provider's rule; None if there is no refresher for the provider.
        demand: what the caller demands in addition to a usable token.
        store_since: time since which holders of leases have been able to store their answers; see
            `Snapshot.undisturbed_since`.
        turned_at: time at which the store's timeline changed; see `Snapshot`.
    """
    access = None if record is None else record.tokens.get(TokenKind.ACCESS_TOKEN)
    credential = None if record is None else credential_of(record, rule.spends if rule else None)
    if record is None or (access is None and credential is None):
        return NothingStored()
    wanted = demand.replaced is not None and access is not None and TokenRef.of(access) == demand.replaced
    good = None if access is None or wanted or not is_usable(access, now) else access
    if rule is not None and rule.old_token_dies and (ends := _held_until(record.refresh, credential, now)) is not None:
        return Wait(ends)
    is_due = demand.early or (good is not None and freshness(good, now, policy) is not Freshness.FRESH)
    if good is not None and (rule is None or not is_due):
        return Use(good)
    if credential is None or not is_presentable(credential, now):
        return Use(good) if good is not None else Reauthorize(_why(credential, access))
    if rule is None:
        return NoRefresher()
    return _may_attempt(record, credential, access, good, now, policy, rule, demand, store_since, turned_at)


def _may_attempt(
    record: AccountRecord,
    credential: TokenInfo,
    access: TokenInfo | None,
    good: TokenInfo | None,
    now: datetime,
    policy: RefreshPolicy,
    rule: RefreshRule,
    demand: Demand,
    store_since: datetime | None,
    turned_at: datetime | None,
) -> Decision:
    state = record.refresh
    refs = TokenRef.of(credential), None if access is None else TokenRef.of(access)
    stored_at = last_stored(access, credential)
    claim = Claim(*refs, state.attempt_id, credential.client, now, state.code_of(credential), stored_at, demand.forced)
    held_until = _held_until(state, credential, now)
    if held_until is not None:
        return Use(good) if good is not None else Wait(held_until)
    when = now if demand.forced else _not_before(state, credential, good, now, policy, rule, store_since)
    when = max(when, settled_at(rule.rotation, rule.timing.hold, turned_at, now))
    turn = spaced(when, None if access is None else access.last_refreshed_at, rule.spacing)
    if turn <= now:
        return claim
    if good is not None:
        return Use(good)
    return BackOff(turn - now, RATE_LIMITED) if when <= now else _back_off(state, credential, turn, now, rule)


def _back_off(state: RefreshState, credential: TokenInfo, until: datetime, now: datetime, rule: RefreshRule) -> BackOff:
    if not state.concerns(credential):
        return BackOff(until - now)
    code, refused = state.latest_code(now), state.was_refused(now)
    if code is None and not refused and rule.rotation.kind is not RotationKind.NON_ROTATING:
        code = None if state.unknown_at(now) is None else OUTCOME_UNKNOWN
    return BackOff(until - now, code, refused=refused)


def _held_until(state: RefreshState, credential: TokenInfo | None, now: datetime) -> datetime | None:
    """Return the end of a running lease on this credential, or None."""
    return state.leased_until(now) if state.concerns(credential) else None


def _not_before(
    state: RefreshState,
    credential: TokenInfo,
    good: TokenInfo | None,
    now: datetime,
    policy: RefreshPolicy,
    rule: RefreshRule,
    store_since: datetime | None,
) -> datetime:
    """Return the earliest time at which the credential may be presented: ``now`` or later.

    - A running lease belongs to another attempt; wait for its end.
    - After a failure, wait for the end of the backoff.
    - After an unknown outcome, the provider may have consumed the credential. A provider that does not rotate accepts
      it again at any time, and a provider with a grace period accepts it until that period ends. Only a provider that
      does not rotate is asked before ``store_since``.
    - After an unknown outcome at a strict provider, or if the grace period is over, the provider may revoke the grant
      when it sees the credential again. So wait for the end of the quiescence, and until the usable access token
      ``good`` has expired or the credential is about to lapse.
    """
    if not state.concerns(credential):
        return now  # the state concerns a credential that is no longer stored
    held_until = _held_until(state, credential, now)
    if held_until is not None:
        return held_until
    start = now if state.next_attempt_at is None else max(now, state.next_attempt_at)
    longest = LONGEST_BACKOFF if state.refused_since is None else LONGEST_WAIT
    longest = UNREAD_HOLD if state.error_code == UNREADABLE_ANSWER else longest
    if start - now > longest:  # the clock was set back since the failure
        start = now
    since = state.unknown_at(now)
    if since is None or rule.rotation.kind is RotationKind.NON_ROTATING:
        return start
    # If the clock was set forward, the lease may only seem to be over, and its holder may get an answer. Then a second
    # answer to the same credential would be dropped, and the provider knows only the later one.
    start = max(start, store_since or start)
    # The attempt would present the credential again at ``start``, not ``now``. The grace period may end before
    # ``start``.
    if may_repeat(rule.rotation, since_first_request(state, now) + (start - now), rule.timing):
        return start
    # The quiescence gives time for the attempt with the unknown outcome to store its answer. So the quiescence does not
    # begin before the store is reachable.
    since = max(since, store_since or since)
    quiet = max(start, since + rule.timing.quiescence)
    if good is None:
        return quiet
    ends = (good.expires_at, last_chance(good, credential, policy))
    return max(quiet, min((at for at in ends if at is not None), default=_NEVER))


def decide_ahead(
    record: AccountRecord | None,
    now: datetime,
    policy: RefreshPolicy,
    rule: RefreshRule,
    store_since: datetime | None = None,
    turned_at: datetime | None = None,
) -> Decision:
    """Decide what a sweep does with an account, so that callers rarely have to wait for a refresh.

    For an account whose access token is invalid, or valid with an expiry, this function decides as `decide` would with
    the horizon in place of the shorter buffer. Sweeps also refresh an account before its refresh token lapses
    unused (`idle_due`), even if the access token has no expiry, or if there is no access token. Other accounts are
    refreshed only when a caller asks for their access token.

    Args:
        record: the stored account; None if nothing is stored.
        now: the store's time.
        policy: when a token is due.
        rule: the provider's rule.
        store_since: time since which holders of leases have been able to store their answers; see
            `Snapshot.undisturbed_since`.
        turned_at: time at which the store's timeline changed; see `Snapshot`.
    """
    if record is None:
        return NothingStored()
    access = record.tokens.get(TokenKind.ACCESS_TOKEN)
    due = sweep_time(access, credential_of(record, rule.spends), policy)
    if due is None or (access is None and due > now):
        return NothingStored()
    demand = Demand(early=due <= now)
    return decide(record, now, policy, rule, demand, store_since, turned_at)


def next_due(
    record: AccountRecord | None,
    now: datetime,
    policy: RefreshPolicy,
    rule: RefreshRule,
    store_since: datetime | None = None,
    turned_at: datetime | None = None,
) -> datetime | None:
    """Return the next time at which `decide_ahead` returns `Claim` if nothing changes; None: never.

    Stores keep a ``due_at``, so that a sweep reads due accounts only. ``due_at`` is never later than this time, so a
    sweep misses no account.
    """
    credential = None if record is None else credential_of(record, rule.spends)
    if record is None or credential is None:
        return None
    access = record.tokens.get(TokenKind.ACCESS_TOKEN)
    due = sweep_time(access, credential, policy)
    if due is None:
        return None
    when = max(now, due)
    while when < _NEVER and is_presentable(credential, when):
        good = access if access is not None and is_usable(access, when) else None
        later = _not_before(record.refresh, credential, good, when, policy, rule, store_since)
        later = max(later, settled_at(rule.rotation, rule.timing.hold, turned_at, when))
        later = spaced(later, None if access is None else access.last_refreshed_at, rule.spacing)
        if later <= when:
            return when
        when = later
    return None


def _why(credential: TokenInfo | None, access: TokenInfo | None) -> str | None:
    if credential is not None and credential.error_code is not None:
        return credential.error_code
    return None if access is None else access.error_code
