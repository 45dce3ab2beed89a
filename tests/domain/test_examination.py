"""The rules that decide what puts accounts at risk, and the collection of findings."""

from datetime import UTC, datetime, timedelta

import pytest

from vault_domain import (
    Account,
    AccountInfo,
    ConnectionState,
    Incident,
    Readiness,
    TokenHealth,
    TokenInfo,
    TokenKind,
    TokenStatus,
)
from vault_domain.entities.clients import CLIENT_REASONS, MASS_REJECTION
from vault_domain.entities.findings import Example, FindingCode, Severity
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.token import NO_VALUE
from vault_domain.rules.advice import ADVICE, advice_for
from vault_domain.rules.connection import describe_account
from vault_domain.rules.examination import LARGE_LOG, ProviderFacts, SetUp, clock_skew, setup_findings
from vault_domain.rules.key_states import RETIRED_MASTER_KEY
from vault_domain.services.tokens.examination import MOST_EXAMPLES, Examination

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
SOUND = ProviderFacts(has_refresher=True, rotates=True, names_hosts=True)


def info(tenant="t1", provider="acme", identifier=None, state=ConnectionState.CONNECTED, **fields):
    return AccountInfo(Account(tenant, provider, identifier), state, expires_at=NOW + DAY / 24, **fields)


def examine(*infos, facts=SOUND, has_journal=True, **options):
    examination = Examination(lambda _: facts, NOW, 14 * DAY, has_journal=has_journal)
    for each in infos:
        examination.see(each)
    return examination.findings(**options)


def codes(found):
    return [each.code.value for each in found]


def test_sound_accounts_give_no_finding():
    ending_later = info("t2", refresh_token_expires_at=NOW + 14 * DAY + SECOND)
    assert examine(info(), ending_later, info("t3", identifier="ann"), info("t4", identifier="ann")) == []


def test_states_of_accounts():
    broken = info(state=ConnectionState.REAUTHORIZATION_REQUIRED, refresh_token_expires_at=NOW - DAY)
    failing = info("t2", state=ConnectionState.RETRYING, refresh_token_expires_at=NOW + 14 * DAY)
    found = examine(failing, broken)
    assert codes(found) == ["reconnect_required", "refresh_token_ending", "refresh_failing"]
    assert [[example.account for example in each.examples] for each in found] == [
        [broken.account],
        [failing.account],
        [failing.account],
    ]
    assert [each.is_risk for each in found] == [True, True, True]


@pytest.mark.parametrize(
    ("left", "lifetime"), [(5, 5), (3, 5), (13, 27), (14, 60), (15, 60), (2, 5), (0, 5), (14, None)]
)
def test_a_refresh_token_ends_soon_when_the_health_report_says_so(left, lifetime):
    lifetime = None if lifetime is None else lifetime * DAY
    account = Account("t1", "acme")
    token = TokenInfo(
        id=NO_VALUE,
        key=account.key(TokenKind.REFRESH_TOKEN),
        status=TokenStatus.VALID,
        error_code=None,
        expires_at=NOW + left * DAY + SECOND,
        scopes=(),
        generation=1,
        last_used_at=None,
        last_refreshed_at=None,
        lifetime=lifetime,
        created_at=NOW,
        updated_at=NOW,
    )
    described = describe_account(AccountRecord(account, {TokenKind.REFRESH_TOKEN: token}), NOW)
    for moment in (NOW, NOW + SECOND):
        is_expiring = token.health(moment) is TokenHealth.EXPIRING
        examination = Examination(lambda _: SOUND, moment, 14 * DAY, has_journal=True)
        examination.see(described)
        if not token.is_expired(moment):
            assert codes(examination.findings()) == (["refresh_token_ending"] if is_expiring else [])


def test_findings_are_grouped_by_provider_and_show_a_few_examples():
    required = ConnectionState.REAUTHORIZATION_REQUIRED
    many = [info(f"t{number}", "zoho", state=required) for number in range(9)]
    first, second = examine(*many, info(provider="acme", state=required))
    assert (first.provider, first.accounts, len(first.examples)) == ("acme", 1, 1)
    assert (second.provider, second.accounts, len(second.examples)) == ("zoho", 9, MOST_EXAMPLES)


def actions_of(**readiness):
    setup = SetUp(Readiness(**readiness), NOW, NOW, NOW)
    return [each.action for each in setup_findings(setup)]


def test_each_known_cause_of_an_outage_has_an_action_of_its_own():
    unknown = actions_of(store="57014")
    assert unknown == [ADVICE[FindingCode.DATABASE_UNAVAILABLE][2]]
    frequent = ("connection_refused", "unknown_host", "authentication_failed", "database_missing", "permission_denied")
    told = [actions_of(store=cause)[0] for cause in (*frequent, "tls", "timeout", "too_many_connections")]
    told += [actions_of(master_key=cause)[0] for cause in ("unknown_master_key", RETIRED_MASTER_KEY, "kms_unavailable")]
    assert len({*told, *unknown}) == len(told) + 1
    assert actions_of(schema="schema_outdated") == [ADVICE[FindingCode.SCHEMA_OUTDATED][2]]


def test_the_rights_of_a_process_are_named_only_if_the_key_service_refuses_it():
    """A refusal never has the code ``kms_unavailable``."""
    assert "right" not in actions_of(master_key="kms_unavailable")[0]
    assert "right" in actions_of(master_key="kms_access_denied")[0]
    assert "right" in actions_of(master_key="key_denied")[0]
    for service in ("gcp", "azure", "transit", "pkcs11"):
        assert "network" in actions_of(master_key=f"{service}_unavailable")[0]
        assert "credentials" in actions_of(master_key=f"{service}_credentials")[0]


def test_each_reason_of_a_pause_has_an_action_of_its_own():
    incidents = tuple(Incident("acme", reason, NOW, NOW) for reason in sorted(CLIENT_REASONS))
    found = list(setup_findings(sound(incidents=incidents)))
    assert len({each.action for each in found} | {ADVICE[FindingCode.PROVIDER_PAUSED][2]}) == len(incidents) + 1 == 5
    [mass] = [each for each in found if each.detail == MASS_REJECTION]
    assert "secret" not in mass.action


def test_a_missing_refresher():
    facts = ProviderFacts(has_refresher=False, rotates=False)
    lasting = AccountInfo(Account("t2", "clerk"), ConnectionState.CONNECTED)
    (found,) = examine(info(), lasting, facts=facts)
    assert (found.code, found.accounts, found.severity) == (FindingCode.REFRESHER_MISSING, 1, Severity.CRITICAL)
    unknown = ProviderFacts(has_refresher=None)
    [found] = examine(info(), facts=unknown)
    assert (found.code, found.is_risk, found.provider) == (FindingCode.REFRESHERS_UNKNOWN, True, "acme")
    assert examine(lasting, facts=unknown) == []


def test_accounts_of_one_user_share_a_grant():
    facts = ProviderFacts(has_refresher=True, ends_all_grants=True)
    infos = [info(tenant, identifier=name) for tenant, name in [("t1", "a"), ("t2", "b"), ("t3", "a"), ("t4", "a")]]
    (found,) = examine(*infos, info("t5"), info("t6"), facts=facts)
    assert (found.code, found.accounts) == (FindingCode.SHARED_GRANT, 3)
    assert [each.account.tenant_id for each in found.examples] == ["t1", "t3", "t4"]


@pytest.mark.parametrize(("rotates", "expected"), [(True, 1), (None, 1), (False, 0)])
def test_a_missing_journal_concerns_accounts_whose_refresh_tokens_rotate(rotates, expected):
    facts = ProviderFacts(has_refresher=True, rotates=rotates)
    assert codes(examine(info(), facts=facts, has_journal=False)) == ["journal_missing"] * expected
    assert examine(info(), facts=facts, has_journal=True) == []
    assert examine(has_journal=False) == []


def test_facts_of_providers_are_notes():
    facts = ProviderFacts(has_refresher=True, unverified=("rotation", "limits"), names_hosts=False)
    found = examine(info(), info("t2"), facts=facts, is_complete=False)
    assert codes(found) == ["profile_unverified", "api_hosts_missing", "accounts_left"]
    assert [each.detail for each in found] == ["rotation, limits", None, "2 were examined"]
    assert not any(each.is_risk for each in found)


@pytest.mark.parametrize(
    ("has", "asked", "expected"),
    [
        (("a", "b"), {"a", "b"}, 0),
        (("a", "b", "c"), {"a", "b"}, 0),
        (("a",), {"a", "b"}, 1),
        (("a",), {"a", "openid", "email", "offline_access"}, 0),
        ((), {"a"}, 0),
    ],
)
def test_accounts_with_fewer_scopes_than_their_refresher_asks_for_are_a_note(has, asked, expected):
    facts = ProviderFacts(has_refresher=True, names_hosts=True, scopes=frozenset(asked))
    found = examine(info(scopes=has), info("t2", scopes=tuple(asked)), facts=facts)
    assert [(each.code.value, each.accounts, each.is_risk) for each in found] == [
        ("scopes_missing", 1, False)
    ] * expected


def sound(**fields):
    return SetUp(**{"readiness": Readiness(), "asked_at": NOW, "answered_at": NOW + SECOND, **fields})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"readiness": Readiness(store="timeout")}, ["database_unavailable"]),
        ({"readiness": Readiness(store="read_only")}, ["database_read_only"]),
        ({"readiness": Readiness(schema="schema_outdated")}, ["schema_outdated"]),
        ({"readiness": Readiness(master_key="denied")}, ["master_key_unavailable"]),
        ({"incidents": (Incident("acme", "invalid_client", NOW, NOW),)}, ["provider_paused"]),
        ({"secret_bits": (200.0, 79.9)}, ["secret_weak"]),
        ({"secret_bits": (80.0,)}, []),
        ({"store_time": NOW - 5 * SECOND}, []),
        ({"store_time": NOW - 6 * SECOND}, ["clock_skew"]),
        ({"store_time": NOW + 6 * SECOND}, []),
        ({"store_time": NOW + 7 * SECOND}, ["clock_skew"]),
        ({"has_retention": False, "events": LARGE_LOG}, ["audit_retention_missing"]),
        ({"has_retention": False, "events": LARGE_LOG - 1}, []),
        ({"has_retention": True, "events": LARGE_LOG}, []),
    ],
)
def test_the_set_up(fields, expected):
    assert codes(setup_findings(sound(**fields))) == expected


def test_a_slow_answer_is_no_skew():
    assert clock_skew(NOW, NOW + 30 * SECOND, NOW + 60 * SECOND) == timedelta(0)


def test_every_code_has_advice():
    assert set(ADVICE) == set(FindingCode)


def test_a_dead_grant_says_what_happened_by_its_reason():
    dead = [
        info(state=ConnectionState.REAUTHORIZATION_REQUIRED, reason=each) for each in ("invalid_grant", "exhausted")
    ]
    rejected, other = (advice_for(each).sentence for each in dead)
    assert (rejected.startswith("The provider rejected the refresh token"), "rejected" in other) == (True, False)


RETRYING = ConnectionState.RETRYING


@pytest.mark.parametrize("reason", sorted(CLIENT_REASONS))
def test_a_fault_of_a_client_is_one_finding_which_says_whether_the_client_is_paused(reason):
    failing, elsewhere = (
        info(tenant, name, state=RETRYING, reason=reason) for tenant, name in [("t1", "a"), ("t2", "b")]
    )
    incident = Incident("a", reason, NOW, NOW)
    first, second = examine(failing, elsewhere, others=list(setup_findings(sound(incidents=(incident,)))))
    assert (first.code, first.provider, first.examples) == (
        FindingCode.PROVIDER_PAUSED,
        "a",
        (Example(failing.account),),
    )
    assert (second.code, second.provider, second.is_risk) == (FindingCode.REFRESH_FAILING, "b", True)
    for account, found in ((failing, first), (elsewhere, second)):
        advice = advice_for(account, [incident])
        assert (advice.code, advice.sentence, advice.action) == (found.code, found.sentence, found.action)
    assert "paused" in first.sentence
    assert "pause" not in second.sentence + second.action
    assert first.action == f"{second.action} The pause ends by itself after a success."


def test_the_doctor_and_the_page_of_an_account_agree_on_who_must_act():
    """So the exit code 15 of the doctor means that somebody must act, and an outage of a provider does not give it."""
    reasons = [
        "temporarily_unavailable",
        "server_error",
        "timeout",
        "outcome_unknown",
        "refused",
        "http_404",
        "clock_skew",
    ]
    for reason in reasons:
        failing = info(state=RETRYING, reason=reason)
        [found] = examine(failing)
        advice = advice_for(failing)
        assert (found.code, found.severity, found.action) == (advice.code, advice.severity, advice.action)
        assert found.is_risk is (reason in reasons[4:])


def test_an_outage_says_what_it_is_and_whether_most_accounts_are_concerned():
    down = [info(f"t{number}", state=RETRYING, reason="temporarily_unavailable") for number in range(2)]
    assert advice_for(down[0]).sentence == "The provider is temporarily unavailable; refreshes are tried again."
    for connected, expected in ((1, True), (2, False)):
        [found] = examine(*down, *[info(f"c{number}") for number in range(connected)])
        assert (found.detail, found.accounts) == ("temporarily_unavailable", 2)
        assert ("Most accounts of the provider" in found.sentence) is expected
