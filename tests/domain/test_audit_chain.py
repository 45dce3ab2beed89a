"""The rules of the audit log's chain: what the digests cover, and how seals are written down."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from attrs import evolve, fields_dict
from hypothesis import given
from hypothesis import strategies as st

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.chain_records import NEVER, ChainEnd
from vault_domain.entities.token import SealedToken, StoredToken, TokenInfo, TokenStatus
from vault_domain.rules.audit_chain import (
    START,
    ChainKey,
    Entry,
    Header,
    Numbers,
    Record,
    Segment,
    make_body,
    parsed_body,
    until_of,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ACCOUNT = Account("t1", "acme", "ann")
END = ChainEnd("t1", bytes(16), 3, START)
EVENT = AuditEvent(
    AuditAction.TOKEN_REFRESHED, NOW, "t1", ACCOUNT, TokenKind.ACCESS_TOKEN, 2, "host", "code", None, None, 3
)
INFO = TokenInfo(
    UUID(int=1), ACCOUNT.key(TokenKind.ACCESS_TOKEN), TokenStatus.VALID, None, NOW, ("a",), 2, None, None,
    timedelta(hours=1), NOW, NOW, UUID(int=2),
)  # fmt: skip
OTHERS = {
    "action": AuditAction.TOKEN_STORED,
    "occurred_at": NOW + timedelta(microseconds=1),
    "tenant_id": "t2",
    "account": Account("t1", "acme", "bob"),
    "kind": TokenKind.REFRESH_TOKEN,
    "generation": 3,
    "actor": None,
    "code": None,
    "provider": "acme",
    "credential_generation": None,
}
CHANGED = {
    "id": UUID(int=9),
    "key": ACCOUNT.key(TokenKind.REFRESH_TOKEN),
    "status": TokenStatus.INVALID,
    "error_code": "x",
    "expires_at": None,
    "scopes": (),
    "generation": 3,
    "lifetime": None,
    "value_id": UUID(int=9),
    "suspect_since": NOW,
    "rejected_at": NOW,
    "client": bytes(16),
}
LEFT_OUT = {"last_used_at", "last_refreshed_at", "created_at", "updated_at"}
"""Times on which no decision rests; that of the last use changes without an event."""

key = ChainKey(b"k" * 32)


def sealed(event):
    entry = key.entry(event, 7, END)
    return entry.who, entry.what


def test_every_field_of_an_event_is_covered():
    assert set(OTHERS) == set(fields_dict(AuditEvent)) - {"cursor"}
    for name, value in OTHERS.items():
        assert sealed(evolve(EVENT, **{name: value})) != sealed(EVENT), name
    assert sealed(evolve(EVENT, cursor="x")) == sealed(EVENT)


def test_what_an_erasure_leaves_of_an_event_is_covered_apart():
    erased = evolve(EVENT, tenant_id=None, account=None)
    assert key.what(erased) == key.what(EVENT)
    assert key.who(erased, END) != key.who(EVENT, END)


def test_every_field_on_which_a_decision_rests_is_recorded():
    assert set(CHANGED) == set(fields_dict(TokenInfo)) - LEFT_OUT
    for name, value in CHANGED.items():
        assert key.record(evolve(INFO, **{name: value}).key, evolve(INFO, **{name: value}), END) != record(INFO), name
    for name in LEFT_OUT:
        assert record(evolve(INFO, **{name: NOW + timedelta(days=1)})) == record(INFO)
    assert key.record(INFO.key, None, END) == Record(record(INFO).token, bytes(16))


def test_a_value_is_recorded_under_its_data_key():
    def of_value(**changes):
        stored = StoredToken(INFO, evolve(SealedToken(b"k" * 16, b"blob", None), **changes))
        metadata, value = key.records(INFO.key, stored, END)
        assert (metadata, metadata.is_of_value, value.is_of_value) == (record(INFO), False, True)
        return value

    plain = of_value()
    for changes in ({"blob": b"other"}, {"extra": b"extra"}, {"extra": b""}):
        assert of_value(**changes).token == plain.token
        assert of_value(**changes).state != plain.state
    assert of_value(data_key_id=b"l" * 16).token != plain.token
    assert key.records(INFO.key, None, END) == (key.record(INFO.key, None, END),)


def record(info):
    return key.record(info.key, info, END)


def test_nothing_is_computed_without_the_secrets():
    other, apart = ChainKey(b"l" * 32), evolve(END, secret=b"s" * 16)
    assert other.what(EVENT) != key.what(EVENT)
    assert other.name(END) != key.name(END) != key.name(apart)
    assert key.who(EVENT, apart) != key.who(EVENT, END)
    assert key.record(INFO.key, INFO, apart) != record(INFO)


bytes_of = {size: st.binary(min_size=size, max_size=size) for size in (16, 32)}
numbers = st.integers(0, 2**63 - 1)
entries = st.builds(Entry, numbers, numbers, st.booleans(), bytes_of[16], bytes_of[16])
segments = st.builds(
    Segment,
    bytes_of[16],
    bytes_of[32],
    numbers,
    st.lists(entries, max_size=3).map(tuple),
    st.lists(st.builds(Record, bytes_of[16], bytes_of[16]), max_size=3).map(tuple),
)
headers = st.builds(
    Header,
    st.tuples(numbers, numbers),
    numbers,
    numbers,
    st.integers(0, 99),
    st.lists(bytes_of[16].map(bytes.hex), max_size=2).map(tuple),
    numbers,
    st.none() | st.tuples(st.text("0f"), st.text("0f")),
    st.booleans(),
)


@given(headers, st.lists(segments, max_size=3))
def test_a_body_says_what_was_put_into_it(header, parts):
    found, again = parsed_body(make_body(header, parts))
    assert (evolve(found, key=found.key and tuple(found.key)), again) == (header, parts)


@given(st.lists(segments, min_size=1, max_size=2), st.integers(0), st.integers(0, 255))
def test_a_changed_seal_is_not_genuine(parts, place, byte):
    seal = key.seal(4, START, 5, make_body(Header((0, 0), 0, 0, 0), parts))
    assert key.is_genuine(seal, START)
    assert key.is_genuine(evolve(seal, body=None), START), "it was emptied"
    body = bytearray(seal.body)
    body[place % len(body)] = byte
    assert key.is_genuine(evolve(seal, body=bytes(body)), START) == (bytes(body) == seal.body)
    wrong = [evolve(seal, number=5), evolve(seal, until=6), evolve(seal, digest=START), evolve(seal, body_digest=START)]
    assert not any(key.is_genuine(each, START) for each in wrong)
    assert not key.is_genuine(seal, b"x" * 32)
    assert not ChainKey(b"l" * 32).is_genuine(seal, START)


def test_a_newer_release_may_say_more_in_a_header():
    body = make_body(Header((1, 2), 3, 4, 5), ()).replace(b'{"place"', b'{"more":1,"place"')
    assert parsed_body(body)[0] == Header((1, 2), 3, 4, 5)


def test_only_a_seal_whose_events_may_all_be_pruned_is_emptied():
    old, lasting = Entry(1, 10, False, START, START), Entry(2, 11, True, START, START)
    plain = Header((0, 0), 0, 0, 0)
    assert until_of(plain, [Segment(START, START, 0, (old,))]) == 10
    assert until_of(plain, [Segment(START, START, 0, (old, lasting))]) == NEVER
    assert until_of(plain, []) == NEVER
    for header in (evolve(plain, closed=("00",)), evolve(plain, key=("00", "00"))):
        assert until_of(header, [Segment(START, START, 0, (old,))]) == NEVER


@given(st.sets(st.integers(0, 5000) | numbers), st.integers(0, 5000))
def test_numbers_are_a_set(given_numbers, other):
    found = Numbers()
    found.add(given_numbers)
    assert all(number in found for number in given_numbers)
    assert (other in found) == (other in given_numbers)


@pytest.mark.parametrize("action", sorted(AuditAction))
def test_events_of_every_action_are_sealed(action):
    assert key.entry(evolve(EVENT, action=action), 1, END).what != key.what(EVENT) or action is EVENT.action
