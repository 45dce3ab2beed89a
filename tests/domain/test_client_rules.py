"""The pure functions that decide from refusals whether a client is at fault."""

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve

from vault_domain.entities.account import Account
from vault_domain.entities.clients import CLIENT_MISMATCH, INVALID_CLIENT, MASS_REJECTION, ClientRecord, ClientScope
from vault_domain.entities.errors import InvalidInputError
from vault_domain.rules.bounds import MOST_ACCOUNTS
from vault_domain.rules.clients import (
    ClientRules,
    after_restore,
    at_endpoint,
    concerns,
    counted,
    fingerprint,
    holds_back,
    is_abandoned,
    is_mass,
    is_mismatch,
    is_paused,
    mark_of,
    next_probe,
    opened,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
RULES = ClientRules()
CLIENT, OTHER = b"a" * 16, b"b" * 16
SCOPE = ClientScope("google", CLIENT, INVALID_CLIENT)
ANN, BOB, CEM, DOT = (Account("t1", "google", name) for name in ("ann", "bob", "cem", "dot"))


def refuse(record, *accounts, now=NOW, succeeded=False, rules=RULES, is_sole=True):
    for account in accounts:
        record = counted(record, SCOPE, account, now, rules, succeeded, is_sole=is_sole)
    return record


def test_a_fingerprint_tells_clients_and_providers_apart_and_never_changes():
    assert fingerprint("google", "id").hex() == "ab0879720d0bfe4c73e8e7c23e920b6c"
    different = {fingerprint("google", "id"), fingerprint("google", "id2"), fingerprint("acme", "id")}
    assert len(different) == 3


def test_a_mark_is_four_bytes():
    marks = {
        mark_of(account) for account in (ANN, BOB, CEM, DOT, Account("t2", "google", "ann"), Account("t1", "google"))
    }
    assert len(marks) == 6
    assert {len(mark) for mark in marks} == {4}
    assert len({mark[:2] for mark in marks}) == 2  # two tenants


def test_a_pause_needs_two_of_several_tenants():
    eve = Account("t2", "google", "eve")
    refused = refuse(None, ANN, BOB, CEM, DOT, ANN, is_sole=False)
    assert refused.opened_at is None
    assert refuse(refused, eve, is_sole=False).opened_at == NOW
    assert refuse(None, eve, ANN, is_sole=False).opened_at is None
    assert refuse(None, eve, ANN, BOB, is_sole=False).opened_at == NOW
    one = ClientRules(accounts=1)
    assert refuse(None, ANN, BOB, rules=one, is_sole=False).opened_at is None
    assert refuse(None, ANN, eve, rules=one, is_sole=False).opened_at == NOW


def test_a_pause_concerns_one_endpoint():
    here, there = (at_endpoint(CLIENT, f"https://{name}.example.com/token") for name in ("a", "b"))
    paused = opened(ClientRecord(evolve(SCOPE, client=here), NOW, NOW), NOW)
    assert concerns(paused, CLIENT, CLIENT, here)
    assert not concerns(paused, CLIENT, CLIENT, there)
    assert not concerns(paused, CLIENT, CLIENT)
    assert {len(here), len(there)} == {16}
    assert at_endpoint(OTHER, "https://a.example.com/token") != here != at_endpoint(None, "https://a.example.com/token")


@pytest.mark.parametrize(
    ("stored", "client", "answer"),
    [(CLIENT, CLIENT, False), (CLIENT, OTHER, True), (None, CLIENT, False), (CLIENT, None, False), (None, None, False)],
)
def test_a_mismatch_is_known_on_both_sides(stored, client, answer):
    assert is_mismatch(stored, client) is answer


def test_three_accounts_open_a_pause_and_one_account_never():
    assert refuse(None, *[ANN] * 9).opened_at is None
    assert refuse(None, ANN, BOB, ANN, BOB).opened_at is None
    record = refuse(refuse(None, ANN, BOB), CEM, now=NOW + MINUTE)
    assert (record.since, record.opened_at, record.probe_at) == (NOW, NOW + MINUTE, NOW + MINUTE)
    assert refuse(None, ANN, rules=ClientRules(accounts=1)).opened_at == NOW


def test_a_success_between_begins_the_count_again_but_ends_no_pause():
    record = refuse(refuse(None, ANN, BOB), CEM, now=NOW + MINUTE, succeeded=True)
    assert record == ClientRecord(SCOPE, NOW + MINUTE, NOW + MINUTE, (mark_of(CEM),))
    paused = refuse(None, ANN, BOB, CEM)
    assert refuse(paused, DOT, succeeded=True).opened_at == NOW


def test_a_pause_stays_as_it_is_and_knows_who_was_refused_last():
    paused = refuse(None, ANN, BOB, CEM)
    later = refuse(paused, DOT, now=NOW + MINUTE)
    assert later == evolve(paused, refused_at=NOW + MINUTE, marks=tuple(map(mark_of, (BOB, CEM, DOT))))


def test_a_mass_rejection_is_believed_after_four_days_and_a_refused_client_never():
    for reason in (INVALID_CLIENT, CLIENT_MISMATCH, MASS_REJECTION):
        record = opened(ClientRecord(evolve(SCOPE, reason=reason), NOW, NOW), NOW)
        assert is_paused(record, NOW + RULES.longest - SECOND, RULES)
        assert is_paused(record, NOW + RULES.longest, RULES) is (reason != MASS_REJECTION)
    assert not is_paused(refuse(None, ANN), NOW, RULES)


def test_a_pause_concerns_its_client_and_a_mismatch_only_other_clients_values():
    refused = refuse(None, ANN, BOB, CEM)
    assert concerns(refused, None, CLIENT)
    assert concerns(refused, OTHER, CLIENT)
    assert not concerns(refused, None, OTHER)
    mismatch = evolve(refused, scope=evolve(SCOPE, reason=CLIENT_MISMATCH))
    assert concerns(mismatch, OTHER, CLIENT)
    assert not concerns(mismatch, CLIENT, CLIENT)
    assert not concerns(mismatch, None, CLIENT)


def test_one_probe_per_interval_and_who_was_refused_waits_longer():
    paused = refuse(None, ANN, BOB, CEM)
    for account in (DOT, None):
        assert next_probe(paused, account, NOW, RULES) == NOW + MINUTE
    assert next_probe(paused, ANN, NOW, RULES) == NOW + 3 * MINUTE
    assert next_probe(paused, DOT, NOW - MINUTE, RULES) == NOW - MINUTE  # the clock was set back


@pytest.mark.parametrize(
    ("reason", "code", "waits"),
    [
        (MASS_REJECTION, "mass_rejection", True),
        (MASS_REJECTION, "invalid_client", True),
        (MASS_REJECTION, "temporarily_unavailable", False),
        (MASS_REJECTION, None, False),
        (INVALID_CLIENT, "invalid_client", False),
    ],
)
def test_an_account_that_a_mass_rejection_spared_probes_after_others(reason, code, waits):
    paused = opened(ClientRecord(evolve(SCOPE, reason=reason), NOW, NOW), NOW)
    assert next_probe(paused, DOT, NOW, RULES, code) == NOW + (3 if waits else 1) * MINUTE


@pytest.mark.parametrize(
    ("rejected", "succeeded", "answer"), [(4, 0, False), (5, 0, True), (5, 4, True), (5, 5, False), (50, 49, True)]
)
def test_a_mass_is_five_accounts_and_more_than_half(rejected, succeeded, answer):
    assert is_mass(rejected, succeeded, RULES, is_one_tenants=False) is answer
    assert not is_mass(rejected, succeeded, RULES, is_one_tenants=True)


def test_a_pause_that_nobody_uses_is_over():
    paused = refuse(None, ANN, BOB, CEM)
    assert not is_abandoned(paused, NOW + RULES.window, RULES)
    assert is_abandoned(paused, NOW + RULES.window + SECOND, RULES)
    assert not is_abandoned(refuse(None, ANN), NOW + RULES.longest, RULES)
    assert is_abandoned(refuse(None, ANN), NOW + RULES.longest + SECOND, RULES)
    slow = ClientRules(probe_interval=timedelta(hours=1))
    assert not is_abandoned(paused, NOW + timedelta(hours=10), slow)


@pytest.mark.parametrize(
    "numbers",
    [{"accounts": 0}, {"accounts": 11}, {"fleet": 1}, {"probe_interval": 0 * SECOND}, {"window": 0 * SECOND},
     {"longest": -SECOND}],
)  # fmt: skip
def test_numbers_that_make_no_sense(numbers):
    with pytest.raises(InvalidInputError):
        ClientRules(**numbers)


@pytest.mark.parametrize("reason", [INVALID_CLIENT, CLIENT_MISMATCH, MASS_REJECTION])
def test_a_mass_rejection_holds_back_only_what_was_rejected(reason):
    paused = evolve(refuse(None, ANN), scope=evolve(SCOPE, reason=reason), opened_at=NOW, probe_at=NOW)
    assert holds_back(paused, ANN, None)
    assert holds_back(paused, DOT, MASS_REJECTION)
    assert holds_back(paused, DOT, None) is (reason != MASS_REJECTION)


def test_after_a_restore_rejections_of_older_credentials_are_believed_even_during_a_pause():
    judged = after_restore(RULES, NOW - SECOND, NOW)
    paused = opened(ClientRecord(evolve(SCOPE, reason=MASS_REJECTION), NOW, NOW), NOW)
    assert is_paused(paused, NOW + SECOND, RULES)
    assert not is_paused(paused, NOW + SECOND, judged)
    assert not is_mass(1000, 0, judged, is_one_tenants=False)
    for stored_at, restored_at in ((NOW, NOW), (None, NOW), (NOW, None)):
        assert after_restore(RULES, stored_at, restored_at) == RULES


def test_what_a_store_keeps_of_an_endpoint_and_an_account_never_changes():
    url = "https://acme.example/token"
    assert (at_endpoint(CLIENT, url).hex(), at_endpoint(None, url).hex()) == (
        "9f27d55f61ebc17448afafca6c97f8ef",
        "ca59a88fce60003af0146b96819e6f1a",
    )
    assert (mark_of(Account("t1", "google")).hex(), mark_of(ANN).hex()) == ("40e2c23a", "40e23bdb")


@pytest.mark.parametrize(("field", "least", "most"), [("accounts", 1, MOST_ACCOUNTS), ("fleet", 2, 2**31)])
def test_the_numbers_of_a_pause_have_bounds(field, least, most):
    for good in (least, most):
        assert getattr(ClientRules(**{field: good}), field) == good
    for bad in [least - 1, *([most + 1] if field == "accounts" else [])]:
        with pytest.raises(InvalidInputError, match=f"a pause needs 1 to {MOST_ACCOUNTS} accounts"):
            ClientRules(**{field: bad})


def test_a_probe_that_has_just_begun_keeps_the_next_one_out():
    paused = opened(refuse(None, ANN), NOW)
    assert next_probe(paused, None, NOW, RULES) == NOW + RULES.probe_interval
    assert next_probe(paused, None, NOW - SECOND, RULES) == NOW - SECOND  # the clock was set back


def test_a_refusal_is_dated_and_that_of_a_sole_tenant_must_be_said():
    assert refuse(None, ANN).refused_at == NOW
    assert counted(refuse(None, ANN, BOB), SCOPE, CEM, NOW, RULES, succeeded=False).opened_at is None


def test_a_record_keeps_as_many_marks_as_a_pause_needs():
    assert len(refuse(None, ANN, BOB, CEM, rules=ClientRules(accounts=1)).marks) == 2


def test_the_times_of_a_pause_are_positive():
    with pytest.raises(InvalidInputError, match=r"^the times of pauses must be positive$"):
        ClientRules(window=timedelta(0))
