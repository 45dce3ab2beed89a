"""Which tokens of a provider's answer may still be written, given what is stored by then."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from attrs import evolve

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.attempt import Attempt, CommitOutcome
from vault_domain.entities.token import SealedToken, TokenRef, TokenWrite
from vault_domain.transitions.attempts import still_wanted

ACCOUNT = Account("t1", "google", "ann")
ACCESS, REFRESH = (
    TokenRef(ACCOUNT.key(kind), UUID(int=number), 3, UUID(int=20 + number))
    for number, kind in enumerate((TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN))
)
ATTEMPT = Attempt(ACCOUNT, UUID(int=9), REFRESH, ACCESS, datetime(2030, 1, 1, tzinfo=UTC), timedelta(minutes=1))
WRITES = [TokenWrite(ref.key, SealedToken(b"k" * 16, b"sealed"), refreshed=True) for ref in (ACCESS, REFRESH)]


def moved(ref):
    """What may have become of a value: replaced by a later one, stored anew after a deletion, or deleted.

    Another value can have the same generation if the database lost the first one in a failover.
    """
    other = evolve(ref, value_id=UUID(int=77))
    return [evolve(other, generation=ref.generation + 1), evolve(other, id=UUID(int=78), generation=1), other, None]


def stored(*refs):
    return {ref.key.kind: ref for ref in refs if ref is not None}


def test_over_the_claimed_tokens_everything_is_written():
    assert still_wanted(ATTEMPT, stored(ACCESS, REFRESH), WRITES) == (CommitOutcome.WRITTEN, WRITES)


@pytest.mark.parametrize("access", moved(ACCESS))
def test_over_another_access_token_only_the_refresh_token_is_written(access):
    outcome, writes = still_wanted(ATTEMPT, stored(access, REFRESH), WRITES)
    assert (outcome, writes) == (CommitOutcome.ACCESS_MOVED, WRITES[1:])


@pytest.mark.parametrize("access", [ACCESS, *moved(ACCESS)])
@pytest.mark.parametrize("credential", moved(REFRESH))
def test_over_another_credential_nothing_is_written(access, credential):
    outcome, writes = still_wanted(ATTEMPT, stored(access, credential), WRITES)
    assert (outcome, writes) == (CommitOutcome.CREDENTIAL_MOVED, [])


def test_where_there_was_no_access_token_there_must_be_none():
    first = evolve(ATTEMPT, access=None)
    assert still_wanted(first, stored(REFRESH), WRITES) == (CommitOutcome.WRITTEN, WRITES)
    assert still_wanted(first, stored(ACCESS, REFRESH), WRITES) == (CommitOutcome.ACCESS_MOVED, WRITES[1:])


def test_an_access_token_that_pays_for_its_successor():
    own = evolve(ATTEMPT, credential=ACCESS)
    assert still_wanted(own, stored(ACCESS), WRITES[:1]) == (CommitOutcome.WRITTEN, WRITES[:1])
    for access in moved(ACCESS):
        assert still_wanted(own, stored(access), WRITES[:1]) == (CommitOutcome.CREDENTIAL_MOVED, [])
