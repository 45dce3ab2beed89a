"""An account in memory, for tests of what becomes of it."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.account_state import AccountState
from vault_domain.entities.attempt import Attempt, Failure
from vault_domain.entities.token import SealedToken, TokenRef, TokenWrite
from vault_domain.transitions import attempts
from vault_domain.transitions.values import stored

ACCOUNT = Account("t1", "google", "ann")
A, R = KINDS = (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN)
START = datetime(2030, 1, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
LEASE, LEAD = MINUTE, 10 * MINUTE


def write(kind, lifetime=HOUR, **more):
    """Return a write of a new value; only an access token has a lifetime and a lead."""
    own = {"lifetime": lifetime, "lead": LEAD} if kind is A else {}
    return TokenWrite(ACCOUNT.key(kind), SealedToken(b"k" * 16, b"v"), value_id=uuid4(), **own | more)


def with_values(*kinds, state=None, now=START, **more):
    """Return the account after values were stored."""
    writes = [write(kind, **more) for kind in kinds or KINDS]
    return stored(AccountState(ACCOUNT) if state is None else state, now, writes, None).state


def attempt_on(state, **more):
    """Return an attempt for the values of an account."""
    refs = {kind: TokenRef.of(token.info) for kind, token in state.tokens.items()}
    return Attempt(ACCOUNT, uuid4(), refs[R], refs.get(A), START, LEASE, **more)


def claimed(state=None, now=START):
    """Return a claimed account, and its attempt."""
    state = with_values() if state is None else state
    attempt = attempt_on(state)
    decision = attempts.claimed(state, now, attempt, state.refresh.attempt_id)
    assert decision.result == now
    return decision.state, attempt


def failed(state=None, now=START, *, code=None, retry_in=SECOND, unknown=False, **more):
    """Return the account after an attempt that failed."""
    state, attempt = claimed(state, now)
    return attempts.failed(state, now, attempt, Failure(code, retry_in, unknown, **more), None).state
