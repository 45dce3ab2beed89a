"""Accounts, keys, texts and times: what is accepted, how it is kept, and that errors do not repeat what is refused."""

import enum
import itertools
import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from attrs import asdict, evolve
from attrs.exceptions import FrozenInstanceError
from hypothesis import given
from hypothesis import strategies as st
from tests.domain.leaks import assert_refused

from vault_domain.entities import text
from vault_domain.entities.account import Account, TokenKey, TokenKind
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.page import MAX_PAGE, decode_cursor
from vault_domain.entities.rotation_policy import Rotation
from vault_domain.entities.token_set import TokenSet
from vault_domain.rules.oauth_codes import registered_code

CANARY = "canary-7f3a9c"


class Text(str):
    """A string whose `str()` gives another text: its characters must be kept instead."""

    __slots__ = ()

    def __str__(self):
        return "other"


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=255)
any_text = st.text(st.characters(exclude_categories=[]), max_size=300)


def is_name(value):
    return 1 <= len(value) <= 255 and "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)


# Tenants, providers, identifiers


@given(any_text)
def test_a_tenant_is_kept_as_it_is_or_refused(value):
    if is_name(value):
        assert Account(value, "google").tenant_id == value
    else:
        with pytest.raises(InvalidInputError):
            Account(value, "google")


@given(st.integers(min_value=-(10**254) + 1, max_value=10**255 - 1) | st.uuids())
def test_numbers_and_uuids_become_their_text(value):
    assert Account(value, "google").tenant_id == str(value)
    assert Account(value, "google") == Account(str(value), "google")


def test_case_is_not_folded():
    assert Account("T1", "google") != Account("t1", "google")
    assert Account(UUID(int=10), "google").tenant_id == "00000000-0000-0000-0000-00000000000a"


@given(any_text)
def test_an_identifier_is_normalised_or_refused(value):
    if value == "":
        assert Account("t1", "google", value).identifier is None
    elif is_name(value) and len(unicodedata.normalize("NFC", value)) <= 255:
        kept = Account("t1", "google", value).identifier
        assert kept == unicodedata.normalize("NFC", value)
        assert Account("t1", "google", kept).identifier == kept
        decomposed = unicodedata.normalize("NFD", value)
        if len(decomposed) <= 255:
            assert Account("t1", "google", decomposed) == Account("t1", "google", value)
    else:
        with pytest.raises(InvalidInputError):
            Account("t1", "google", value)


def test_an_identifier_that_grows_when_it_is_normalised_is_measured_afterwards():
    grows = "\ufb2c"  # one character, three in NFC
    assert len(unicodedata.normalize("NFC", grows)) == 3
    assert len(Account("t1", "google", grows * 85).identifier) == 255
    with pytest.raises(InvalidInputError):
        Account("t1", "google", grows * 86)


@pytest.mark.parametrize("length", [1, 255])
def test_the_longest_names_count_characters(length):
    for letter in ("a", "\u20ac", "\U0001f511"):
        account = Account(letter * length, "google", letter * length)
        assert len(account.tenant_id) == len(account.identifier) == length


@given(st.text("abz019_.-AZ /\n\u00e9", max_size=70))
def test_a_provider_matches_its_rule_or_is_refused(value):
    good = 1 <= len(value) <= 64 and value[0] not in "_.-" and set(value) <= set("abz019_.-")
    if good:
        assert Account("t1", value).provider == value
    else:
        with pytest.raises(InvalidInputError):
            Account("t1", value)


@given(names.filter(lambda value: value != ""), st.sampled_from(TokenKind))
def test_account_and_key_belong_together(identifier, kind):
    if len(unicodedata.normalize("NFC", identifier)) > 255:
        return
    account = Account("t1", "google", identifier)
    key = account.key(kind)
    assert (key.account, key.kind) == (account, kind)
    assert key == TokenKey("t1", "google", kind.value, identifier)
    assert hash(key) == hash(TokenKey("t1", "google", kind, identifier))


BAD_NAMES = [
    f"{CANARY}\0", f"\ud800{CANARY}", f"{CANARY}\udfff", CANARY + "x" * 250, "", None, True, False, 1.5,
    CANARY.encode(), [CANARY], {CANARY: CANARY}, (CANARY,), object(), datetime(2030, 1, 1, tzinfo=UTC), 10**255,
    -(10**255),
]  # fmt: skip


@pytest.mark.parametrize("value", BAD_NAMES, ids=range(len(BAD_NAMES)))
def test_bad_names_are_refused_in_silence(value):
    assert_refused(lambda: Account(value, "google"), CANARY)
    assert_refused(lambda: Account("t1", value), CANARY)
    assert_refused(lambda: TokenKey("t1", "google", value), CANARY)
    if value not in (None, ""):
        assert_refused(lambda: Account("t1", "google", value), CANARY)
    for inner in (text.as_label, text.as_error_code):
        with pytest.raises(InvalidInputError) as caught:
            inner(0 if value is None else value)
        assert CANARY not in repr(caught.value)


def test_a_huge_number_is_refused_before_it_is_written_out():
    assert_refused(lambda: Account(10**10_000, "google"), "0000")


@pytest.mark.parametrize("value", [f"Google-{CANARY}", f"{CANARY}!", f"{CANARY}\n", " google", "-google", CANARY * 5])
def test_bad_providers_and_codes_are_refused_in_silence(value):
    assert_refused(lambda: Account("t1", value), CANARY)
    for inner in (text.as_error_code, TokenKind):
        with pytest.raises(InvalidInputError) as caught:
            inner(value)
        assert CANARY not in repr(caught.value)
        assert caught.value.__cause__ is caught.value.__context__ is None


def test_subclasses_of_str_are_kept_as_plain_text():
    account = Account(Text("t1"), Text("google"), Text("ann"))
    for value in (account.tenant_id, account.provider, account.identifier):
        assert type(value) is str
    assert type(TokenKey(Text("t1"), "google", Text("api_key")).kind) is TokenKind


def test_values_are_frozen_and_are_checked_again_when_they_evolve():
    account = Account("t1", "google", "ann")
    with pytest.raises(FrozenInstanceError):
        account.tenant_id = "t2"
    assert evolve(account, identifier="").identifier is None
    with pytest.raises(InvalidInputError) as caught:
        evolve(account, tenant_id=f"{CANARY}\0")
    assert CANARY not in repr(caught.value)
    assert asdict(account) == {"tenant_id": "t1", "provider": "google", "identifier": "ann"}


# Error codes, scopes, counts, durations


@given(st.text("abcxyz019_-A \n", max_size=70))
def test_error_codes(value):
    good = 1 <= len(value) <= 64 and set(value) <= set("abcxyz019_")
    if good:
        assert text.as_error_code(value) == value
    else:
        with pytest.raises(InvalidInputError):
            text.as_error_code(value)


@given(st.lists(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8), max_size=20))
def test_scopes_keep_their_order_and_come_once(scopes):
    kept = text.as_scopes(scopes)
    assert list(kept) == sorted(set(scopes), key=scopes.index)
    assert text.as_scopes(kept) == kept
    assert text.as_scopes(iter(scopes)) == kept


BAD_SCOPES = [
    CANARY, [f"{CANARY} b"], [""], [f'{CANARY}"'], [f"{CANARY}\\"], [f"{CANARY}\u00e9"], [None], 5, [CANARY.encode()],
    [CANARY * 100], [str(number) for number in range(1001)], [f"{CANARY}\n"], CANARY.encode(),
]  # fmt: skip


@pytest.mark.parametrize("value", BAD_SCOPES, ids=range(len(BAD_SCOPES)))
def test_bad_scopes_are_refused_in_silence(value):
    refusal = None
    try:
        text.as_scopes(value)
    except InvalidInputError as error:
        refusal = error
    assert refusal is not None
    assert CANARY not in str(refusal)


@pytest.mark.parametrize("value", [0, -1, MAX_PAGE + 1, True, "1", 1.0, None, 10**400, float("nan")])
def test_counts_are_whole_numbers_within_their_limits(value):
    with pytest.raises(InvalidInputError):
        text.as_count(value, "limit", least=1, most=MAX_PAGE)


@pytest.mark.parametrize(
    "value", [timedelta(microseconds=-1), timedelta(days=36_526), 5, 5.0, None, "5", timedelta.max]
)
def test_durations_are_timedeltas_within_their_limits(value):
    with pytest.raises(InvalidInputError):
        text.as_duration(value, "within")


def test_a_positive_duration_is_not_zero():
    assert text.as_duration(timedelta(0), "within") == timedelta(0)
    with pytest.raises(InvalidInputError):
        text.as_duration(timedelta(0), "grace", positive=True)
    assert_refused(lambda: Rotation.grace(CANARY), CANARY)
    for bad in (0, -1, float("nan"), float("inf"), True, None, 10**30):
        assert_refused(lambda bad=bad: Rotation.grace(bad), CANARY)


# Times


offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(timezones=offsets))
def test_times_come_out_in_utc_or_are_refused(value):
    try:
        moment = value.astimezone(UTC)
    except OverflowError:
        moment = None
    if moment is not None and 1970 <= moment.year <= 9998:
        kept = text.as_time(value, "expires_at")
        assert kept == value
        assert kept.tzinfo is UTC
    else:
        with pytest.raises(InvalidInputError):
            text.as_time(value, "expires_at")


@pytest.mark.parametrize(
    "value",
    [
        datetime(2030, 1, 1),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC),
        datetime(9999, 1, 1, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
        1_900_000_000,
        "2030-01-01T00:00:00Z",
        CANARY,
        datetime(2030, 1, 1, tzinfo=UTC).date(),
    ],
    ids=str,
)
def test_other_times_are_refused(value):
    with pytest.raises(InvalidInputError) as caught:
        text.as_time(value, "expires_at")
    assert str(value) not in str(caught.value)


def test_the_edges_of_time():
    for moment in (datetime(1970, 1, 1, tzinfo=UTC), datetime(9998, 12, 31, 23, 59, 59, 999_999, UTC)):
        assert text.as_time(moment, "expires_at") == moment
    east = datetime(1970, 1, 1, 5, 29, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    with pytest.raises(InvalidInputError):
        text.as_time(east, "expires_at")


# Subclasses of `str`: their characters count, whatever their methods say


class Names(str, enum.Enum):  # noqa: UP042 - its str() is "Names.TENANT", unlike that of a StrEnum
    TENANT = "t1"
    PROVIDER = "google"
    KIND = "api_key"
    CODE = "invalid_grant"


class Liar(str):
    """A string that claims to be one character long and equal to everything."""

    __slots__ = ()

    def __len__(self):
        return 1

    def __eq__(self, other):
        return True

    def __hash__(self):
        return hash("invalid_grant")


class Numbers(int, enum.Enum):
    TENANT = 7


class Claimant:
    """Says that it is a string."""

    __class__ = str


def test_the_text_of_an_enum_is_its_value():
    account = Account(Names.TENANT, Names.PROVIDER, Names.TENANT)
    key = TokenKey(Names.TENANT, Names.PROVIDER, Names.KIND, Names.TENANT)
    assert (account, account.key(Names.KIND)) == (Account("t1", "google", "t1"), key)
    kept = [
        *(account.tenant_id, account.provider, account.identifier, key.provider),
        *(text.as_label(Names.TENANT), text.as_error_code(Names.CODE), *text.as_scopes([Names.CODE])),
        *TokenSet.from_response({"access_token": "a", "scope": [Names.CODE]}).scopes,
        registered_code(Names.CODE),
    ]
    assert [type(each) for each in kept] == [str] * len(kept)
    assert kept == ["t1", "google", "t1", "google", "t1", *["invalid_grant"] * 4]
    assert Account(Numbers.TENANT, "google").tenant_id == "7"


@pytest.mark.parametrize(
    "check",
    [
        *(text.as_tenant_id, text.as_provider, text.as_identifier, text.as_label, text.as_error_code, TokenKind),
        *(lambda value: text.as_scopes([value]), lambda value: decode_cursor(value, str)),
        *(lambda value: Account("t1", "google").key(value), lambda value: TokenKey("t1", "google", value)),
    ],
)
@pytest.mark.parametrize("value", [Liar("x" * 10_000_000), Claimant()], ids=["liar", "claimant"])
def test_a_text_that_lies_about_itself_is_refused(check, value):
    with pytest.raises(InvalidInputError):
        check(value)


def test_an_error_code_that_lies_is_not_registered():
    assert registered_code(Liar("free text")) is None


# Endless scopes


def test_endless_scopes_are_refused():
    with pytest.raises(InvalidInputError, match="at most 1000"):
        text.as_scopes(f"scope-{number}" for number in itertools.count())
    assert len(text.as_scopes(map(str, range(1000)))) == 1000
    with pytest.raises(InvalidInputError, match="at most 1000"):
        text.as_scopes(itertools.repeat("same"))


class Proxy:
    """Claims the class of what it stands for, as the lazy objects of web frameworks do."""

    def __init__(self, value):
        self._value = value

    @property
    def __class__(self):
        return type(self._value)

    def __repr__(self):
        return repr(self._value)


@pytest.mark.parametrize("value", [7, UUID(int=1), "t1"])
def test_an_object_that_only_claims_a_class_is_no_tenant_id(value):
    with pytest.raises(InvalidInputError):
        Account(Proxy(value), "google")
