"""Laws of expiry and refresh, which hold for whatever may be stored, at any time."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st

from vault_domain.entities.account import Account, ConnectionState, TokenKind
from vault_domain.entities.lifetime import capped
from vault_domain.entities.refresh_state import AccountRecord, RefreshState
from vault_domain.entities.token import TokenHealth, TokenInfo, TokenStatus
from vault_domain.rules.connection import credential_of, describe_account
from vault_domain.rules.freshness import (
    Freshness,
    RefreshPolicy,
    fresh_for,
    freshness,
    is_due,
    is_presentable,
    is_usable,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)
ZERO = timedelta(0)
ACCOUNT = Account("t1", "acme", "ann")

# Times near NOW, so that a token often expires close to the time of the check. Also the earliest and the latest time
# that can be stored.
times = st.one_of(
    st.integers(-600, 600).map(lambda seconds: NOW + timedelta(seconds=seconds)),
    st.integers(-3, 3).map(lambda ticks: NOW + ticks * TICK),
    st.sampled_from([datetime(1970, 1, 1, tzinfo=UTC), datetime(9998, 12, 31, 23, 59, 59, 999_999, UTC)]),
)
buffers = st.one_of(
    st.just(ZERO), st.integers(0, 600).map(lambda s: timedelta(seconds=s)), st.just(timedelta(days=36_525))
)
lifetimes = st.none() | st.integers(0, 4000).map(lambda seconds: timedelta(seconds=seconds))


@st.composite
def tokens(draw, kind=TokenKind.ACCESS_TOKEN):
    status = draw(st.sampled_from(TokenStatus))
    return TokenInfo(
        id=UUID(int=list(TokenKind).index(kind) + 1),
        key=ACCOUNT.key(kind),
        status=status,
        error_code="invalid_token" if status is TokenStatus.INVALID else None,
        expires_at=draw(st.none() | times),
        scopes=(),
        generation=1,
        last_used_at=None,
        last_refreshed_at=None,
        lifetime=draw(lifetimes),
        created_at=NOW,
        updated_at=NOW,
        value_id=UUID(int=list(TokenKind).index(kind) + 10),
    )


HEALTH_ORDER = [TokenHealth.FRESH, TokenHealth.EXPIRING, TokenHealth.UNKNOWN, TokenHealth.EXPIRED, TokenHealth.INVALID]
FRESHNESS_ORDER = [Freshness.FRESH, Freshness.DUE, Freshness.UNUSABLE]


# Health


@given(tokens(), times, buffers)
def test_health_is_the_first_state_that_applies(info, now, buffer):
    if info.status is TokenStatus.INVALID:
        expected = TokenHealth.INVALID
    elif info.expires_at is not None and info.expires_at <= now:
        expected = TokenHealth.EXPIRED
    elif info.status is TokenStatus.UNKNOWN:
        expected = TokenHealth.UNKNOWN
    elif info.expires_at is not None and info.expires_at - now <= capped(buffer, info.lifetime):
        expected = TokenHealth.EXPIRING
    else:
        expected = TokenHealth.FRESH
    assert info.health(now, buffer) is expected


@given(tokens(), times, times, buffers)
def test_health_never_gets_better_by_waiting(info, one, other, buffer):
    earlier, later = sorted((one, other))
    assert HEALTH_ORDER.index(info.health(earlier, buffer)) <= HEALTH_ORDER.index(info.health(later, buffer))


@given(tokens(), times, buffers, buffers)
def test_a_longer_buffer_never_makes_it_fresher(info, now, one, other):
    shorter, longer = sorted((one, other))
    assert HEALTH_ORDER.index(info.health(now, shorter)) <= HEALTH_ORDER.index(info.health(now, longer))


@given(tokens(), times)
def test_without_a_buffer_nothing_is_expiring(info, now):
    assert info.health(now, ZERO) is not TokenHealth.EXPIRING


@given(tokens(), times)
def test_without_an_expiry_nothing_expires(info, now):
    health = evolve(info, expires_at=None).health(now, timedelta(days=36_525))
    assert health in (TokenHealth.FRESH, TokenHealth.UNKNOWN, TokenHealth.INVALID)


@given(tokens(), times, st.integers(1, 600).map(lambda s: timedelta(seconds=s)))
def test_the_boundaries_belong_to_the_worse_side(info, end, buffer):
    assume(end.year > 1970)
    info = evolve(info, expires_at=end, status=TokenStatus.VALID)
    buffer = capped(buffer, info.lifetime)
    assume(buffer > ZERO)
    assert info.health(end, buffer) is TokenHealth.EXPIRED
    assert info.health(end - TICK, buffer) is TokenHealth.EXPIRING
    assert info.health(end - buffer, buffer) is TokenHealth.EXPIRING
    assert info.health(end - buffer - TICK, buffer) is TokenHealth.FRESH


@given(tokens(), times, buffers)
def test_health_and_a_callers_refresh_agree(info, now, buffer):
    assume(info.status is TokenStatus.VALID)
    same = {TokenHealth.EXPIRED: Freshness.UNUSABLE, TokenHealth.EXPIRING: Freshness.DUE}
    assert freshness(info, now, RefreshPolicy(buffer)) is same.get(info.health(now, buffer), Freshness.FRESH)


# What a caller may do with a token


@given(tokens(), times)
def test_usable_is_neither_invalid_nor_expired(info, now):
    assert is_usable(info, now) is (info.health(now) not in (TokenHealth.INVALID, TokenHealth.EXPIRED))


@given(tokens(), times, buffers, st.none() | buffers)
def test_unusable_exactly_where_it_cannot_be_used(info, now, configured, given_buffer):
    found = freshness(info, now, RefreshPolicy(configured), given_buffer)
    assert (found is Freshness.UNUSABLE) is not is_usable(info, now)


@given(tokens(), times, times, buffers, st.none() | buffers)
def test_freshness_never_gets_better_by_waiting(info, one, other, configured, given_buffer):
    earlier, later = sorted((one, other))
    first, then = (freshness(info, now, RefreshPolicy(configured), given_buffer) for now in (earlier, later))
    assert FRESHNESS_ORDER.index(first) <= FRESHNESS_ORDER.index(then)


@given(tokens(), times, buffers, st.integers(0, 10**6))
def test_a_token_stays_fresh_for_as_long_as_was_said(info, now, configured, seconds):
    policy = RefreshPolicy(configured)
    later = now + timedelta(seconds=seconds)
    assert (seconds < fresh_for(info, now, policy)) is (freshness(info, later, policy) is Freshness.FRESH)


@given(tokens(), times, buffers)
def test_a_token_is_fresh_up_to_the_end_of_what_was_said(info, now, configured):
    policy, now = RefreshPolicy(configured), min(now, NOW)
    info = evolve(info, status=TokenStatus.VALID, expires_at=now + configured + (info.lifetime or timedelta(days=1)))
    end = now + timedelta(seconds=fresh_for(info, now, policy))
    assert freshness(info, end - TICK, policy) is Freshness.FRESH
    assert freshness(info, end, policy) is not Freshness.FRESH


@given(tokens(), times, buffers)
def test_a_buffer_that_is_passed_is_taken_as_it_is(info, now, buffer):
    assume(is_usable(info, now))
    due = info.expires_at is not None and info.expires_at - now <= buffer
    for configured in (ZERO, buffer, timedelta(days=1)):
        assert (freshness(info, now, RefreshPolicy(configured), buffer) is Freshness.DUE) is due
    assert is_due(info, now, buffer) is due


@given(tokens(), times, buffers)
def test_the_configured_buffer_is_at_most_half_of_the_lifetime(info, now, configured):
    assume(is_usable(info, now))
    found = freshness(info, now, RefreshPolicy(configured))
    assert found is freshness(info, now, RefreshPolicy(configured), capped(configured, info.lifetime))
    if info.lifetime is not None and info.expires_at is not None and found is Freshness.DUE:
        assert info.expires_at - now <= info.lifetime / 2


@given(st.integers(1, 4000).map(lambda s: timedelta(seconds=s)), buffers)
def test_a_token_is_never_due_when_it_is_stored(lifetime, configured):
    fresh = TokenInfo(
        UUID(int=1), ACCOUNT.key(TokenKind.ACCESS_TOKEN), TokenStatus.VALID, None, NOW + lifetime, (), 1, None, None,
        lifetime, NOW, NOW,
    )  # fmt: skip
    assert freshness(fresh, NOW, RefreshPolicy(configured)) is Freshness.FRESH


def test_the_moment_at_which_it_is_due_and_the_one_at_which_it_expires():
    minute = timedelta(minutes=1)
    info = TokenInfo(
        UUID(int=1), ACCOUNT.key(TokenKind.ACCESS_TOKEN), TokenStatus.VALID, None, NOW + minute, (), 1, None, None,
        2 * minute, NOW, NOW,
    )  # fmt: skip
    policy = RefreshPolicy(timedelta(minutes=5))  # capped at half of the lifetime
    assert [freshness(info, NOW + passed, policy) for passed in (-TICK, ZERO, minute - TICK, minute)] == [
        Freshness.FRESH,
        Freshness.DUE,
        Freshness.DUE,
        Freshness.UNUSABLE,
    ]
    assert [info.health(NOW + passed, minute) for passed in (-TICK, ZERO, minute - TICK, minute)] == [
        TokenHealth.FRESH,
        TokenHealth.EXPIRING,
        TokenHealth.EXPIRING,
        TokenHealth.EXPIRED,
    ]


@given(buffers, lifetimes)
def test_capping(wanted, lifetime):
    found = capped(wanted, lifetime)
    assert ZERO <= found <= wanted
    assert found == wanted if lifetime is None else found in (wanted, lifetime / 2)
    assert lifetime is None or found <= lifetime / 2


@given(tokens(), times)
def test_in_the_far_future_every_token_with_an_expiry_has_expired(info, now):
    assume(info.expires_at is not None)
    assert not is_usable(info, datetime(9999, 1, 1, tzinfo=UTC))
    never = evolve(info, expires_at=None, status=TokenStatus.VALID)
    assert freshness(never, datetime(9999, 1, 1, tzinfo=UTC), RefreshPolicy()) is Freshness.FRESH


# What a host shows of an account


@st.composite
def records(draw):
    present = {kind: draw(st.none() | tokens(kind)) for kind in TokenKind}
    found = {kind: info for kind, info in present.items() if info is not None}
    assume(found)
    target = draw(st.sampled_from([None, *found.values()]))
    state = RefreshState(
        credential_value_id=draw(st.sampled_from([target.value_id, UUID(int=99)])) if target else None,
        failures=draw(st.integers(0, 2)),
        next_attempt_at=draw(st.none() | times),
        unknown_since=draw(st.none() | times),
        error_code=draw(st.sampled_from([None, "temporarily_unavailable"])),
    )
    return AccountRecord(ACCOUNT, found, draw(st.sampled_from([None, "Ann"])), state)


spends = st.none() | st.sampled_from([TokenKind.REFRESH_TOKEN, TokenKind.API_KEY, TokenKind.ACCESS_TOKEN])


def pending(record, spent):
    refresh = record.refresh
    concerns = refresh.concerns(credential_of(record, spent))
    return concerns and (refresh.failures > 0 or refresh.unknown_since is not None)


@given(records(), times, spends)
def test_the_states_of_an_account(record, now, spent):
    shown = describe_account(record, now, spent)
    access, credential = record.tokens.get(TokenKind.ACCESS_TOKEN), credential_of(record, spent)
    dead = credential is not None and credential.status is TokenStatus.INVALID
    can_refresh = credential is not None and is_presentable(credential, now)
    stuck = access is not None and not is_usable(access, now) and not can_refresh
    lone = access is None and credential is not None and not can_refresh
    if dead or stuck or lone:
        assert shown.state is ConnectionState.REAUTHORIZATION_REQUIRED
        assert shown.reason
    elif pending(record, spent):
        assert shown.state is ConnectionState.RETRYING
        assert shown.reason
    else:
        assert shown.state is ConnectionState.CONNECTED
        assert shown.reason is None
    assert (shown.next_attempt_at is None) or shown.state is ConnectionState.RETRYING
    assert (shown.account, shown.label) == (ACCOUNT, record.label)
    assert shown.expires_at == (access.expires_at if access else None)


@given(records(), times, spends)
def test_the_state_speaks_of_the_stored_credential_only(record, now, spent):
    credential = credential_of(record, spent)
    assume(credential is not None)
    newer = {**record.tokens, credential.key.kind: evolve(credential, value_id=UUID(int=98))}
    assert describe_account(evolve(record, tokens=newer), now, spent).state is not ConnectionState.RETRYING


@given(records(), times, times, spends)
def test_waiting_alone_never_reconnects(record, one, other, spent):
    earlier, later = sorted((one, other))
    order = [ConnectionState.CONNECTED, ConnectionState.RETRYING, ConnectionState.REAUTHORIZATION_REQUIRED]
    first, then = (describe_account(record, now, spent).state for now in (earlier, later))
    assert order.index(first) <= order.index(then)


@given(records(), times)
def test_an_invalid_credential_needs_the_user_however_good_the_access_token(record, now):
    dead = [k for k in (TokenKind.REFRESH_TOKEN, TokenKind.API_KEY) if k in record.tokens]
    assume(dead)
    info = evolve(record.tokens[dead[0]], status=TokenStatus.INVALID, error_code="invalid_grant")
    shown = describe_account(evolve(record, tokens={**record.tokens, dead[0]: info}), now)
    assert (shown.state, shown.reason) == (ConnectionState.REAUTHORIZATION_REQUIRED, "invalid_grant")


@given(tokens(), times)
def test_the_credential_is_the_refresh_token_before_the_api_key(info, now):
    held = {kind: evolve(info, key=ACCOUNT.key(kind)) for kind in TokenKind}
    record = AccountRecord(ACCOUNT, held)
    assert credential_of(record).key.kind is TokenKind.REFRESH_TOKEN
    del held[TokenKind.REFRESH_TOKEN]
    assert credential_of(record).key.kind is TokenKind.API_KEY
    del held[TokenKind.API_KEY]
    assert credential_of(record) is None
    assert credential_of(record, TokenKind.ACCESS_TOKEN) is held[TokenKind.ACCESS_TOKEN]
