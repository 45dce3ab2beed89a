"""What becomes of an account when values are stored, imported or deleted, case by case."""

from datetime import timedelta
from uuid import uuid4

import pytest
from attrs import evolve
from tests.domain.account_facts import ACCOUNT, HOUR, KINDS, LEAD, MINUTE, SECOND, START, A, R, with_values, write

from vault_domain.entities.account_state import AccountState
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.errors import GenerationConflictError
from vault_domain.entities.imported import ImportedToken, ImportOutcome
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import SealedToken, StoredToken, TokenInfo, TokenRef, TokenStatus
from vault_domain.transitions.importing import DAMAGED, Held, imported, outcome_of, refreshed_at
from vault_domain.transitions.values import deleted, marked, rescheduled, stored

LATER = START + HOUR
NO_TIME = timedelta(0)


def due_after(state, *writes, now=START):
    row = stored(state, now, writes, None).state.row
    return None if row is None else row.due_at


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("due_in", [3 * HOUR, HOUR, None])
def test_an_access_token_decides_when_an_account_is_due(order, due_in):
    writes = [write(A, 2 * HOUR, due_in=due_in), write(R, due_in=NO_TIME)][::order]
    expected = START + min(2 * HOUR - LEAD, due_in or 3 * HOUR)
    assert due_after(AccountState(ACCOUNT), *writes) == expected
    assert due_after(AccountState(ACCOUNT), writes[0] if order == 1 else writes[1]) == expected


def test_a_value_without_an_expiry_sets_no_time_and_makes_no_row():
    assert stored(AccountState(ACCOUNT), START, [write(A, None), write(R)], None).state.row is None


def test_a_refresh_token_that_lapses_unused_makes_its_account_due():
    assert due_after(AccountState(ACCOUNT), write(R, due_in=MINUTE)) == START + MINUTE


@pytest.mark.parametrize("lifetime", [HOUR, 3 * HOUR])
def test_a_due_time_is_brought_forward_and_not_put_off(lifetime):
    state = with_values(A, lifetime=2 * HOUR)
    assert due_after(state, write(A, lifetime)) == START + min(lifetime, 2 * HOUR) - LEAD


@pytest.mark.parametrize("had", [None, HOUR, -HOUR])
def test_a_refresh_token_makes_an_account_due_now_that_has_a_row(had):
    state = rescheduled(with_values(A), None if had is None else START + had).state
    assert due_after(state, write(R)) == (START + had if had == -HOUR else START)


@pytest.mark.parametrize("had", [None, HOUR, -HOUR])
@pytest.mark.parametrize("kind", KINDS)
def test_an_account_whose_access_token_is_deleted_is_due_now(had, kind):
    state = rescheduled(with_values(), None if had is None else START + had).state
    new = deleted(state, START, [kind], None).state
    is_later = had is None or had > NO_TIME
    assert new.row.due_at == (START if kind is A and is_later else state.row.due_at)


def test_a_value_replaces_another_and_keeps_what_belongs_to_the_token():
    old = with_values(A, scopes=("a", "b"))
    old = marked(old, START, TokenRef.of(old.tokens[A].info), "x", None).state
    before = old.tokens[A].info
    assert before.last_refreshed_at is None
    new = write(A, None, scopes=None)
    [info] = stored(old, LATER, [new], None).result
    assert info == evolve(
        before,
        status=TokenStatus.VALID,
        error_code=None,
        expires_at=None,
        lifetime=None,
        generation=2,
        value_id=new.value_id,
        updated_at=LATER,
        last_refreshed_at=LATER,
    )
    assert stored(old, LATER, [write(A, scopes=())], None).result[0].scopes == ()


SEALED = SealedToken(b"k" * 16, b"imported")
DAY = timedelta(days=1)
TOKEN_ID = uuid4()


def take(state, *tokens, own=(), overwrite=False, now=START):
    named = [(token.seal(SEALED), uuid4()) for token in tokens]
    return imported(state, now, named, own, None, overwrite=overwrite)


def row(kind=A, **more):
    return ImportedToken(ACCOUNT.key(kind), Secret("v"), **more)


def test_what_an_imported_row_does_not_say():
    decision = take(AccountState(ACCOUNT), row())
    info = decision.state.tokens[A].info
    assert (info.created_at, info.updated_at, info.generation) == (START, START, 1)
    assert (info.status, info.expires_at, info.last_used_at, info.last_refreshed_at) == (
        *(TokenStatus.VALID, None),
        *(None, None),
    )
    assert [(event.action, event.code) for event in decision.events] == [(AuditAction.TOKEN_IMPORTED, None)]


def test_times_of_an_imported_row_in_the_future_become_the_present():
    times = dict.fromkeys(["last_used_at", "last_refreshed_at", "created_at", "updated_at", "expires_at"], LATER)
    info = take(AccountState(ACCOUNT), row(**times)).state.tokens[A].info
    assert [getattr(info, name) for name in times] == [START] * 4 + [LATER]


def test_overwriting_begins_anew_and_counts_as_a_refresh():
    old = with_values(A, scopes=("a",))
    assert take(old, row()).state is old
    decision = take(old, row(), overwrite=True, now=LATER)
    info = decision.state.tokens[A].info
    assert (info.generation, info.scopes, info.id == old.tokens[A].info.id) == (1, (), False)
    assert info.last_refreshed_at == LATER
    assert ([event.code for event in decision.events], decision.result) == (["replaced"], [ImportOutcome.REPLACED])


@pytest.mark.parametrize(
    ("updated_at", "generation", "is_later"),
    [
        (START + SECOND, 1, True),
        (START, 1, False),
        (None, 1, False),
        (START + DAY, 1, False),  # in the future
        (START + SECOND, 2, False),  # another value was stored since
    ],
)
def test_of_several_rows_of_one_import_a_later_one_replaces_an_earlier_one(updated_at, generation, is_later):
    held = Held(uuid4(), generation, START)
    write = row(updated_at=updated_at).seal(SEALED)
    for overwrite in (False, True):
        assert outcome_of(write, held, LATER, {held.id}, overwrite=overwrite) == (ImportOutcome.SKIPPED, is_later)
    assert outcome_of(write, held, LATER, set(), overwrite=False) == (ImportOutcome.SKIPPED, False)
    assert outcome_of(write, held, LATER, set(), overwrite=True) == (ImportOutcome.REPLACED, True)
    assert outcome_of(write, DAMAGED, LATER, set(), overwrite=False) == (ImportOutcome.SKIPPED, False)


@pytest.mark.parametrize(
    ("held", "expected"),
    [(None, None), (Held(TOKEN_ID, 1, START, START), START), (Held(uuid4(), 1, START, START), LATER), (DAMAGED, LATER)],
)
def test_the_last_refresh_of_an_imported_row_that_does_not_say_it(held, expected):
    assert refreshed_at(row().seal(SEALED), held, LATER, {TOKEN_ID}) == expected
    said = row(last_refreshed_at=START - HOUR).seal(SEALED)
    assert refreshed_at(said, held, LATER, {TOKEN_ID}) == START - HOUR


@pytest.mark.parametrize("field", ["last_refreshed_at", "created_at"])
def test_an_imported_access_token_counts_its_idle_time_from_its_last_refresh(field):
    past = {"created_at": START - 4 * HOUR} | {field: START - HOUR}
    named = [(row(**past).seal(SEALED, None, 3 * HOUR), uuid4())]
    assert imported(AccountState(ACCOUNT), START, named, (), None, overwrite=False).state.row.due_at == START + 2 * HOUR


def test_what_an_imported_row_says_is_kept():
    past = {name: START - hours * HOUR for hours, name in enumerate(PAST, 1)}
    written = row(R, status=TokenStatus.INVALID, error_code="x", expires_at=LATER, scopes=("s",), **past).seal(SEALED)
    written = evolve(written, client=b"c" * 32)
    token_id = uuid4()
    state = imported(AccountState(ACCOUNT), START, [(written, token_id)], (), None, overwrite=False).state
    assert state.tokens[R] == StoredToken(
        TokenInfo(
            id=token_id,
            key=ACCOUNT.key(R),
            status=TokenStatus.INVALID,
            error_code="x",
            expires_at=LATER,
            scopes=("s",),
            generation=1,
            lifetime=None,
            value_id=token_id,
            client=b"c" * 32,
            **past,
        ),
        SEALED,
    )


PAST = ("last_used_at", "last_refreshed_at", "created_at", "updated_at")


@pytest.mark.parametrize(
    ("updated_at", "generation", "now", "is_stored"),
    [
        (START + SECOND, 1, LATER, True),
        (START, 1, LATER, False),
        (LATER, 1, LATER, False),  # not in the past
        (START + SECOND, 2, LATER, False),
    ],
)
def test_a_later_row_of_the_same_import_takes_the_place_of_the_stored_one(updated_at, generation, now, is_stored):
    state = take(AccountState(ACCOUNT), row(updated_at=START, last_refreshed_at=START - HOUR)).state
    token_id = state.tokens[A].info.id
    state = state.with_token(state.tokens[A], generation=generation)
    decision = take(state, row(updated_at=updated_at), own={token_id}, now=now)
    assert (decision.state is not state, decision.result) == (is_stored, [ImportOutcome.SKIPPED])
    assert [event.code for event in decision.events] == ["replaced"] * is_stored
    if is_stored:
        # It is the same credential as before, so it was refreshed when the one before was.
        assert decision.state.tokens[A].info.last_refreshed_at == START - HOUR


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_damaged_row_counts_as_one_of_another_writer(overwrite):
    damaged = AccountState(ACCOUNT, damaged={A: 7})
    decision = take(damaged, row(), overwrite=overwrite, now=LATER)
    assert decision.result == [ImportOutcome.REPLACED if overwrite else ImportOutcome.SKIPPED]
    assert (decision.state is damaged) is not overwrite
    if overwrite:
        assert decision.state.tokens[A].info.last_refreshed_at == LATER


def test_each_stored_value_has_an_event_of_its_own():
    decision = stored(AccountState(ACCOUNT), LATER, [write(A, refreshed=True), write(R)], "ann")
    assert [(event.action, event.kind, event.actor, event.occurred_at) for event in decision.events] == [
        (AuditAction.TOKEN_REFRESHED, A, "ann", LATER),
        (AuditAction.TOKEN_STORED, R, "ann", LATER),
    ]
    assert not decision.durable


def test_a_conflict_of_generations_names_the_account():
    with pytest.raises(GenerationConflictError) as caught:
        stored(AccountState(ACCOUNT), START, [write(A)], None, 1)
    assert caught.value.account == ACCOUNT


def test_what_is_known_of_a_stored_value():
    first = write(A, lifetime=HOUR, scopes=("s",), client=b"c" * 16)
    state = stored(AccountState(ACCOUNT), START, [first], None).state
    known = TokenInfo(
        id=first.value_id,
        key=first.key,
        status=TokenStatus.VALID,
        error_code=None,
        expires_at=START + HOUR,
        scopes=("s",),
        generation=1,
        last_used_at=None,
        last_refreshed_at=None,
        lifetime=HOUR,
        created_at=START,
        updated_at=START,
        value_id=first.value_id,
        client=b"c" * 16,
    )
    assert state.tokens[A].info == known
    used, second = state.with_token(state.tokens[A], last_used_at=START + SECOND), write(A, scopes=("t",))
    new = stored(used, LATER, [second], None).state.tokens[A].info
    assert new == evolve(
        known,
        expires_at=LATER + HOUR,
        scopes=("t",),
        generation=2,
        last_used_at=START + SECOND,
        last_refreshed_at=LATER,
        updated_at=LATER,
        value_id=second.value_id,
        client=None,
    )


def test_an_import_is_told_with_its_time_and_who_did_it():
    named = [(row().seal(SEALED), uuid4())]
    [event] = imported(AccountState(ACCOUNT), LATER, named, (), "ann", overwrite=False).events
    assert (event.occurred_at, event.actor) == (LATER, "ann")
