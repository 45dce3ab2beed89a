"""`Secret` shows its text through `reveal()` and `reveal_fields()`, and in no other way."""

import copy
import json
import pickle
import string

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.domain.leaks import assert_refused

from vault_domain.entities.secret import MAX_SECRET_BYTES, Secret, as_secret

CANARY = "canary-7f3a9c"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@attrs.frozen
class Holder:
    """A class of a host that holds a secret."""

    value: Secret


@given(texts)
def test_it_reveals_what_it_was_given(text):
    assert Secret(text).reveal() == text


@given(texts)
@example("")
@example("x")
@example("xy")
@example("xyz")
@example("'")
@example("*")
def test_it_shows_a_constant(text):
    secret = Secret(text)
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r:>40}", f"{secret:x}", "%s" % secret, f"{[secret]}"]  # noqa: UP031
    assert {each.strip(" []") for each in shown} == {"Secret('**********')"}
    assert string.Template("$s").substitute(s=secret) == repr(secret)


@given(texts, texts)
def test_equality_is_that_of_the_texts(one, other):
    assert (Secret(one) == Secret(other)) is (one == other)
    assert (Secret(one) != Secret(other)) is (one != other)
    assert Secret(one) != one
    assert Secret(one) != None  # noqa: E711 - it is the comparison that is tested


def test_it_has_neither_hash_nor_order_nor_length():
    secret = Secret(CANARY)
    for use in (hash, len, iter, bool, lambda s: s < s, lambda s: s + s, lambda s: s[0], lambda s: CANARY in s):
        if use is bool:
            assert use(secret) is True
            continue
        with pytest.raises(TypeError) as caught:
            use(secret)
        assert CANARY not in str(caught.value)


def test_it_cannot_be_changed():
    secret = Secret(CANARY)
    for change in (
        lambda: setattr(secret, "_text", "x"),
        lambda: setattr(secret, "other", "x"),
        lambda: delattr(secret, "_text"),
    ):
        with pytest.raises(AttributeError) as caught:
            change()
        assert CANARY not in str(caught.value)
    assert secret.reveal() == CANARY


LEAKS = {
    "pickle": lambda secret: [pickle.dumps(secret, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)],
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "deepcopy_inside": lambda secret: copy.deepcopy([Holder(secret)]),
    "pickle_inside": lambda secret: pickle.dumps({"a": Holder(secret)}),
    "json": json.dumps,
    "vars": vars,
    "dict": lambda secret: secret.__dict__,
    "reduce": lambda secret: secret.__reduce__(),
    "reduce_ex": lambda secret: secret.__reduce_ex__(2),
    "getstate": lambda secret: secret.__getstate__(),
    "attrs": attrs.asdict,
    "astuple": attrs.astuple,
    "evolve": lambda secret: attrs.evolve(secret, _text="x"),
    "bytes": bytes,
    "int": int,
    "index": lambda secret: [0][secret],
}


@pytest.mark.parametrize("name", LEAKS)
def test_it_cannot_be_taken_along(name):
    secret = Secret(CANARY)
    with pytest.raises((TypeError, AttributeError, attrs.exceptions.NotAnAttrsClassError)) as caught:
        LEAKS[name](secret)
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(caught.value.args)


def test_attrs_classes_that_hold_it_hand_it_on_as_it_is():
    holder = Holder(Secret(CANARY))
    assert CANARY not in repr(holder)
    for taken in (attrs.asdict(holder), attrs.astuple(holder), attrs.evolve(holder), vars(Holder)):
        assert CANARY not in repr(taken)
    assert CANARY not in json.dumps(attrs.asdict(holder), default=str)
    assert CANARY not in json.dumps(attrs.asdict(holder), default=repr)
    assert attrs.asdict(holder)["value"] is holder.value


class Text(str):
    __slots__ = ()


BAD = [
    CANARY.encode(), bytearray(CANARY.encode()), Text(CANARY), [CANARY], {CANARY: CANARY}, None, 5, True, object(),
    f"{CANARY}\ud800", f"\udfff{CANARY}", CANARY + "x" * 65_530, CANARY + "\u20ac" * 21_842,
]  # fmt: skip


@pytest.mark.parametrize("value", BAD, ids=range(len(BAD)))
def test_what_is_no_secret_is_refused_in_silence(value):
    assert_refused(lambda: Secret(value), CANARY)
    assert_refused(lambda: as_secret(value), CANARY)
    assert_refused(lambda: Secret.from_fields(secret=value), CANARY) if type(value) is not str else None


def test_the_longest():
    for text in ("a" * MAX_SECRET_BYTES, "\u20ac" * 21_845 + "a", "\U0001f511" * 16_384, "\0" * MAX_SECRET_BYTES):
        assert Secret(text).reveal() == text
        assert_refused(lambda text=text: Secret(text + "a"), "aaaa")
    assert Secret("").reveal() == ""


@given(st.dictionaries(st.text("abcxyz_", min_size=1, max_size=10).filter(lambda k: k != "cls"), texts, min_size=1))
def test_fields_come_back(fields):
    secret = Secret.from_fields(**fields)
    assert secret.reveal_fields() == fields
    assert Secret(secret.reveal()).reveal_fields() == fields


@pytest.mark.parametrize(
    "text", [CANARY, f'["{CANARY}"]', f'{{"a": 1, "b": "{CANARY}"}}', f'{{"a": "{CANARY}"', "[" * 9999]
)
def test_a_secret_without_fields_is_refused_without_showing_its_text(text):
    assert_refused(Secret(text).reveal_fields, text)


def test_fields_are_needed_and_are_texts():
    assert_refused(Secret.from_fields, CANARY)
    for bad in (5, None, CANARY.encode(), Text(CANARY), [CANARY], Secret(CANARY)):
        assert_refused(lambda bad=bad: Secret.from_fields(good=CANARY, bad=bad), CANARY)
    assert_refused(lambda: Secret.from_fields(good=f"{CANARY}\ud800"), CANARY)
    assert_refused(lambda: Secret.from_fields(good=CANARY + "x" * 65_536), CANARY)
