"""Extra members: what they may hold, and what an answer keeps of the stored ones."""

import copy
import pickle

import pytest

from vault_domain import InvalidInputError, Secret, TokenSet
from vault_domain.entities.extra import MAX_EXTRA_BYTES, NO_EXTRA, as_extra, decoded_extra, fitting, sealable_extra

CANARY = "canary-5c1f"
LONGEST = "x" * (MAX_EXTRA_BYTES - len('{"a":""}'))


@pytest.mark.parametrize(
    "extra",
    [
        CANARY,
        [(CANARY, "a")],
        {CANARY: 1},
        {CANARY: None},
        {1: CANARY},
        {"": CANARY},
        {CANARY * 24: "a"},
        {"a": CANARY + "\ud800"},
        {"a": LONGEST + "x"},
        {"a": "\u00e9" * (MAX_EXTRA_BYTES // 2)},
        {f"{number}": "x" * 100 for number in range(200)},
        None,
    ],
)
def test_what_is_refused_is_not_repeated(extra):
    with pytest.raises(InvalidInputError) as caught:
        TokenSet("a", extra=extra)
    assert CANARY not in str(caught.value)
    assert caught.value.__context__ is None
    assert caught.value.__traceback__.tb_next.tb_next is None  # no frame of the vault holds it


def test_members_are_a_mapping_that_shows_only_names():
    extra = TokenSet("a", extra={"instance_url": CANARY, "b": ""}).extra
    assert extra == {"instance_url": CANARY, "b": ""} == extra
    assert (extra["instance_url"], extra.get("c"), list(extra), len(extra)) == (CANARY, None, ["instance_url", "b"], 2)
    assert repr(extra) == "Extra(instance_url, b)"
    assert f"{extra}" == str(extra) == repr(extra)
    for spoil in (lambda: setattr(extra, "_members", {}), lambda: delattr(extra, "_members")):
        with pytest.raises(AttributeError):
            spoil()
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leave(extra)


def test_a_change_of_the_given_mapping_changes_nothing():
    given = {"a": "1"}
    extra = as_extra(given)
    given["a"] = "2"
    assert extra == {"a": "1"}
    assert as_extra(extra) is extra
    assert as_extra({}) is NO_EXTRA


@pytest.mark.parametrize("members", [{"a": LONGEST}, {"a": "\u00e9\U0001f511\0\"'"}, {"a": "b", "c": "d"}])
@pytest.mark.parametrize("token_type", ["Bearer", "DPoP"])
def test_what_is_sealed_is_read_again(members, token_type):
    found = decoded_extra(sealable_extra(as_extra(members).of_type(token_type)))
    assert (found, found.token_type) == (members, token_type)


def test_nothing_is_sealed_for_a_bearer_token_without_members():
    assert sealable_extra(NO_EXTRA) is sealable_extra(NO_EXTRA.of_type("bearer")) is None
    assert sealable_extra(NO_EXTRA.of_type("DPoP")) is not None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"extra": []}', '{"extra": {"a": 1}}', "[" * 10_000])
def test_another_text_is_no_members(text):
    assert decoded_extra(Secret(text)) is None


def test_members_of_an_answer_that_do_not_fit_are_left_out():
    half = "x" * (MAX_EXTRA_BYTES // 2)
    assert fitting({"a": half, "b": half, "c": "1", 2: "d", "e": 3, "": "f", "g": "\ud800"}) == {"a": half, "c": "1"}
    assert fitting({"a": LONGEST}) == {"a": LONGEST}
    assert fitting({"a": LONGEST + "x", "b": "c"}) == {"b": "c"}
    assert as_extra(fitting({f"{number:04}": "y" for number in range(5000)})).keys()


def test_an_answer_keeps_what_it_does_not_replace():
    old = as_extra({"a": "1", "b": "2"}).of_type("DPoP")
    new = as_extra({"b": "3"})
    assert (new.over(old), new.over(old).token_type) == ({"b": "3", "a": "1"}, "Bearer")
    assert new.over(NO_EXTRA) is new
    assert as_extra({"b": LONGEST}).over(as_extra({"b": "1", "c": "2"})) == {"b": LONGEST}


def test_the_type_of_an_answer_is_read_if_it_is_one():
    for given, read in (("DPoP", "DPoP"), (None, "Bearer"), (5, "Bearer"), ("a b", "Bearer"), ("x" * 65, "Bearer")):
        assert TokenSet.from_response({"access_token": "a", "token_type": given}).token_type == read
