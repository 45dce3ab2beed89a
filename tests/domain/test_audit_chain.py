"""The rules of the audit log's chain: what the digests cover, and how seals are written down."""

import hashlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from attrs import evolve, fields_dict
from hypothesis import given
from hypothesis import strategies as st

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.audit_chain import AuditHead
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
    chain_of,
    from_micros,
    make_body,
    micros,
    parsed_body,
    sealed_key,
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


def segment(key):
    """Return a segment. It is made in each test, because a change of the rules is switched on after the collection."""
    stored = StoredToken(INFO, SealedToken(b"k" * 16, b"blob", b"extra"))
    entries = (key.entry(EVENT, 7, END), Entry(8, -5, True, bytes(16), b"w" * 16))
    return Segment(key.name(END), START, 3, entries, key.records(INFO.key, stored, END))


HEADER = Header((1, 2), 3, 4, 5, ("00",), 6, ("ab", "cd"), True)
MARKED = evolve(INFO, suspect_since=NOW, rejected_at=NOW, client=bytes(16), error_code="x")
WRITTEN = (
    b'{"place":[1,2],"events":3,"latest":4,"actions":5,"closed":["00"],"pruned_before":6,"key":["ab","cd"],"rescans":true}'
    b"\n"
)
PRUNED = AuditEvent(AuditAction.AUDIT_PRUNED, NOW)
ENDLESS = evolve(INFO, expires_at=None, lifetime=None)
OTHER = Account("t1", "acme", "zoe").key(TokenKind.API_KEY)
HEAD = AuditHead(4, "ab" * 32, 9, NOW)
VECTORS = {
    "a name": (lambda again: again.name(END), "760d3debd600ead2de9f093bf8c0ca43"),
    "who": (lambda again: again.who(EVENT, END), "38e788655f17728ee64c46c02ecfb58c"),
    "what": (lambda again: again.what(EVENT), "ace8a51cf336aa16fd99c5a874c10f48"),
    "nobody": (lambda again: again.who(PRUNED, END), "14a853b4bf38aa9530635946563a4b49"),
    "a pruning": (lambda again: again.what(PRUNED), "c5302762318968c0daef65abffd2c2a1"),
    "a token": (lambda again: segment(again).records[0].token, "6c9ae98922809b954cf88a64c9bf7f71"),
    "another token": (lambda again: again.record(OTHER, None, END).token, "259686e3c3756aca62df04d55a946f7a"),
    "its metadata": (lambda again: segment(again).records[0].state, "7113750513d015043b655fad59f42432"),
    "a value": (lambda again: segment(again).records[1].token, "f24255f9ef1a4b1f8371cce71978e3d3"),
    "its bytes": (lambda again: segment(again).records[1].state, "c462b0fb4c161b54f83891c94dd5c5be"),
    "a marked token": (lambda again: again.record(MARKED.key, MARKED, END).state, "c1eb3769be0a7e65edd080ea00925e7b"),
    "no end": (lambda again: again.record(INFO.key, ENDLESS, END).state, "4bbf4f2893a5295c9d7f63e83c5e6f8d"),
    "a chain": (
        lambda again: again.after(segment(again)),
        "8b79098bd334d0b41583c2bf3098ecce54c772c1fe8ac757b3f095f97d9026dc",
    ),
    "a seal": (
        lambda again: again.seal(4, bytes(range(32)), 5, make_body(HEADER, [segment(again)])).digest,
        "78edfdeda3c94da9a2df9e1e77ce1bf506e10b028a57e630538cf0e0a22a6472",
    ),
    "a head": (
        lambda again: bytes.fromhex(again.with_mac(HEAD).mac),
        "cf9579bae7fdde341fb082b5ac9758e4ca87b71489a0812dcb90f6c67d731ec2",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_digests_never_change(name):
    """A verification compares them with those that earlier releases have stored."""
    compute, expected = VECTORS[name]
    assert compute(ChainKey(b"k" * 32)).hex() == expected


def test_a_body_is_written_and_read_as_ever():
    sealed_part = segment(key)
    body = make_body(HEADER, [sealed_part])
    line, packed = body[: len(WRITTEN)], body[len(WRITTEN) :]
    assert line == WRITTEN
    assert packed == (
        key.name(END)
        + START
        + bytes.fromhex("0000000000000003 0002 0002")
        + bytes.fromhex("0000000000000007 0006ba1694472000 00")
        + key.who(EVENT, END)
        + key.what(EVENT)
        + bytes.fromhex("0000000000000008 fffffffffffffffb 01")
        + bytes(16)
        + b"w" * 16
        + b"".join(record.token + record.state for record in sealed_part.records)
    )
    header, parts = parsed_body(body)
    assert (evolve(header, key=tuple(header.key)), parts) == (HEADER, [sealed_part])
    assert header.closed == ("00",)
    assert key.seal(4, START, 5, body) == evolve(
        key.seal(4, START, 5, body), number=4, until=5, body=body, body_digest=hashlib.sha256(body).digest()
    )


def test_the_sealed_secret_is_read_from_what_anybody_may_have_written():
    assert sealed_key(make_body(HEADER, ())) == (b"\xab", b"\xcd")
    assert sealed_key(b'{"key":["ab","cd"]}\nx\ny') == (b"\xab", b"\xcd")
    for body in (
        b"",
        b"x",
        b"{}",
        b'{"key":null}',
        b'{"key":[1,2]}',
        b'{"key":["zz","00"]}',
        b'{"key":["00"]}',
        b"[1]",
    ):
        assert sealed_key(body) is None
    assert sealed_key(b'{"key":' + b"[" * 100_000) is None


@pytest.mark.parametrize(
    ("action", "tenant_id", "chain"),
    [
        (AuditAction.TOKEN_STORED, "t1", "t1"),
        (AuditAction.AUDIT_PRUNED, None, ""),
        (AuditAction.TENANT_ERASED, "t1", ""),
        (AuditAction.DATA_KEY_DESTROYED, "t1", ""),
    ],
)
def test_what_outlives_a_tenant_is_in_the_chain_of_the_vault(action, tenant_id, chain):
    assert chain_of(AuditEvent(action, NOW, tenant_id)) == chain


def test_times_are_microseconds_since_1970():
    assert micros(datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC)) == 1_000_005
    assert from_micros(1_000_005) == datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(("action", "lasts"), [(AuditAction.TENANT_ERASED, True), (AuditAction.TOKEN_STORED, False)])
def test_an_entry_says_whether_its_event_lasts(action, lasts):
    entry = key.entry(AuditEvent(action, NOW, "t1"), 7, END)
    assert (entry.number, entry.occurred, entry.lasts) == (7, 1_893_456_000_000_000, lasts)


def test_neighbours_share_a_number_of_many_bits():
    found = Numbers()
    found.add([0, 1023, 1024, 5 * 1024 + 7])
    assert [number in found for number in (0, 1, 1022, 1023, 1024, 1025, 2047, 2048, 5127, 5126)] == [
        *(True, False, False, True, True, False, False, False, True, False)
    ]
    found.add([1])
    assert 1 in found
    assert 0 in found
