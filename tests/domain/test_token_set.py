"""`TokenSet`, and how it reads token responses: the form of RFC 6749, and the deviations of real servers."""

import time
from collections import UserDict
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.domain.leaks import assert_refused, shown_by

from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.secret import Secret
from vault_domain.entities.token_set import TokenSet

CANARY = "canary-7f3a9c"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def read(received_at=None, **members):
    return TokenSet.from_response({"access_token": "a", **members}, received_at)


# Made from arguments


def test_texts_become_secrets():
    token_set = TokenSet("a", "r", expires_in=3600, scopes=["x", "y", "x"])
    assert token_set.access_token == Secret("a")
    assert token_set.refresh_token == Secret("r")
    assert (token_set.expires_in, token_set.scopes, token_set.token_type) == (HOUR, ("x", "y"), "Bearer")
    assert TokenSet(Secret("a"), Secret("r")) == TokenSet("a", "r")


@pytest.mark.parametrize("missing", [None, ""])
def test_no_refresh_token(missing):
    assert TokenSet("a", missing).refresh_token is None


BAD = [
    {"access_token": ""},
    {"access_token": None},
    {"access_token": 5.5},
    {"access_token": CANARY.encode()},
    {"access_token": f"{CANARY}\ud800"},
    {"access_token": CANARY + "x" * 65_536},
    {"access_token": [CANARY]},
    {"access_token": Secret("")},
    {"refresh_token": 5},
    {"refresh_token": f"{CANARY}\udc00"},
    {"refresh_token": {CANARY: 1}},
    {"refresh_token": False},
    {"expires_at": datetime(2030, 1, 1)},
    {"expires_at": CANARY},
    {"expires_at": 1_900_000_000},
    {"expires_at": datetime(9999, 1, 1, tzinfo=UTC)},
    {"expires_at": datetime(1969, 1, 1, tzinfo=UTC)},
    {"expires_in": -1},
    {"expires_in": CANARY},
    {"expires_in": True},
    {"expires_in": float("nan")},
    {"expires_in": float("inf")},
    {"expires_in": 10**400},
    {"expires_in": timedelta(days=-1)},
    {"expires_in": "3600"},
    {"scopes": CANARY},
    {"scopes": [f"{CANARY} b"]},
    {"scopes": 5},
    {"refresh_token": CANARY + "x" * 65_536},
    {"refresh_token_problem": f"{CANARY} is no code"},
    {"refresh_token_expires_at": CANARY},
    {"refresh_token_expires_at": datetime(2030, 1, 1)},
]


@pytest.mark.parametrize("arguments", BAD, ids=range(len(BAD)))
def test_bad_arguments_are_refused_in_silence(arguments):
    good = {"access_token": f"{CANARY}-good", "refresh_token": f"{CANARY}-too"}
    assert_refused(lambda: TokenSet(**{**good, **arguments}), CANARY)


class Broken(tzinfo):
    def utcoffset(self, moment):
        raise OSError("the host's own error")


def lazy_scopes():
    yield "a"
    raise OSError("the host's own error")


@pytest.mark.parametrize("name", ["scopes", "expires_at"])
def test_an_error_of_an_argument_stays_and_shows_no_other_argument(name):
    bad = {"scopes": lazy_scopes(), "expires_at": datetime(2030, 1, 1, tzinfo=Broken())}
    with pytest.raises(OSError, match="the host's own error") as caught:
        TokenSet(CANARY, f"{CANARY}-r", **{name: bad[name]})
    assert CANARY not in shown_by(caught.value)
    names = [frame.name for frame in caught.traceback]
    assert names[-1] in ("lazy_scopes", "utcoffset")


def test_an_answer_that_fails_when_it_is_read_is_not_shown():
    class Failing(UserDict):
        def get(self, name, default=None):
            raise OSError("the host's own error")

    with pytest.raises(OSError, match="the host's own error") as caught:
        TokenSet.from_response(Failing(access_token=CANARY))
    assert CANARY not in shown_by(caught.value)


def test_it_shows_no_secret():
    token_set = TokenSet(CANARY, f"{CANARY}-r", scopes=["x"])
    assert CANARY not in repr(token_set)
    assert CANARY not in f"{token_set}"


# Read from a server's answer


@pytest.mark.parametrize("members", [{}, {"refresh_token": None}, {"refresh_token": ""}])
def test_the_refresh_token_may_be_absent_null_or_empty(members):
    assert read(**members).refresh_token is None


def test_members_that_it_does_not_know_are_dropped():
    token_set = read(id_token=CANARY, refresh_token="r", token_type="bearer", error=None, ext=[CANARY])
    assert token_set == TokenSet("a", "r", token_type="bearer")
    assert TokenSet.from_response(UserDict(access_token="a")) == TokenSet("a")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (3600, 3600),
        ("3600", 3600),
        (3599.5, 3599.5),
        ("3599.5", 3599.5),
        (" 60 ", 60),
        (0, None),
        ("0", None),
        (-1, None),
        ("-1", None),
        (None, None),
        ("", None),
        ("soon", None),
        (True, None),
        (False, None),
        (float("nan"), None),
        ("nan", None),
        ("inf", None),
        (float("inf"), None),
        (10**400, None),
        ("1" * 33, None),
        ([3600], None),
        ({}, None),
        (b"60", None),
        (36_525 * 86_400, 36_525 * 86_400),
        (36_525 * 86_400 + 1, 36_525 * 86_400),
        (1e300, 36_525 * 86_400),
        (Decimal(60), None),
        ("1e3", 1000),
        ("\ud800", None),
    ],
    ids=range(29),
)
def test_lifetimes(value, seconds):
    token_set = read(expires_in=value, refresh_token="r")
    assert token_set.expires_in == (None if seconds is None else timedelta(seconds=seconds))
    assert token_set.expires_at is None
    assert token_set.refresh_token == Secret("r")


def test_a_lifetime_counts_from_the_answers_arrival():
    token_set = read(NOW, expires_in=3600)
    assert (token_set.expires_in, token_set.expires_at) == (HOUR, NOW + HOUR)
    east = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert read(east, expires_in=3600).expires_at == NOW + HOUR
    assert read(NOW).expires_at is None
    assert read(NOW, expires_in=0).expires_at is None


def test_a_lifetime_that_ends_after_the_calendar_does_not_cost_the_tokens():
    late = datetime(9998, 6, 1, tzinfo=UTC)
    token_set = read(late, expires_in=365 * 86_400, refresh_token="r")
    assert token_set.refresh_token == Secret("r")
    assert token_set.expires_at is None


@pytest.mark.parametrize("value", [datetime(2030, 1, 1), CANARY, 5, datetime(9999, 1, 1, tzinfo=UTC)], ids=str)
def test_the_time_of_arrival_is_the_hosts_own_and_must_be_right(value):
    assert_refused(lambda: read(value, access_token=CANARY), CANARY)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1_893_456_000, NOW),
        ("1893456000", NOW),
        (1_893_456_000.5, NOW + timedelta(seconds=0.5)),
        (3600, None),
        (0, None),
        (-1, None),
        (True, None),
        (None, None),
        ("tomorrow", None),
        (float("nan"), None),
        (10**30, None),
        (10**400, None),
        ("2030-01-01", None),
        (253_370_764_800, None),
        (253_370_764_799, datetime(9998, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
    ids=range(15),
)
def test_authlibs_epoch(value, expected):
    assert read(expires_at=value).expires_at == expected


def test_an_expiry_is_at_most_a_hundred_years_after_the_arrival():
    latest = NOW + timedelta(days=36_525)
    assert read(NOW, expires_at=int(latest.timestamp())).expires_at == latest
    assert read(NOW, expires_at=int(latest.timestamp()) + 1).expires_at == latest
    assert read(NOW, expires_at=253_370_764_799).expires_at == latest
    # For an answer that arrives in the calendar's last century, the limit is the calendar's end.
    end = datetime(9998, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert read(datetime(9950, 1, 1, tzinfo=UTC), expires_at=253_370_764_799).expires_at == end


@pytest.mark.parametrize("lifetime", [timedelta(days=36_526), timedelta.max, 36_526 * 86_400, 1e300])
def test_a_lifetime_of_a_refreshers_own_is_limited_too(lifetime):
    assert TokenSet("a", expires_in=lifetime).expires_in == timedelta(days=36_525)


@pytest.mark.parametrize("text", ["x" * 65_536, "\u00e9" * 32_768])
def test_a_refresh_token_of_64_kib_is_kept(text):
    token_set = read(refresh_token=text)
    assert (token_set.refresh_token, token_set.refresh_token_problem) == (Secret(text), None)


@pytest.mark.parametrize("text", ["x" * 65_537, "\u00e9" * 32_769])
def test_a_longer_refresh_token_is_left_out_and_said_to_be(text):
    token_set = read(refresh_token=text)
    assert token_set.access_token == Secret("a")
    assert (token_set.refresh_token, token_set.refresh_token_problem) == (None, "refresh_token_too_long")


@pytest.mark.parametrize("value", [-123, ["r"], {"r": 1}, 1.5, "r\ud800"])
def test_a_malformed_refresh_token_does_not_cost_the_access_token(value):
    token_set = read(refresh_token=value)
    assert token_set.access_token == Secret("a")
    assert (token_set.refresh_token, token_set.refresh_token_problem) == (None, "refresh_token_malformed")


@pytest.mark.parametrize("value", [False, True, 0, [], {}])
def test_values_that_stand_for_no_refresh_token_are_no_problem(value):
    token_set = read(refresh_token=value)
    assert (token_set.refresh_token, token_set.refresh_token_problem) == (None, None)


def test_authlibs_epoch_wins_over_the_arrival():
    token_set = read(NOW + HOUR, expires_at=1_893_456_000, expires_in=3600)
    assert (token_set.expires_at, token_set.expires_in) == (NOW, HOUR)


@pytest.mark.parametrize(
    ("value", "scopes"),
    [
        ("a b", ("a", "b")),
        ("  a   b a ", ("a", "b")),
        ("", ()),
        (None, ()),
        (["a", "b", "a"], ("a", "b")),
        ([], ()),
        (["a", 5, None, "b c", ""], ("a",)),
        ('a "b" c\\ d', ("a", "d")),
        (5, ()),
        ({"a": 1}, ()),
        ("\u00e9 a", ("a",)),
        ("https://www.googleapis.com/auth/drive openid", ("https://www.googleapis.com/auth/drive", "openid")),
        ("a\tb\nc", ("a", "b", "c")),
        ("x" * 1025, ()),
        ([["a"]], ()),
    ],
    ids=range(15),
)
def test_scopes(value, scopes):
    assert read(scope=value).scopes == scopes


def test_more_scopes_than_anybody_has_are_cut():
    assert len(read(scope=" ".join(map(str, range(5000)))).scopes) == 1000


@pytest.mark.parametrize(("value", "kept"), [("MAC", "MAC"), (None, "Bearer"), (5, "Bearer"), ("x" * 65, "Bearer")])
def test_the_type(value, kept):
    assert read(token_type=value).token_type == kept


BAD_RESPONSES = [
    {},
    {"access_token": None},
    {"access_token": ""},
    {"access_token": 5.5},
    {"access_token": [CANARY]},
    [CANARY],
    CANARY,
    None,
    5,
    f'{{"access_token": "{CANARY}"}}',
    {"error": CANARY},
    {"access_token": f"{CANARY}\ud800"},
    {"access_token": CANARY * 6000},
    {"access_token": CANARY.encode()},
    [("access_token", CANARY)],
]


@pytest.mark.parametrize("response", BAD_RESPONSES, ids=range(len(BAD_RESPONSES)))
def test_an_answer_without_usable_tokens_is_refused_in_silence(response):
    assert_refused(lambda: TokenSet.from_response(response), CANARY)


ANY = st.characters(exclude_categories=[])
MEMBERS = ["expires_in", "expires_at", "scope", "token_type"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(ANY, max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=6,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(MEMBERS, json_values)))
def test_no_oddity_of_a_server_costs_a_new_refresh_token(members):
    token_set = read(NOW, refresh_token="r", **members)
    assert token_set.refresh_token == Secret("r")
    assert token_set.expires_in is None or timedelta(0) < token_set.expires_in <= timedelta(days=36_525)
    assert token_set.expires_at is None or 2000 <= token_set.expires_at.year <= 9998


NO_ACCESS_TOKEN = [{}, {"access_token": None}, {"error": "invalid_grant"}, {"refresh_token": CANARY}]


@pytest.mark.parametrize("response", NO_ACCESS_TOKEN, ids=range(4))
def test_a_response_without_an_access_token_says_so(response):
    with pytest.raises(InvalidInputError, match=r"^the response has no access_token$"):
        TokenSet.from_response(response)


@pytest.mark.parametrize("scope", ["a " * 1_900_000, ["a"] * 1_900_000], ids=["text", "list"])
def test_megabytes_of_scopes_take_no_long_time(scope):
    started = time.thread_time()
    assert TokenSet.from_response({"access_token": "a", "scope": scope}).scopes == ("a",)
    assert time.thread_time() - started < 0.5
