"""What renewing and releasing a lease makes of an account."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from attrs import evolve

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.account_state import AccountState
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.token import SealedToken, TokenRef, TokenWrite
from vault_domain.transitions.attempts import claimed, released, renewed
from vault_domain.transitions.values import written

ACCOUNT = Account("t1", "google", "ann")
NOW = datetime(2030, 1, 1, tzinfo=UTC)
LEASE, LATER = timedelta(seconds=20), timedelta(seconds=15)
MORE = timedelta(seconds=30)


@pytest.fixture
def stored():
    sealed = SealedToken(b"k" * 16, b"sealed")
    kinds = (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN)
    writes = [TokenWrite(ACCOUNT.key(kind), sealed, value_id=UUID(int=number)) for number, kind in enumerate(kinds, 1)]
    return written(AccountState(ACCOUNT), NOW, writes)[0]


@pytest.fixture
def attempt(stored):
    refs = {kind: TokenRef.of(token.info) for kind, token in stored.tokens.items()}
    return Attempt(ACCOUNT, UUID(int=9), refs[TokenKind.REFRESH_TOKEN], refs[TokenKind.ACCESS_TOKEN], NOW, LEASE)


@pytest.fixture
def held(stored, attempt):
    return claimed(stored, NOW, attempt, None).state


def test_the_holder_of_a_lease_gets_more_time_and_the_account_is_due_when_it_ends(held, attempt):
    decision = renewed(held, NOW + LATER, attempt, MORE)
    assert (decision.result, decision.durable, decision.events) == (True, True, ())
    assert decision.state.refresh == evolve(held.refresh, lease_until=NOW + LATER + MORE)
    assert decision.state.row.due_at == NOW + LATER + MORE


def test_a_due_time_that_was_set_meanwhile_stays(held, attempt):
    early = held.with_row(due_at=NOW + timedelta(seconds=3))
    assert renewed(early, NOW + LATER, attempt, MORE).state.row.due_at == NOW + timedelta(seconds=3)


def test_only_the_holder_of_a_lease_gets_more_time(stored, held, attempt):
    other = evolve(attempt, attempt_id=UUID(int=10))
    ended = released(held, NOW, attempt).state
    for state, of in ((stored, attempt), (held, other), (ended, attempt)):
        decision = renewed(state, NOW + LATER, of, MORE)
        assert decision.state is state
        assert decision.result is False


def test_a_release_ends_the_own_lease_and_the_account_is_due_at_once(held, attempt):
    decision = released(held, NOW + LATER, attempt)
    assert decision.state.refresh == evolve(held.refresh, lease_until=None)
    assert decision.state.row.due_at == NOW + LATER
    other = evolve(attempt, attempt_id=UUID(int=10))
    assert released(held, NOW + LATER, other).state is held
