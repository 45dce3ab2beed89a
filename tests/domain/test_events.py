"""The audit events of tokens and of refreshes, each with all that it says."""

from datetime import timedelta

import pytest
from attrs import evolve
from tests.domain.account_facts import ACCOUNT, HOUR, START, A, R, attempt_on, with_values

from vault_domain.entities.attempt import Failure
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.transitions import events

NOW = START + HOUR
STORED = with_values(R, state=with_values())
ATTEMPT = attempt_on(STORED)
ACCESS, REFRESH = STORED.tokens[A].info, STORED.tokens[R].info
OF_ACCOUNT = {"tenant_id": "t1", "account": ACCOUNT, "actor": "ann"}


def test_an_event_of_a_token():
    action = AuditAction.TOKEN_DELETED
    event = AuditEvent(action, NOW, **OF_ACCOUNT, kind=R, generation=2, code="x")
    assert events.token_event(action, REFRESH, NOW, "ann", "x") == event
    assert events.token_event(action, REFRESH, NOW, "ann").code is None
    assert events.key_event(action, REFRESH.key, None, NOW, "ann", "x") == evolve(event, generation=None)
    assert events.key_event(action, REFRESH.key, None, NOW, "ann").code is None


@pytest.mark.parametrize(
    ("stored", "kind", "generation", "of_credential"),
    [
        ([ACCESS, REFRESH], A, 1, 2),
        ([REFRESH, ACCESS], A, 1, 2),
        ([ACCESS], A, 1, None),
        ([REFRESH], R, 2, None),
    ],
)
def test_a_refresh_is_one_event_of_what_it_stored(stored, kind, generation, of_credential):
    assert events.refreshed_event(ATTEMPT, stored, NOW, "ann") == AuditEvent(
        AuditAction.TOKEN_REFRESHED,
        NOW,
        **OF_ACCOUNT,
        kind=kind,
        generation=generation,
        credential_generation=of_credential,
    )


@pytest.mark.parametrize(
    ("event_of", "action"),
    [
        (events.recovered_event, AuditAction.REFRESH_RECOVERED),
        (events.lost_event, AuditAction.REFRESH_OUTCOME_UNKNOWN),
        (events.kept_event, AuditAction.ANSWER_KEPT),
    ],
)
def test_an_event_of_an_attempt(event_of, action):
    code = "unreadable_answer" if action is AuditAction.ANSWER_KEPT else None
    assert event_of(ATTEMPT, NOW, "ann") == AuditEvent(action, NOW, **OF_ACCOUNT, code=code)


def test_an_event_of_a_condemned_credential():
    event = AuditEvent(AuditAction.REAUTHORIZATION_REQUIRED, NOW, **OF_ACCOUNT, code="x")
    assert events.required_event(ATTEMPT, "x", NOW, "ann") == event


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Failure("x", timedelta(0), unknown=True, refused=True), "x"),
        (Failure(None, timedelta(0), unknown=True), "outcome_unknown"),
        (Failure(None, timedelta(0), unknown=False, refused=True), "refused"),
        (Failure(None, timedelta(0), unknown=False), "temporarily_unavailable"),
    ],
)
def test_a_failure_is_told_with_its_cause(failure, code):
    event = AuditEvent(AuditAction.REFRESH_FAILING, NOW, **OF_ACCOUNT, code=code)
    assert events.failing_event(ATTEMPT, failure, NOW, "ann") == event
