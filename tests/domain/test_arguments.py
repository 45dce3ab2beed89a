"""Arguments of the public methods: kept in their checked form, or refused by an error that does not repeat them."""

import itertools
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from attrs import evolve

from vault_domain.entities.account import Account, ConnectionState, TokenKind
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.imported import ImportedToken
from vault_domain.entities.secret import Secret, as_secret
from vault_domain.entities.token import Token, TokenInfo, TokenStatus
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade import arguments as read

CANARY = "ya29.canary-of-the-arguments"
ACCOUNT = Account("t1", "google", "ann")
ACCESS, REFRESH = ACCOUNT.key(TokenKind.ACCESS_TOKEN), ACCOUNT.key(TokenKind.REFRESH_TOKEN)
NOW = datetime(2030, 1, 1, tzinfo=UTC)
INFO = TokenInfo(UUID(int=1), ACCESS, TokenStatus.VALID, None, None, (), 1, None, None, None, NOW, NOW)
REFRESH_INFO = evolve(INFO, key=REFRESH)
KEY_INFO = evolve(INFO, key=ACCOUNT.key(TokenKind.API_KEY))
TOKENS = TokenSet(CANARY)


@pytest.mark.parametrize(
    ("check", "value", "kept"),
    [
        (read.as_key, ACCESS, ACCESS),
        (read.as_account, ACCOUNT, ACCOUNT),
        (read.as_keys, [ACCESS, REFRESH, ACCESS], [ACCESS, REFRESH]),
        (read.as_keys, iter([ACCESS]), [ACCESS]),
        (read.as_keys, (), []),
        (read.as_token_info, INFO, INFO),
        (read.as_token_info, Token(REFRESH_INFO, Secret(CANARY)), REFRESH_INFO),
        (read.as_presented_info, Token(INFO, Secret(CANARY)), INFO),
        (read.as_presented_info, KEY_INFO, KEY_INFO),
        (read.as_token_set, TOKENS, TOKENS),
        (read.as_optional_provider, None, None),
        (read.as_optional_provider, "google", "google"),
        (read.as_optional_tenant_id, None, None),
        (read.as_optional_tenant_id, 7, "7"),
        (read.as_optional_state, None, None),
        (read.as_optional_state, ConnectionState.RETRYING, ConnectionState.RETRYING),
        (read.as_progress, None, None),
        (read.as_progress, print, print),
        (read.as_limit, 1, 1),
        (read.as_limit, 10_000, 10_000),
        (read.as_generation, None, None),
        (read.as_generation, 0, 0),
        (read.as_generation, 2**63 - 1, 2**63 - 1),
    ],
)
def test_what_is_right_is_kept(check, value, kept):
    assert check(value) == kept


@pytest.mark.parametrize(
    ("check", "value"),
    [
        *((read.as_key, value) for value in (None, CANARY, ACCOUNT, (CANARY,))),
        *((read.as_account, value) for value in (None, CANARY, ACCESS)),
        *((read.as_keys, value) for value in (None, "", b"", CANARY, 7, ACCESS, [CANARY], [ACCESS, None])),
        *((read.as_token_info, value) for value in (None, CANARY, Secret(CANARY), ACCESS)),
        *(
            (read.as_presented_info, value)
            for value in (None, CANARY, REFRESH_INFO, Token(REFRESH_INFO, Secret(CANARY)))
        ),
        *((read.as_token_set, value) for value in (None, CANARY, {"access_token": CANARY}, Secret(CANARY))),
        *((read.as_optional_provider, value) for value in ("", CANARY.upper(), 7)),
        *((read.as_optional_tenant_id, value) for value in ("", True, [CANARY])),
        *((read.as_optional_state, value) for value in ("retrying", CANARY, True)),
        *((read.as_progress, value) for value in (CANARY, False, 0)),
        *((read.as_limit, value) for value in (0, -1, 10_001, True, "7", 1.0, None)),
        *((read.as_generation, value) for value in (-1, 2**63, True, "1", 1.0)),
        *((read.as_drafts, value) for value in (None, "", b"", CANARY, 7, [CANARY], [ACCESS], [(ACCESS,)], [()])),
        *((read.as_drafts, [item]) for item in ((ACCESS, None), (ACCESS, 7), (CANARY, "v"), (ACCESS, "v", CANARY))),
        *((read.as_drafts, [item]) for item in ((ACCESS, "v", None, ()), (ACCESS, "v", NOW.replace(tzinfo=None)))),
        (read.as_drafts, [(ACCESS, CANARY), (REFRESH, "v"), (ACCESS, "w")]),
    ],
)
def test_what_is_wrong_is_refused_in_silence(check, value):
    with pytest.raises(InvalidInputError) as caught:
        check(value)
    assert CANARY not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (0, 0.0),
        (2, 2.0),
        (0.5, 0.5),
        (86_400, 86_400.0),
        (timedelta(minutes=1), 60.0),
        (timedelta(0), 0.0),
    ],
)
def test_times_to_wait(value, seconds):
    assert read.as_seconds(value, "timeout") == seconds


@pytest.mark.parametrize(
    "value", [-1, -0.001, 86_401, True, False, "5", float("nan"), float("inf"), timedelta(seconds=-1), NOW, [1]]
)
def test_other_times_to_wait_are_refused(value):
    with pytest.raises(InvalidInputError, match="timeout"):
        read.as_seconds(value, "timeout")


@pytest.mark.parametrize("value", [0, 1, None, "true", CANARY])
def test_flags_are_true_or_false(value):
    assert read.as_flag(True, "revoke") is True
    assert read.as_flag(False, "revoke") is False
    with pytest.raises(InvalidInputError, match="revoke"):
        read.as_flag(value, "revoke")


@pytest.mark.parametrize("value", [CANARY, 0, True])
def test_functions_can_be_called(value):
    assert read.as_function(None, "should_stop") is None
    assert read.as_function(print, "should_stop") is print
    with pytest.raises(InvalidInputError, match="should_stop"):
        read.as_function(value, "should_stop")


def test_drafts():
    drafts = read.as_drafts(item for item in [(ACCESS, "v", NOW), [REFRESH, Secret("w")]])
    assert [(draft.key, draft.value.reveal(), draft.expires_at) for draft in drafts] == [
        (ACCESS, "v", NOW),
        (REFRESH, "w", None),
    ]
    assert read.as_drafts([]) == []
    draft = read.as_draft(ACCESS, as_secret("v"), NOW, ["mail", "cal", "mail"])
    assert (draft.scopes, draft.refreshed) == (("mail", "cal"), False)


def test_more_items_than_a_call_takes_are_refused_without_reading_them_all():
    numbers = itertools.count()
    with pytest.raises(InvalidInputError, match="at most 10000"):
        read.as_drafts((Account("t1", "google", str(number)).key("api_key"), "v") for number in numbers)
    assert next(numbers) == 10_001
    with pytest.raises(InvalidInputError, match="at most 10000"):
        read.as_keys(itertools.repeat(ACCESS))
    keys = [Account("t1", "google", str(number)).key("api_key") for number in range(10_000)]
    assert len(read.as_drafts([(key, "v") for key in keys])) == len(read.as_keys(keys)) == 10_000


@pytest.mark.parametrize("empty", ["", Secret("")])
def test_an_empty_value_is_refused_wherever_one_is_stored(empty):
    for store in (
        lambda: read.as_drafts([(ACCESS, empty)]),
        lambda: ImportedToken(ACCESS, empty),
        lambda: TokenSet(empty),
        lambda: TokenSet.from_response({"access_token": empty}),
    ):
        with pytest.raises(InvalidInputError, match="must not be empty"):
            store()
    assert TokenSet("a", empty).refresh_token is None


def test_an_account_in_place_of_a_key_gets_a_hint():
    with pytest.raises(InvalidInputError, match=r"key must be a TokenKey; account\.key\(kind\) makes one"):
        read.as_key(ACCOUNT)
