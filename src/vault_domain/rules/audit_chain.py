"""The chain of the audit log: what a seal holds, and the keyed digests that tie seals and events together.

A seal is a row that covers the events appended since the seal before it. Its body is a line of JSON, the header, and
then a segment for each tenant with events in it. A segment continues the tenant's chain; for each event it has the
event's number and time, and two MACs, one of the event's tenant and identifier, which an erasure removes, and one of
the rest. All keys are derived from one secret by HKDF-Expand (RFC 5869), and all digests are HMAC-SHA256.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import asdict, evolve, fields, frozen

from vault_domain.entities.account import TokenKey
from vault_domain.entities.audit import LASTING_ACTIONS, AuditAction, AuditEvent
from vault_domain.entities.audit_chain import AuditHead
from vault_domain.entities.chain_records import NEVER, ChainEnd, Seal
from vault_domain.entities.token import SealedToken, StoredToken, TokenInfo

START = bytes(32)
"""What stands in place of the digest before the first seal, or before the first event of a chain."""

TOMBSTONES = frozenset({AuditAction.TENANT_ERASED, AuditAction.DATA_KEY_DESTROYED})
"""The actions whose events keep their tenant for ever.

They are in the vault's own chain, so that nothing ties an erased tenant to its former chain.
"""

_ENTRY = struct.Struct(">qqB16s16s")
_SEGMENT = struct.Struct(">16s32sqHH")
_RECORD = struct.Struct(">16s16s")
_NUMBERS = struct.Struct(">qq")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@frozen
class Entry:
    """What a seal keeps of one event.

    Attributes:
        number: the event's number.
        occurred: the event's time in microseconds since 1970.
        lasts: whether no pruning deletes the event.
        who: MAC of tenant and identifier, which only the chain's secret makes possible to compute.
        what: MAC of the rest.
    """

    number: int
    occurred: int
    lasts: bool
    who: bytes
    what: bytes


_OF_A_VALUE = 0x80


@frozen
class Record:
    """What a seal keeps of a token that the events of a segment are about, either of its metadata or of its value.

    Attributes:
        token: for the metadata, MAC of the token's key, with a first bit of 0. For the sealed value, MAC of the token's
            key and of the data key, with a first bit of 1: a re-encryption has no event, and changes the data key.
        state: MAC of the metadata or of the sealed value after these events; zeros if the token was deleted.
    """

    token: bytes
    state: bytes

    @property
    def is_of_value(self) -> bool:
        """Whether it is the record of a value."""
        return self.token[0] >= _OF_A_VALUE


@frozen
class Segment:
    """A part of one chain.

    Attributes:
        chain: the chain's name, from which its tenant cannot be told.
        before: digest of the chain's events before these.
        events: number of these earlier events.
        entries: the events, in their order.
        records: the tokens.
    """

    chain: bytes
    before: bytes
    events: int
    entries: tuple[Entry, ...]
    records: tuple[Record, ...] = ()


@frozen
class Header:
    """What a seal says beside its segments.

    Attributes:
        place: the cursor of the last event that was looked at.
        events: number of events in this seal and those before.
        latest: time of the latest of them, in microseconds since 1970.
        actions: number of actions that the sealing release knew; it could not read events of others.
        closed: names of chains that end with this seal, because their tenants were erased.
        pruned_before: events from before this time may be gone, in microseconds since 1970; 0: none. Each seal repeats
            the time of the seal before it, or has a later one.
        key: for the first seal, the sealed secret of the chain: id of the data key, and the sealed value.
        rescans: whether the next seal must look for events that are sealed already, and leave them out.
    """

    place: tuple[int, int]
    events: int
    latest: int
    actions: int
    closed: tuple[str, ...] = ()
    pruned_before: int = 0
    key: tuple[str, str] | None = None
    rescans: bool = False


_HEADER = frozenset(each.name for each in fields(Header))


class Numbers:
    """A large set of whole numbers, most of which are neighbours."""

    def __init__(self) -> None:
        self._bits: dict[int, int] = {}

    def add(self, numbers: Iterable[int]) -> None:
        """Add numbers."""
        for number in numbers:
            self._bits[number >> 10] = self._bits.get(number >> 10, 0) | 1 << (number & 1023)

    def __contains__(self, number: int) -> bool:
        return bool(self._bits.get(number >> 10, 0) >> (number & 1023) & 1)


def micros(time: datetime) -> int:
    """Return a time in microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def from_micros(value: int) -> datetime:
    """Return the time that is this many microseconds after 1970."""
    return _EPOCH + timedelta(microseconds=value)


def chain_of(event: AuditEvent) -> str:
    """Return the tenant in whose chain an event belongs; ``""`` stands for the vault's own chain."""
    return "" if event.tenant_id is None or event.action in TOMBSTONES else event.tenant_id


class ChainKey:
    """Computes the digests of one vault's chain.

    Args:
        secret: at least 32 bytes that the database does not hold.
    """

    def __init__(self, secret: bytes) -> None:
        self._keys = {
            label: hmac.digest(secret, b"token-vault audit " + label.encode() + b"\x01", "sha256")
            for label in ("name", "who", "what", "token", "state", "chain", "seal", "head")
        }

    def name(self, end: ChainEnd) -> bytes:
        """Return the name of a chain."""
        return self._mac("name", end.secret)[:16]

    def entry(self, event: AuditEvent, number: int, end: ChainEnd) -> Entry:
        """Return what a seal keeps of an event in the chain with this end."""
        occurred = micros(event.occurred_at)
        lasts = event.action in LASTING_ACTIONS
        return Entry(number, occurred, lasts, self.who(event, end), self.what(event))

    def who(self, event: AuditEvent, end: ChainEnd) -> bytes:
        """Return the MAC of an event's tenant and identifier."""
        account = event.account
        parts = [event.tenant_id, account and account.provider, account and account.identifier]
        return self._mac("who", end.secret + _canonical(parts))[:16]

    def what(self, event: AuditEvent) -> bytes:
        """Return the MAC of the rest of an event, which an erasure leaves as it is."""
        kind = None if event.kind is None else event.kind.value
        parts = [event.action.value, micros(event.occurred_at), event.provider, kind, event.generation]
        parts += [event.credential_generation, event.actor, event.code]
        return self._mac("what", _canonical(parts))[:16]

    def records(self, key: TokenKey, stored: StoredToken | None, end: ChainEnd) -> tuple[Record, ...]:
        """Return what a seal keeps of a token in the chain with this end: of its metadata, and of its value if any."""
        info = None if stored is None else stored.info
        return (
            (self.record(key, info, end),)
            if stored is None
            else (
                self.record(key, info, end),
                self._of_value(key, stored.sealed, end),
            )
        )

    def _of_value(self, key: TokenKey, sealed: SealedToken, end: ChainEnd) -> Record:
        place = [key.provider, key.identifier, key.kind.value, sealed.data_key_id.hex()]
        token = bytearray(self._mac("token", end.secret + _canonical(place))[:16])
        token[0] |= _OF_A_VALUE
        parts = [*place, sealed.blob.hex(), None if sealed.extra is None else sealed.extra.hex()]
        return Record(bytes(token), self._mac("state", end.secret + _canonical(parts))[:16])

    def record(self, key: TokenKey, info: TokenInfo | None, end: ChainEnd) -> Record:
        """Return what a seal keeps of a token's metadata; without metadata, the token was deleted."""
        place = [key.provider, key.identifier, key.kind.value]
        name = bytearray(self._mac("token", end.secret + _canonical(place))[:16])
        name[0] &= _OF_A_VALUE - 1
        token = bytes(name)
        if info is None:
            return Record(token, bytes(16))
        ids = [info.id.hex, info.value_id.hex, None if info.client is None else info.client.hex()]
        times = [info.expires_at, info.suspect_since, info.rejected_at]
        lifetime = None if info.lifetime is None else info.lifetime // _MICROSECOND
        state = [info.status.value, info.error_code, info.generation, lifetime, list(info.scopes), *ids]
        state += [None if time is None else micros(time) for time in times]
        return Record(token, self._mac("state", end.secret + _canonical([*place, *state]))[:16])

    def after(self, segment: Segment) -> bytes:
        """Return the digest of a chain after a segment."""
        counted = struct.pack(">q", segment.events)
        return self._mac("chain", segment.chain + segment.before + counted + _packed(segment))

    def seal(self, number: int, before: bytes, until: int, body: bytes) -> Seal:
        """Return a seal.

        Args:
            number: its number.
            before: the digest of the seal before it.
            until: see `Seal`.
            body: its body.
        """
        unfinished = Seal(number, until, body, hashlib.sha256(body).digest(), b"")
        return evolve(unfinished, digest=self.digest(unfinished, before))

    def digest(self, seal: Seal, before: bytes) -> bytes:
        """Return the digest that a seal must have after one with the digest ``before``."""
        return self._mac("seal", before + _NUMBERS.pack(seal.number, seal.until) + seal.body_digest)

    def is_genuine(self, seal: Seal, before: bytes) -> bool:
        """Return whether a seal is as it was made, after a seal with the digest ``before``; it may be empty by now."""
        body = seal.body_digest if seal.body is None else hashlib.sha256(seal.body).digest()
        is_whole = hmac.compare_digest(body, seal.body_digest)
        return is_whole and hmac.compare_digest(self.digest(seal, before), seal.digest)

    def with_mac(self, head: AuditHead) -> AuditHead:
        """Return a head with the MAC that it must have."""
        parts = [head.seal, head.digest, head.events, micros(head.latest), head.chain, head.chain_digest]
        return evolve(head, mac=self._mac("head", _canonical(parts)).hex())

    def _mac(self, label: str, message: bytes) -> bytes:
        return hmac.digest(self._keys[label], message, "sha256")


def make_body(header: Header, segments: Iterable[Segment]) -> bytes:
    """Return the body of a seal."""
    line = json.dumps(asdict(header), separators=(",", ":")).encode() + b"\n"
    return line + b"".join(_head_of(each) + _packed(each) for each in segments)


def parsed_body(body: bytes) -> tuple[Header, list[Segment]]:
    """Return the header and the segments of a body; call this for a genuine body only, except for `sealed_key`."""
    line, _, packed = body.partition(b"\n")
    return _header(json.loads(line)), list(_segments(packed))


def sealed_key(body: bytes) -> tuple[bytes, bytes] | None:
    """Return the sealed secret in the body of the first seal; None if there is none. Anybody may have made the body."""
    try:
        key_id, blob = json.loads(body.partition(b"\n")[0])["key"]
        return bytes.fromhex(key_id), bytes.fromhex(blob)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def until_of(header: Header, segments: Sequence[Segment]) -> int:
    """Return the time until which a seal's events reach, if a pruning can remove all of them; else `NEVER`."""
    entries = [entry for segment in segments for entry in segment.entries]
    if header.closed or header.key or any(entry.lasts for entry in entries):
        return NEVER
    return max((entry.occurred for entry in entries), default=NEVER)


def _header(parts: Mapping[str, Any]) -> Header:
    first, second = parts["place"]
    known = {name: part for name, part in parts.items() if name in _HEADER}  # a newer release may say more
    return Header(**{**known, "place": (first, second), "closed": tuple(parts["closed"])})


def _segments(packed: bytes) -> Iterator[Segment]:
    start = 0
    while start < len(packed):
        chain, before, events, entries, records = _SEGMENT.unpack_from(packed, start)
        start += _SEGMENT.size
        middle = start + entries * _ENTRY.size
        end = middle + records * _RECORD.size
        yield Segment(
            chain,
            before,
            events,
            tuple(
                Entry(number, occurred, bool(lasts), who, what)
                for number, occurred, lasts, who, what in _ENTRY.iter_unpack(packed[start:middle])
            ),
            tuple(Record(token, state) for token, state in _RECORD.iter_unpack(packed[middle:end])),
        )
        start = end


def _head_of(segment: Segment) -> bytes:
    counts = len(segment.entries), len(segment.records)
    return _SEGMENT.pack(segment.chain, segment.before, segment.events, *counts)


def _packed(segment: Segment) -> bytes:
    entries = (_ENTRY.pack(each.number, each.occurred, each.lasts, each.who, each.what) for each in segment.entries)
    return b"".join(entries) + b"".join(_RECORD.pack(each.token, each.state) for each in segment.records)


def _canonical(parts: Sequence[object]) -> bytes:
    return json.dumps(parts, separators=(",", ":")).encode()
