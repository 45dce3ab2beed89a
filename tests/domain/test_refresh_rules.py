"""Laws that every decision about a refresh obeys."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from attrs import evolve
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.refresh_state import AccountRecord, RefreshState, was_set_back
from vault_domain.entities.rotation_policy import Rotation, RotationKind
from vault_domain.entities.token import TokenInfo, TokenRef, TokenStatus
from vault_domain.rules.connection import credential_of
from vault_domain.rules.freshness import Freshness, RefreshPolicy, fresh_for, freshness, is_presentable, is_usable
from vault_domain.rules.refresh import (
    LONGEST_BACKOFF,
    BackOff,
    Claim,
    Demand,
    NoRefresher,
    NothingStored,
    Reauthorize,
    RefreshRule,
    Use,
    Wait,
    decide,
    decide_ahead,
    next_due,
)
from vault_domain.rules.refusals import LONGEST_ASKED, backoff
from vault_domain.rules.schedule import lead, longest_wait
from vault_domain.rules.timing import RefreshTiming
from vault_domain.rules.unread import UNREAD_HOLD

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ACCOUNT = Account("t1", "acme", "ann")
POLICY = RefreshPolicy()
TIMING = RefreshTiming()
IDS = [UUID(int=number) for number in range(1, 5)]
VALUE_IDS = {(id_, generation): UUID(int=100 * generation + id_) for id_ in range(4) for generation in (1, 2)}


def between(first, last):
    """Draw a time that is some seconds from now."""
    return st.integers(first, last).map(lambda seconds: NOW + seconds * SECOND)


moments = between(-4000, 4000)
optional_moments = st.none() | moments
# The times of a state that was stored before the clock was set back may be later, and are not drawn where a law needs
# times that are right.
RIGHT_TIMES = {
    **dict.fromkeys(["lease_until", "sent_at", "unknown_since"], st.none() | between(-4000, 360)),
    "next_attempt_at": st.none() | between(-4000, 3600),
}


def token(
    kind=TokenKind.ACCESS_TOKEN, *, expires_at=None, status=TokenStatus.VALID, lifetime=None, generation=1, id_=0
):
    return TokenInfo(
        id=IDS[id_],
        key=ACCOUNT.key(kind),
        status=status,
        error_code=None,
        expires_at=expires_at,
        scopes=(),
        generation=generation,
        last_used_at=None,
        last_refreshed_at=None,
        lifetime=lifetime,
        created_at=NOW - timedelta(days=1),
        updated_at=NOW - timedelta(hours=1),
        value_id=VALUE_IDS[id_, generation],
    )


def record(*tokens, **state):
    return AccountRecord(ACCOUNT, {each.key.kind: each for each in tokens}, refresh=RefreshState(**state))


def state_of(credential, **state):
    return {"credential_value_id": credential.value_id, **state}


REFRESH = token(TokenKind.REFRESH_TOKEN, id_=1)
EXPIRED = token(expires_at=NOW - SECOND)
DUE = token(expires_at=NOW + 60 * SECOND)
FRESH = token(expires_at=NOW + timedelta(hours=1))
STRICT = RefreshRule(TokenKind.REFRESH_TOKEN, Rotation.strict(), TIMING)
GRACE = RefreshRule(TokenKind.REFRESH_TOKEN, Rotation.grace(60), TIMING)
STEADY = RefreshRule(TokenKind.REFRESH_TOKEN, Rotation.non_rotating(), TIMING)
FORCED = Demand(forced=True, replaced=TokenRef.of(EXPIRED))


@st.composite
def tokens(draw, kind):
    # VALID is listed twice, so that more of the drawn tokens are usable.
    return token(
        kind,
        expires_at=draw(optional_moments),
        status=draw(st.sampled_from([TokenStatus.VALID, TokenStatus.VALID, TokenStatus.UNKNOWN, TokenStatus.INVALID])),
        lifetime=draw(st.none() | st.integers(1, 7200).map(lambda seconds: seconds * SECOND)),
        generation=draw(st.integers(1, 2)),
        id_=draw(st.integers(0, 1)),
    )


@st.composite
def states(draw, credential, owns, times):
    """Draw a refresh state, some times as given; with ``owns``, or in three of four cases, it is the credential's."""
    own = credential is not None and (owns or draw(st.integers(0, 3)) > 0)
    return RefreshState(
        credential_value_id=credential.value_id if own else draw(st.none() | st.sampled_from(list(VALUE_IDS.values()))),
        attempt_id=draw(st.none() | st.just(IDS[3])),
        lease_until=draw(times.get("lease_until", optional_moments)),
        sent_at=draw(times.get("sent_at", optional_moments)),
        failures=draw(st.integers(0, 3)),
        next_attempt_at=draw(times.get("next_attempt_at", optional_moments)),
        unknown_since=draw(times.get("unknown_since", optional_moments)),
        error_code=draw(st.none() | st.just("server_error")),
    )


rules = st.builds(
    lambda spends, rotation: RefreshRule.of(spends, rotation, TIMING),
    st.sampled_from([TokenKind.REFRESH_TOKEN, TokenKind.API_KEY, TokenKind.ACCESS_TOKEN]),
    st.just(Rotation.strict()) | st.just(Rotation.non_rotating()) | st.integers(1, 3600).map(Rotation.grace),
)


ungraced = rules.filter(lambda rule: rule.rotation.kind is not RotationKind.GRACE)


@st.composite
def situations(draw, rule=rules, *, owns=False, **times):
    """What is stored, and the rule of its provider; with ``owns``, a credential and a state that concerns it."""
    known = draw(rule)
    kinds = draw(st.sets(st.sampled_from(TokenKind), min_size=1))
    if owns or draw(st.integers(0, 4)):
        kinds = kinds | {known.spends}
    stored = {kind: draw(tokens(kind)) for kind in sorted(kinds)}
    return AccountRecord(ACCOUNT, stored, refresh=draw(states(stored.get(known.spends), owns, times))), known


@st.composite
def demands(draw, *, may_force=True):
    replaced = draw(st.none() | st.tuples(st.integers(0, 1), st.integers(1, 2)))
    ref = None if replaced is None else TokenRef.of(token(id_=replaced[0], generation=replaced[1]))
    return Demand(forced=may_force and draw(st.booleans()), replaced=ref)


# Many situations do not meet the assumptions of a law, so hypothesis has to filter out a lot.
law = settings(
    max_examples=30, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow], deadline=None
)


# What must hold whatever is stored


@law
@given(situations(owns=True, lease_until=between(1, 360)), demands())
def test_a_lease_on_the_same_credential_is_never_overtaken(situation, demand):
    stored, rule = situation
    assert stored.refresh.leased_until(NOW) is not None
    assert not isinstance(decide(stored, NOW, POLICY, rule, demand), Claim)


@law
@given(situations(), demands())
def test_a_claim_spends_what_is_stored_and_usable(situation, demand):
    stored, rule = situation
    decision = decide(stored, NOW, POLICY, rule, demand)
    assume(isinstance(decision, Claim))
    credential, access = stored.tokens[rule.spends], stored.tokens.get(TokenKind.ACCESS_TOKEN)
    assert decision.credential == TokenRef.of(credential)
    assert is_presentable(credential, NOW)
    assert decision.access == (None if access is None else TokenRef.of(access))
    assert decision.seen_attempt == stored.refresh.attempt_id


@law
@given(situations(), demands(), st.booleans())
def test_what_is_handed_out_is_usable_and_not_what_was_refused(situation, demand, known):
    stored, rule = situation
    decision = decide(stored, NOW, POLICY, rule if known else None, demand)
    assume(isinstance(decision, Use))
    assert decision.access is stored.tokens[TokenKind.ACCESS_TOKEN]
    assert is_usable(decision.access, NOW)
    assert TokenRef.of(decision.access) != demand.replaced


@law
@given(situations())
def test_a_fresh_token_never_leads_to_a_claim(situation):
    stored, rule = situation
    access = stored.tokens.get(TokenKind.ACCESS_TOKEN)
    assume(access is not None)
    assume(freshness(access, NOW, POLICY) is Freshness.FRESH)
    assert decide(stored, NOW, POLICY, rule) == Use(access)


@law
@given(situations(), demands())
def test_state_about_another_credential_counts_for_nothing(situation, demand):
    stored, rule = situation
    stored = evolve(stored, refresh=evolve(stored.refresh, credential_value_id=UUID(int=999)))
    forgotten = evolve(stored, refresh=RefreshState(attempt_id=stored.refresh.attempt_id))
    assert decide(stored, NOW, POLICY, rule, demand) == decide(forgotten, NOW, POLICY, rule, demand)


@law
@given(situations(), demands())
def test_whoever_can_be_served_is_served(situation, demand):
    """A usable token is never withheld because of a lease, backoff or an unknown outcome."""
    stored, rule = situation
    access = stored.tokens.get(TokenKind.ACCESS_TOKEN)
    assume(access is not None)
    assume(is_usable(access, NOW))
    assume(TokenRef.of(access) != demand.replaced)
    assert isinstance(decide(stored, NOW, POLICY, rule, demand), (Use, Claim))


def was_set_back_of(state):
    """Return whether the state is from before the clock was set back; laws about later times do not hold then."""
    moments = (state.lease_until, state.unknown_since, state.sent_at)
    is_early = state.next_attempt_at is None or state.next_attempt_at - NOW <= LONGEST_BACKOFF
    return not is_early or any(was_set_back(moment, NOW) for moment in moments if moment is not None)


@law
@given(situations(), demands())
def test_waits_have_an_end(situation, demand):
    stored, rule = situation
    decision = decide(stored, NOW, POLICY, rule, demand)
    if isinstance(decision, Wait):
        assert decision.until > NOW
    if isinstance(decision, BackOff) and not was_set_back_of(stored.refresh):
        assert timedelta(0) < decision.retry_after < timedelta(days=1)
        later = NOW + decision.retry_after
        assert not isinstance(decide(stored, later, POLICY, rule, demand), (BackOff, Wait))


KEY_ENDS_FIRST = record(token(expires_at=NOW + 2 * SECOND), token(TokenKind.API_KEY, expires_at=NOW + SECOND, id_=1))


@law
@given(situations(ungraced, **RIGHT_TIMES), st.integers(0, 4000))
@example((KEY_ENDS_FIRST, evolve(STRICT, spends=TokenKind.API_KEY)), 1)
def test_what_may_be_attempted_may_be_attempted_later(situation, seconds):
    """If an attempt may begin now, no later time makes it wait, unless the credential ends before the access token.

    Grace periods are left out, because they end.
    """
    stored, rule = situation
    assert not was_set_back_of(stored.refresh)
    assume(isinstance(decide(stored, NOW, POLICY, rule), Claim))
    moment = NOW + seconds * SECOND
    later = decide(stored, moment, POLICY, rule)
    if isinstance(later, Use):
        assert not is_usable(credential_of(stored, rule.spends), moment)
    else:
        assert isinstance(later, (Claim, Reauthorize))


# What a strict provider asks for


@law
@given(
    situations(st.just(STRICT), owns=True, unknown_since=moments)
    | situations(st.just(STRICT), owns=True, lease_until=between(-4000, 0)),
    demands(may_force=False),
)
def test_strict_is_not_presented_again_before_quiescence_nor_while_the_token_serves(situation, demand):
    stored, _ = situation
    since = stored.refresh.unknown_at(NOW)
    decision = decide(stored, NOW, POLICY, STRICT, demand)
    if isinstance(decision, Claim):
        access = stored.tokens.get(TokenKind.ACCESS_TOKEN)
        assert since + TIMING.quiescence <= NOW
        assert access is None or not is_usable(access, NOW) or TokenRef.of(access) == demand.replaced


@pytest.mark.parametrize("age", [59, 60, 61])
@pytest.mark.parametrize("how", ["said", "lease over"])
def test_strict_after_quiescence(age, how):
    since = NOW - age * SECOND
    unknown = {"unknown_since": since} if how == "said" else {"lease_until": since}
    stored = record(EXPIRED, REFRESH, **state_of(REFRESH, **unknown))
    expected = Claim if age >= 60 else BackOff
    assert isinstance(decide(stored, NOW, POLICY, STRICT), expected)
    assert isinstance(decide(stored, NOW, POLICY, STRICT, FORCED), Claim)


def test_an_attempt_whose_lease_ran_out_is_not_explained_by_an_earlier_failure():
    failed = {"failures": 1, "error_code": "client_mismatch", "lease_until": NOW}
    stored = record(EXPIRED, REFRESH, **state_of(REFRESH, **failed))
    assert decide(stored, NOW, POLICY, STRICT) == BackOff(TIMING.quiescence, "outcome_unknown")


def test_an_unknown_outcome_counts_from_the_later_of_both():
    unknown = {"lease_until": NOW - 10 * SECOND, "unknown_since": NOW - 100 * SECOND}
    decision = decide(record(EXPIRED, REFRESH, **state_of(REFRESH, **unknown)), NOW, POLICY, STRICT)
    assert decision == BackOff(50 * SECOND, "outcome_unknown")


@pytest.mark.parametrize(("since", "waits"), [(10, 50), (60, 0), (200, 0), (None, 0)])
def test_an_unknown_outcome_counts_from_the_time_when_the_store_was_back(since, waits):
    """Nobody could store an answer before that. The same rule holds for callers, sweeps and the schedule."""
    expired = token(expires_at=NOW - timedelta(hours=1))
    stored = record(expired, REFRESH, **state_of(REFRESH, unknown_since=NOW - 100 * SECOND))
    back = None if since is None else NOW - since * SECOND
    due = next_due(stored, NOW, POLICY, STRICT, back)
    assert due == NOW + waits * SECOND
    for decision in (
        decide(stored, NOW, POLICY, STRICT, Demand(), back),
        decide_ahead(stored, NOW, POLICY, STRICT, back),
    ):
        assert decision == BackOff(waits * SECOND, "outcome_unknown") if waits else isinstance(decision, Claim)
    for rule in (GRACE, STEADY):
        known = evolve(stored, refresh=evolve(stored.refresh, sent_at=NOW - SECOND))
        assert isinstance(decide(known, NOW, POLICY, rule, Demand(), back), Claim)
    assert isinstance(decide(stored, NOW, POLICY, STRICT, FORCED, back), Claim)


def test_strict_while_the_token_serves():
    stored = record(DUE, REFRESH, **state_of(REFRESH, unknown_since=NOW - timedelta(days=1)))
    assert decide(stored, NOW, POLICY, STRICT) == Use(DUE)
    assert isinstance(decide(stored, NOW + 61 * SECOND, POLICY, STRICT), Claim)


# The grace period and providers that do not rotate


@given(st.integers(1, 600), st.integers(0, 600), st.integers(0, 60))
@example(60, 49, 0)
@example(60, 50, 0)
def test_grace_lasts_until_a_whole_deadline_no_longer_fits(grace, sent_ago, unknown_ago):
    assume(unknown_ago <= sent_ago)
    rule = RefreshRule.of(TokenKind.REFRESH_TOKEN, Rotation.grace(grace), TIMING)
    state = {"sent_at": NOW - sent_ago * SECOND, "unknown_since": NOW - unknown_ago * SECOND}
    decision = decide(record(EXPIRED, REFRESH, **state_of(REFRESH, **state)), NOW, POLICY, rule)
    fits = sent_ago + TIMING.deadline.total_seconds() < grace
    assert isinstance(decision, Claim) == (fits or unknown_ago >= TIMING.quiescence.total_seconds())


def test_a_lease_that_a_step_of_the_clock_ended_is_waited_for_in_the_grace_period_too():
    """Its holder may get an answer; of two answers to one credential, the store keeps the one that comes first."""
    rule = RefreshRule.of(TokenKind.REFRESH_TOKEN, Rotation.grace(600), TIMING)
    state = {"sent_at": NOW - 61 * SECOND, "lease_until": NOW - 41 * SECOND}
    stored, since = record(EXPIRED, REFRESH, **state_of(REFRESH, **state)), NOW + 19 * SECOND
    assert isinstance(decide(stored, NOW, POLICY, rule), Claim)
    assert decide(stored, NOW, POLICY, rule, store_since=since) == BackOff(19 * SECOND, "outcome_unknown")
    assert next_due(stored, NOW, POLICY, rule, since) == since
    assert isinstance(decide(stored, since, POLICY, rule, store_since=since), Claim)
    assert isinstance(decide(stored, NOW, POLICY, STEADY, store_since=since), Claim)


@law
@given(situations(st.just(RefreshRule.of(TokenKind.REFRESH_TOKEN, Rotation.non_rotating(), TIMING))), demands())
def test_without_rotation_only_lease_and_backoff_count(situation, demand):
    stored, rule = situation
    known = evolve(stored, refresh=evolve(stored.refresh, unknown_since=None, sent_at=None))
    assert decide(stored, NOW, POLICY, rule, demand) == decide(known, NOW, POLICY, rule, demand)


# Backoff


@law
@given(situations(owns=True, **RIGHT_TIMES | {"next_attempt_at": between(1, 3600)}), demands(may_force=False))
def test_backoff_is_respected_unless_forced(situation, demand):
    stored, rule = situation
    assert not was_set_back_of(stored.refresh)
    assert not isinstance(decide(stored, NOW, POLICY, rule, demand), Claim)


def test_backoff_and_its_reason_reach_the_caller():
    state = state_of(REFRESH, next_attempt_at=NOW + 7 * SECOND, failures=1, error_code="temporarily_unavailable")
    stored = record(EXPIRED, REFRESH, **state)
    assert decide(stored, NOW, POLICY, STRICT) == BackOff(7 * SECOND, "temporarily_unavailable")
    assert isinstance(decide(stored, NOW, POLICY, STRICT, FORCED), Claim)
    assert decide(record(DUE, REFRESH, **state), NOW, POLICY, STRICT) == Use(DUE)


@pytest.mark.parametrize("code", [None, "invalid_request"])
def test_a_refusal_and_its_reason_reach_the_caller(code):
    state = state_of(REFRESH, next_attempt_at=NOW + 7 * SECOND, failures=1, error_code=code)
    state |= {"refused_since": NOW - 8 * SECOND, "sent_at": NOW - 9 * SECOND}
    refused = BackOff(7 * SECOND, code, refused=True)
    assert decide(record(EXPIRED, REFRESH, **state), NOW, POLICY, STRICT) == refused
    failed = record(EXPIRED, REFRESH, **state | {"sent_at": NOW - 7 * SECOND})
    assert decide(failed, NOW, POLICY, STRICT) == evolve(refused, refused=False)


def test_a_wait_has_no_reason_of_an_earlier_credential():
    state = state_of(REFRESH, failures=1, error_code="invalid_request", refused_since=NOW)
    replaced = evolve(REFRESH, value_id=UUID(int=99))
    decision = decide(record(EXPIRED, replaced, **state), NOW, POLICY, STRICT, turned_at=NOW)
    assert decision == BackOff(TIMING.hold)


def test_the_limit_of_one_accounts_requests_is_the_reason_once_the_backoff_is_over():
    access = evolve(EXPIRED, last_refreshed_at=NOW - 20 * SECOND)
    state = state_of(REFRESH, next_attempt_at=NOW + 7 * SECOND, failures=1, error_code="server_error")
    rule = evolve(STEADY, spacing=63 * SECOND)
    assert decide(record(access, REFRESH, **state), NOW, POLICY, rule) == BackOff(43 * SECOND, "server_error")
    decision = decide(record(access, REFRESH, **state), NOW + 7 * SECOND, POLICY, rule)
    assert decision == BackOff(36 * SECOND, "rate_limited")


@given(st.integers(1, 1000), st.floats(0, 1), st.none() | st.integers(-5, 10**6).map(lambda seconds: seconds * SECOND))
def test_backoff_is_between_half_a_second_and_an_hour_and_as_long_as_asked_up_to_five_minutes(failures, jitter, asked):
    wait = backoff(failures, jitter, asked)
    assert timedelta(seconds=0.5) <= wait <= LONGEST_BACKOFF
    assert wait >= min(asked or wait, LONGEST_ASKED)
    assert wait <= backoff(failures + 1, 1.0, asked)
    assert backoff(1, jitter, None) <= SECOND


def test_what_a_provider_asks_for_makes_a_backoff_longer_only():
    assert [backoff(5, 1.0, asked * SECOND) for asked in (1, 16, 17)] == [16 * SECOND, 16 * SECOND, 17 * SECOND]


def test_backoff_doubles():
    assert [backoff(count, 1.0, None).total_seconds() for count in (1, 2, 3, 11, 12, 13, 999)] == [
        1, 2, 4, 1024, 2048, 3600, 3600,
    ]  # fmt: skip


# The schedule of sweeps


WATCHED = [NOW + seconds * SECOND for seconds in range(0, 9000, 90)]


EXCHANGING = RefreshPolicy(exchanging=frozenset({"acme"}))
IDLE = RefreshPolicy(idle_lifetimes={"acme": timedelta(hours=31)})
"""A grant that was stored a day ago is due in 48 minutes."""


@law
@given(situations(), st.sampled_from([POLICY, IDLE]))
def test_the_schedule_says_when_a_sweep_refreshes_next(situation, policy):
    """A sweep refreshes at the scheduled time and not before it, and never if no time is scheduled."""
    stored, rule = situation
    assume(not was_set_back_of(stored.refresh))
    due = next_due(stored, NOW, policy, rule)
    assert due is None or due >= NOW
    for moment in [at for at in WATCHED if due is None or at < due]:
        assert not isinstance(decide_ahead(stored, moment, policy, rule), Claim)
    if due is not None:
        assert isinstance(decide_ahead(stored, due, policy, rule), Claim)


@pytest.mark.parametrize("expires_at", [None, NOW + timedelta(days=9)])
def test_a_grant_is_refreshed_before_its_refresh_token_lapses_unused(expires_at):
    due = NOW + timedelta(minutes=48)
    stored = record(token(expires_at=expires_at), REFRESH)
    assert next_due(stored, NOW, IDLE, STRICT) == due
    assert decide_ahead(stored, due - SECOND, IDLE, STRICT) == Use(stored.tokens[TokenKind.ACCESS_TOKEN])
    assert isinstance(decide_ahead(stored, due, IDLE, STRICT), Claim)
    assert next_due(stored, due + SECOND, IDLE, STRICT) == due + SECOND
    assert decide(stored, due, IDLE, STRICT) == Use(stored.tokens[TokenKind.ACCESS_TOKEN])


@pytest.mark.parametrize("rule", [STRICT, STEADY])
def test_a_grant_without_an_access_token_is_refreshed_before_its_refresh_token_lapses_unused(rule):
    due = NOW + timedelta(minutes=48)
    stored = record(REFRESH)
    assert next_due(stored, NOW, IDLE, rule) == due
    assert decide_ahead(stored, due - SECOND, IDLE, rule) == NothingStored()
    assert isinstance(decide_ahead(stored, due, IDLE, rule), Claim)
    assert next_due(stored, due + SECOND, IDLE, rule) == due + SECOND
    refreshed = record(evolve(REFRESH, last_refreshed_at=NOW))
    assert next_due(refreshed, NOW, IDLE, rule) == NOW + timedelta(hours=31) * 4 / 5


def test_a_grant_without_an_access_token_is_left_alone_if_its_credential_does_not_lapse():
    key = token(TokenKind.API_KEY, id_=1)
    keyed = evolve(STRICT, spends=TokenKind.API_KEY)
    for stored, policy, rule in ((record(REFRESH), POLICY, STRICT), (record(key), IDLE, keyed)):
        assert next_due(stored, NOW, policy, rule) is None
        assert decide_ahead(stored, NOW + timedelta(days=9), policy, rule) == NothingStored()


def test_without_an_access_token_an_unknown_outcome_is_repeated_after_the_quiescence():
    """There is no access token to lose, so a sweep does not wait until the refresh token is about to lapse."""
    due = NOW + timedelta(minutes=48)
    stored = record(REFRESH, **state_of(REFRESH, unknown_since=due, sent_at=due))
    assert next_due(stored, due, IDLE, STRICT) == due + TIMING.quiescence
    assert isinstance(decide_ahead(stored, due + TIMING.quiescence, IDLE, STRICT), Claim)


@pytest.mark.parametrize("provider", ["acme", "other"])
def test_a_new_value_of_a_grant_that_lapses_unused_sets_a_time(provider):
    limit = timedelta(hours=31) * 4 / 5
    waits = {TokenKind.ACCESS_TOKEN: limit, TokenKind.REFRESH_TOKEN: timedelta(0)} if provider == "acme" else {}
    for kind in TokenKind:
        assert longest_wait(kind, provider, IDLE) == waits.get(kind)


def test_the_idle_life_begins_again_with_each_refresh():
    for refreshed in (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN):
        tokens = [token(), REFRESH]
        new = [evolve(each, last_refreshed_at=NOW) if each.key.kind is refreshed else each for each in tokens]
        assert next_due(record(*new), NOW, IDLE, STEADY) == NOW + timedelta(hours=31) * 4 / 5


@pytest.mark.parametrize(
    ("expires_in", "idle", "due_in"),
    [
        (None, None, None),
        (None, timedelta(hours=31), timedelta(hours=3, minutes=54)),  # it was stored a day ago
        (timedelta(hours=9), timedelta(hours=31), timedelta(hours=3, minutes=54)),
        (timedelta(hours=2), timedelta(hours=31), timedelta(hours=2)),
    ],
)
def test_after_an_unknown_outcome_a_strict_grant_is_left_alone_until_it_would_lapse(expires_in, idle, due_in):
    """The provider may have consumed the refresh token, so the token is spent only if the grant would end anyway."""
    policy = POLICY if idle is None else RefreshPolicy(idle_lifetimes={"acme": idle})
    stored = record(
        token(expires_at=None if expires_in is None else NOW + expires_in),
        REFRESH,
        **state_of(REFRESH, unknown_since=NOW, sent_at=NOW),
    )
    due = None if due_in is None else NOW + due_in
    assert next_due(stored, NOW + timedelta(hours=1), policy, STRICT) == due
    if due is not None:
        assert isinstance(decide_ahead(stored, due - SECOND, policy, STRICT), Use)
        assert isinstance(decide_ahead(stored, due, policy, STRICT), Claim)
    if idle is not None and expires_in is None:
        assert next_due(stored, NOW + timedelta(hours=1), policy, STEADY) == NOW + timedelta(hours=1)


@law
@given(situations())
def test_without_an_idle_limit_a_sweep_refreshes_only_a_valid_access_token_with_an_expiry_or_an_invalid_one(situation):
    stored, rule = situation
    assume(not _is_swept(stored))
    assert not isinstance(decide_ahead(stored, NOW, POLICY, rule), Claim)
    assert next_due(stored, NOW, POLICY, rule) is None


@law
@given(situations())
def test_a_sweep_refreshes_what_a_caller_would_soon_wait_for(situation):
    """A sweep decides as a caller with the longer horizon would, by the same grace, quiescence, backoff and lease."""
    stored, rule = situation
    assume(_is_swept(stored))
    patient = RefreshPolicy(POLICY.horizon)
    assert decide_ahead(stored, NOW, POLICY, rule) == decide(stored, NOW, patient, rule)


def _is_swept(stored):
    access = stored.tokens.get(TokenKind.ACCESS_TOKEN)
    if access is None or access.status is TokenStatus.UNKNOWN:
        return False
    return access.status is TokenStatus.INVALID or access.expires_at is not None


@pytest.mark.parametrize("expires_at", [None, NOW + timedelta(days=1)])
def test_a_rejected_access_token_is_due_now(expires_at):
    stored = record(token(status=TokenStatus.INVALID, expires_at=expires_at), REFRESH)
    assert next_due(stored, NOW, POLICY, STRICT) == NOW
    assert isinstance(decide_ahead(stored, NOW, POLICY, STRICT), Claim)


@given(st.integers(-600, 7200), st.none() | st.integers(1, 7200), st.sampled_from([POLICY, EXCHANGING]))
def test_a_new_value_is_scheduled_when_it_is_due(left, lifetime, policy):
    """A store computes the due time from the lead alone; the rule gives the same for an account without a history."""
    lifetime = None if lifetime is None else lifetime * SECOND
    access = token(expires_at=NOW + left * SECOND, lifetime=lifetime)
    known = max(NOW, access.expires_at - lead(TokenKind.ACCESS_TOKEN, lifetime, policy, "acme"))
    assert next_due(record(access, REFRESH), NOW, policy, STRICT) == known


def test_a_token_that_is_its_own_credential_is_refreshed_while_a_fifth_of_its_life_is_left():
    """Its expiry ends the grant, so a sweep leaves days to mend a fault. Callers use the token until near its end."""
    days = timedelta(days=1)
    rule = evolve(STEADY, spends=TokenKind.ACCESS_TOKEN)
    access = token(expires_at=NOW + 12 * days, lifetime=60 * days)
    stored = record(access)
    assert next_due(stored, NOW - days, EXCHANGING, rule) == NOW
    assert isinstance(decide_ahead(stored, NOW, EXCHANGING, rule), Claim)
    assert decide_ahead(stored, NOW - SECOND, EXCHANGING, rule) == Use(access)
    assert decide(stored, NOW, EXCHANGING, rule) == Use(access)
    assert decide_ahead(stored, NOW, POLICY, rule) == Use(access)


@pytest.mark.parametrize(
    ("state", "rule", "expected"),
    [
        ({}, STRICT, 0),
        ({"next_attempt_at": NOW + 7 * SECOND}, STRICT, 7),
        # Due when the lease has ended; if strict, the token must also have expired, and the quiescence be over.
        ({"lease_until": NOW + 20 * SECOND}, STEADY, 20),
        ({"lease_until": NOW + 20 * SECOND}, STRICT, 80),
        ({"lease_until": NOW}, STEADY, 0),
        ({"unknown_since": NOW - 600 * SECOND}, STRICT, 60),
        ({"unknown_since": NOW + 5 * SECOND}, STRICT, 65),
        ({"unknown_since": NOW - 600 * SECOND}, STEADY, 0),
        ({"unknown_since": NOW - SECOND, "sent_at": NOW - 49 * SECOND}, GRACE, 0),
        ({"unknown_since": NOW - SECOND, "sent_at": NOW - 50 * SECOND}, GRACE, 60),
    ],
)
def test_the_schedule_of_an_account_that_is_due_and_has_a_history(state, rule, expected):
    stored = record(DUE, REFRESH, **state_of(REFRESH, **state))
    assert next_due(stored, NOW, POLICY, rule) == NOW + expected * SECOND


def test_a_lease_is_over_at_its_end_and_its_outcome_unknown_from_then_on():
    stored = record(EXPIRED, REFRESH, **state_of(REFRESH, lease_until=NOW))
    assert isinstance(decide(stored, NOW, POLICY, STEADY), Claim)
    assert decide(stored, NOW, POLICY, STRICT) == BackOff(TIMING.quiescence, "outcome_unknown")


def test_a_provider_that_does_not_rotate_is_asked_again_at_once():
    stored = record(DUE, REFRESH, **state_of(REFRESH, unknown_since=NOW))
    assert isinstance(decide(stored, NOW, POLICY, STEADY), Claim)


def test_a_grace_period_that_is_over_when_the_backoff_is_does_not_help():
    state = {"sent_at": NOW - 40 * SECOND, "unknown_since": NOW - SECOND, "next_attempt_at": NOW + 10 * SECOND}
    stored = record(EXPIRED, REFRESH, **state_of(REFRESH, **state))
    assert decide(stored, NOW, POLICY, GRACE) == BackOff(59 * SECOND, "outcome_unknown")


@pytest.mark.parametrize(
    ("minutes", "policy", "expected"),
    [
        (None, POLICY, 10),
        (60, POLICY, 10),
        (4, POLICY, 2),
        (60, EXCHANGING, 12),
        (40, EXCHANGING, 10),
        (4, EXCHANGING, 2),
    ],
)
def test_a_lead_is_the_horizon_or_half_of_the_lifetime_or_a_fifth_of_it_for_a_token_that_is_exchanged(
    minutes, policy, expected
):
    lifetime = None if minutes is None else timedelta(minutes=minutes)
    assert lead(TokenKind.ACCESS_TOKEN, lifetime, policy, "acme") == timedelta(minutes=expected)


@pytest.mark.parametrize("kind", [TokenKind.REFRESH_TOKEN, TokenKind.API_KEY, TokenKind.WEBHOOK_SECRET])
def test_only_an_access_token_has_a_lead(kind):
    assert lead(kind, None, POLICY) is None


# What is there to work with


@pytest.mark.parametrize(
    ("stored", "rule", "expected"),
    [
        (None, STRICT, NothingStored()),
        (record(token(TokenKind.WEBHOOK_SECRET)), STRICT, NothingStored()),
        (record(token(TokenKind.API_KEY)), STRICT, NothingStored()),
        (record(token(TokenKind.API_KEY)), None, NoRefresher()),
        (record(EXPIRED), STRICT, Reauthorize(None)),
        (record(EXPIRED), None, Reauthorize(None)),
        (record(EXPIRED, REFRESH), None, NoRefresher()),
        (record(DUE, REFRESH), None, Use(DUE)),
        (record(DUE), STRICT, Use(DUE)),
        (record(token()), STRICT, Use(token())),
        (record(token(status=TokenStatus.UNKNOWN)), STRICT, Use(token(status=TokenStatus.UNKNOWN))),
        (record(EXPIRED, evolve(REFRESH, status=TokenStatus.INVALID, error_code="invalid_grant")), STRICT,
         Reauthorize("invalid_grant")),
        (record(DUE, evolve(REFRESH, status=TokenStatus.INVALID)), STRICT, Use(DUE)),
        (record(EXPIRED, evolve(REFRESH, expires_at=NOW)), STRICT, Reauthorize(None)),
        (record(token(status=TokenStatus.INVALID)), STRICT, Reauthorize(None)),
        (record(evolve(DUE, status=TokenStatus.INVALID, error_code="invalid_token")), STRICT,
         Reauthorize("invalid_token")),
    ],
)  # fmt: skip
def test_what_is_there(stored, rule, expected):
    assert decide(stored, NOW, POLICY, rule) == expected


def test_a_credential_imported_with_an_unknown_status_is_tried():
    unknown = evolve(REFRESH, status=TokenStatus.UNKNOWN)
    assert isinstance(decide(record(EXPIRED, unknown), NOW, POLICY, STRICT), Claim)


def test_metas_token_is_spent_even_after_its_lifetime_which_may_be_an_assumption():
    rule = RefreshRule.of(TokenKind.ACCESS_TOKEN, Rotation.non_rotating(), TIMING)
    assert decide(record(DUE), NOW, POLICY, rule) == Claim(TokenRef.of(DUE), TokenRef.of(DUE), None)
    assert decide(record(EXPIRED), NOW, POLICY, rule) == Claim(TokenRef.of(EXPIRED), TokenRef.of(EXPIRED), None)
    assert next_due(record(EXPIRED), NOW, EXCHANGING, rule) == NOW
    refused = evolve(EXPIRED, status=TokenStatus.INVALID, error_code="invalid_grant")
    assert decide(record(refused), NOW, POLICY, rule) == Reauthorize("invalid_grant")
    assert next_due(record(refused), NOW, EXCHANGING, rule) is None


def test_backoff_of_another_credential_does_not_hold():
    backoff_of_another = {
        "credential_value_id": UUID(int=999),
        "failures": 3,
        "next_attempt_at": NOW + timedelta(hours=1),
    }
    assert isinstance(decide(record(EXPIRED, REFRESH, **backoff_of_another), NOW, POLICY, STRICT), Claim)


def test_a_forced_refresh_is_content_with_what_another_has_just_got():
    newer = token(expires_at=NOW + timedelta(hours=1), generation=2)
    assert isinstance(decide(record(EXPIRED, REFRESH), NOW, POLICY, STRICT, FORCED), Claim)
    assert decide(record(newer, REFRESH), NOW, POLICY, STRICT, FORCED) == Use(newer)


def test_a_token_that_a_caller_refuses_is_replaced_though_it_is_fresh():
    refused = Demand(replaced=TokenRef.of(FRESH))
    assert isinstance(decide(record(FRESH, REFRESH), NOW, POLICY, STRICT, refused), Claim)
    assert decide(record(FRESH), NOW, POLICY, STRICT, refused) == Reauthorize(None)


def test_only_callers_without_a_usable_token_wait_for_a_lease():
    state = state_of(REFRESH, lease_until=NOW + SECOND)
    assert decide(record(EXPIRED, REFRESH, **state), NOW, POLICY, STRICT) == Wait(NOW + SECOND)
    assert decide(record(DUE, REFRESH, **state), NOW, POLICY, STRICT) == Use(DUE)
    assert decide(record(EXPIRED, REFRESH, **state), NOW, POLICY, STRICT, FORCED) == Wait(NOW + SECOND)


@given(st.integers(1, 7200), st.integers(1, 7200))
def test_the_buffer_is_at_most_half_a_lifetime(lifetime, left):
    assume(left <= lifetime)
    access = token(expires_at=NOW + left * SECOND, lifetime=lifetime * SECOND)
    due = left <= min(300, lifetime / 2)
    assert isinstance(decide(record(access, REFRESH), NOW, POLICY, STRICT), Claim if due else Use)


@pytest.mark.parametrize("old_token_dies", [False, True])
def test_a_lease_on_another_credential_holds_nobody_back(old_token_dies):
    """The lease belongs to a refresh token that has been replaced since, for example by a new connection."""
    earlier = token(TokenKind.REFRESH_TOKEN, id_=1, generation=2)
    stored = record(EXPIRED, REFRESH, **state_of(earlier, lease_until=NOW + 20 * SECOND))
    rule = evolve(STRICT, old_token_dies=old_token_dies)
    assert isinstance(decide(stored, NOW, POLICY, rule), Claim)


@pytest.mark.parametrize(
    "bad",
    [{"deadline": timedelta(0)}, *({name: -SECOND} for name in ("slack", "quiescence", "commit_budget"))],
)
def test_times_are_positive(bad):
    with pytest.raises(InvalidInputError):
        RefreshTiming(**bad)


@given(st.integers(1, 300), st.integers(0, 60), st.integers(0, 60))
def test_a_lease_leaves_time_before_the_request_and_outlives_deadline_and_commit(deadline, commit, slack):
    timing = RefreshTiming(deadline * SECOND, commit_budget=commit * SECOND, slack=slack * SECOND)
    assert timing.lease - timing.slack == timing.deadline + timing.commit_budget


def test_a_claim_holds_what_the_attempt_needs():
    credential = evolve(REFRESH, client=b"c" * 16, last_refreshed_at=NOW - 9 * SECOND)
    access = evolve(EXPIRED, last_refreshed_at=NOW - 8 * SECOND)
    state = state_of(credential, attempt_id=IDS[3], error_code="server_error")
    claim = decide(record(access, credential, **state), NOW, POLICY, STRICT)
    assert claim == Claim(TokenRef.of(credential), TokenRef.of(access), IDS[3])
    told = (claim.client, claim.now, claim.error_code, claim.stored_at)
    assert told == (credential.client, NOW, "server_error", NOW - 8 * SECOND)
    other = decide(record(credential, credential_value_id=UUID(int=99), error_code="x"), NOW, POLICY, STRICT)
    assert (other.error_code, other.stored_at) == (None, NOW - 9 * SECOND)


def test_whoever_needs_a_new_token_waits_for_the_lease_if_the_old_one_dies():
    held = record(FRESH, REFRESH, **state_of(REFRESH, lease_until=NOW + SECOND))
    rule = evolve(STEADY, old_token_dies=True)
    assert decide(held, NOW, POLICY, rule) == Wait(NOW + SECOND)
    assert decide(held, NOW + SECOND, POLICY, rule) == Use(FRESH)


def test_a_token_that_serves_for_ever_is_used_after_an_unknown_outcome():
    serving = token()
    stored = record(serving, REFRESH, **state_of(REFRESH, unknown_since=NOW - timedelta(hours=1)))
    assert decide(stored, NOW, POLICY, STRICT, Demand(early=True)) == Use(serving)


def test_an_answer_that_cannot_be_read_is_waited_for_longer_than_a_backoff():
    state = state_of(REFRESH, next_attempt_at=NOW + UNREAD_HOLD)
    unread = record(EXPIRED, REFRESH, **state, error_code="unreadable_answer")
    assert decide(unread, NOW, POLICY, STEADY).retry_after == UNREAD_HOLD
    assert isinstance(decide(record(EXPIRED, REFRESH, **state), NOW, POLICY, STEADY), Claim)


def test_a_token_that_cannot_be_used_is_not_fresh_for_any_time():
    assert fresh_for(EXPIRED, NOW, POLICY) == 0.0


def test_the_schedule_knows_the_turn_of_the_timeline_and_the_spacing():
    stored = record(DUE, REFRESH)
    assert next_due(stored, NOW, POLICY, STRICT, turned_at=NOW) == NOW + TIMING.hold
    assert next_due(stored, NOW, POLICY, STEADY, turned_at=NOW) == NOW
    spaced_rule = evolve(STEADY, spacing=63 * SECOND)
    lately = record(evolve(DUE, last_refreshed_at=NOW - 20 * SECOND), REFRESH)
    assert next_due(lately, NOW, POLICY, spaced_rule) == NOW + 43 * SECOND
    assert next_due(None, NOW, POLICY, STRICT) is None
    assert next_due(record(DUE), NOW, POLICY, STRICT) is None


def test_a_sweep_waits_for_the_turn_of_the_timeline_as_a_caller_does():
    stored = record(EXPIRED, REFRESH)
    assert isinstance(decide_ahead(stored, NOW, POLICY, STRICT), Claim)
    assert decide_ahead(stored, NOW, POLICY, STRICT, turned_at=NOW) == BackOff(TIMING.hold)


def test_the_refresh_token_beside_the_credential_that_is_spent_does_not_make_a_sweep_refresh():
    keyed = evolve(STRICT, spends=TokenKind.API_KEY)
    stored = record(token(), REFRESH, token(TokenKind.API_KEY, id_=2))
    assert decide_ahead(stored, NOW + timedelta(hours=2), IDLE, keyed) == NothingStored()
    assert isinstance(decide_ahead(stored, NOW + timedelta(hours=2), IDLE, STRICT), Claim)


def test_the_schedule_does_not_wait_for_the_end_of_a_token_that_was_marked_invalid():
    access = token(expires_at=NOW + timedelta(hours=1), status=TokenStatus.INVALID)
    stored = record(access, REFRESH, **state_of(REFRESH, unknown_since=NOW - SECOND, sent_at=NOW - SECOND))
    assert next_due(stored, NOW, POLICY, STRICT) == NOW - SECOND + TIMING.quiescence


def test_a_backoff_after_a_refusal_whose_lease_has_ended_says_that_it_was_refused():
    state = state_of(REFRESH, failures=1, refused_since=NOW, lease_until=NOW - SECOND, next_attempt_at=NOW + SECOND)
    found = decide(record(EXPIRED, REFRESH, **state), NOW, POLICY, STRICT)
    assert (type(found), found.refused) == (BackOff, True)
