"""Seals audit events into the chain, so that changes of the log behind a head are found; nothing waits for it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime

from attrs import evolve, field, frozen

from vault_domain.entities.account import TokenKey, TokenKind, stored_key
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.audit_chain import AuditHead
from vault_domain.entities.chain_records import NEVER, ChainEnd, Seal, Sealing
from vault_domain.entities.errors import StorageError, TokenNotFoundError, VaultError
from vault_domain.entities.page import decode_cursor
from vault_domain.entities.secret import Secret
from vault_domain.entities.text import AUDIT_TENANT
from vault_domain.entities.token import SealedToken
from vault_domain.ports.audit_log import AuditLog
from vault_domain.ports.cipher import Cipher, UnreadableError
from vault_domain.ports.tasks import Tasks
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
from vault_domain.services.tokens.recording import TokenRecorder

_log = logging.getLogger(__name__)

EVENTS_AT_ONCE = 1000
"""Largest number of events in one seal."""

SEALS_AT_ONCE = 50

_SEAL_SECONDS = 60.0
"""Shortest time between two sealings by the sweeps of one process."""

_ACTIONS = len(AuditAction)
"""Number of actions that this release can read; a newer release may have written others."""

_HOUR = 3_600_000_000  # in microseconds

CHAIN_CHANGED = "chain_changed"
"""Reason: somebody changed the rows of the chain, so that it cannot be continued."""


def place_of(event: AuditEvent) -> tuple[int, int]:
    """Return an event's place in the log; its second part is the event's number."""
    position = decode_cursor(event.cursor, int, int)
    assert position is not None  # noqa: S101 - the port promises a cursor for each event
    first, second = position
    return int(first), int(second)


def broken_chain() -> StorageError:
    """Return the error for a chain that somebody has changed."""
    return StorageError("the chain of the audit log was changed; verify the log", reason=CHAIN_CHANGED, retryable=False)


@frozen
class _End:
    """The last seal, with what it says."""

    seal: Seal
    header: Header


@frozen
class _Batch:
    """The events of one new seal, in segments; chains end where their tenants were erased."""

    ends: dict[str, ChainEnd]
    entries: dict[str, list[Entry]] = field(factory=dict)
    segments: list[Segment] = field(factory=list)
    closed: dict[str, str] = field(factory=dict)

    def finish(self, tenant_id: str, key: ChainKey, records: Iterable[Record] = ()) -> ChainEnd:
        """Make the segment of a chain; return its new end."""
        before, entries = self.ends[tenant_id], self.entries.pop(tenant_id, [])
        segment = Segment(key.name(before), before.digest, before.events, tuple(entries), tuple(records))
        if not entries:
            return before
        self.segments.append(segment)
        return evolve(before, events=before.events + len(entries), digest=key.after(segment))


class ChainService:
    """Keeps the chain of the audit log.

    The secret of the chain is sealed under the data key of a tenant that no host can name, so a rotation of the master
    key takes it along. It is in the first seal. The chain begins with the first head; a vault that was never asked for
    one has none.
    """

    def __init__(self, audit: AuditLog, cipher: Cipher, tasks: Tasks, recorder: TokenRecorder) -> None:
        self._audit = audit
        self._recorder = recorder
        self._cipher = cipher
        self._tasks = tasks
        self._key: ChainKey | None = None
        self._sealed_at: float | None = None

    async def head(self, tenant_id: str | None) -> AuditHead:
        """Seal all events, and return the head of the log, or that of one tenant's chain.

        Raises:
            TokenNotFoundError: there is no event of the tenant.
        """
        if await self.find_key() is None:
            await self._begin()
        end = await self._seal()
        key = await self.find_key()
        if end is None or key is None:
            raise broken_chain()
        latest = from_micros(end.header.latest)
        head = AuditHead(end.seal.number, end.seal.digest.hex(), end.header.events, latest)
        if tenant_id is not None:
            chain = (await self._audit.chain_ends([tenant_id])).get(tenant_id)
            if chain is None:
                raise TokenNotFoundError("the audit log has no event of this tenant")
            name = key.name(chain).hex()
            head = evolve(head, events=chain.events, chain=name, chain_digest=chain.digest.hex())
        return key.with_mac(head)

    async def try_to_seal(self) -> bool:
        """Seal all events that no later transaction can precede, if the chain was begun.

        Returns:
            False if somebody has changed the rows of the chain, so that it cannot be continued.
        """
        try:
            await self._seal()
        except StorageError as error:
            if error.reason != CHAIN_CHANGED:
                raise
            return False
        return True

    async def seal_after_sweep(self) -> None:
        """Seal events, if this process did not do so within the last minute."""
        now = self._tasks.monotonic()
        if self._sealed_at is not None and now - self._sealed_at < _SEAL_SECONDS:
            return
        self._sealed_at = now
        await self.seal_now()

    async def seal_now(self, most: int | None = None) -> None:
        """Seal events; if that fails, the log of the program says so, because a later sealing makes up for it.

        Args:
            most: largest number of seals to add.
        """
        try:
            await self._seal(most)
        except VaultError as error:
            _log.warning("the audit log was not sealed (%s)", getattr(error, "reason", None) or error.code)

    async def announce(self, before: datetime) -> None:
        """Say in the chain that events from before a time are going to be pruned, after sealing what there is.

        The time is rounded up to a full hour, so that many processes with short pauses add few seals.
        """
        end = await self._seal()
        full = -(-micros(before) // _HOUR) * _HOUR
        while end is not None and end.header.pruned_before < full:
            header = evolve(end.header, pruned_before=full, closed=(), key=None)
            if not await self._add(end.seal, header, (), empty_before=full):
                end = await self._end()
                continue
            return

    async def find_key(self) -> ChainKey | None:
        """Return the keys of the chain; None if the chain was not begun.

        Raises:
            StorageError: the first seal was changed.
            KeyUnavailableError, ConfigurationError: the master key cannot be used now.
        """
        if self._key is None:
            for first in await self._audit.seals(after=-1, limit=1):
                self._key = await self._opened(first)
        return self._key

    async def _opened(self, first: Seal) -> ChainKey:
        found = None if first.body is None else sealed_key(first.body)
        if first.number or found is None:
            raise broken_chain()
        try:
            return ChainKey(bytes.fromhex((await self._cipher.open(_KEY, SealedToken(*found))).reveal()))
        except (UnreadableError, ValueError):
            raise broken_chain() from None

    async def _begin(self) -> None:
        secret = b"".join(self._tasks.new_id().bytes for _ in range(4)).hex()
        [sealed] = await self._cipher.seal([(_KEY, Secret(secret))])
        header = Header((0, 0), 0, 0, _ACTIONS, key=(sealed.data_key_id.hex(), sealed.blob.hex()))
        body = make_body(header, ())
        seal = ChainKey(bytes.fromhex(secret)).seal(0, START, NEVER, body)
        await self._audit.add_seal(Sealing(seal))  # False: another process has begun the chain

    async def _end(self) -> _End | None:
        """Return the last seal after checking that it continues the one before it; None if there is none."""
        key = await self.find_key()
        last = None if key is None else next(iter(await self._audit.seals(after=None, limit=1)), None)
        if key is None or last is None:
            return None
        before = START
        if last.number:
            before = next((each.digest for each in await self._audit.seals(after=last.number - 2, limit=1)), b"")
        if not key.is_genuine(last, before):  # it may be of a new chain, which another process has begun
            self._key = None
            key = await self.find_key()
        if last.body is None or key is None or not key.is_genuine(last, before):
            raise broken_chain()
        return _End(last, parsed_body(last.body)[0])

    async def _seal(self, most: int | None = None) -> _End | None:
        """Seal up to the present end of the log, but at most ``most`` times; return the last seal.

        A page that is not full ends at the present end. The events that were added meanwhile wait for the next sealing,
        because a busy log never has an end.
        """
        end, added = await self._end(), 0
        while end is not None and (most is None or added < most):
            events, place, rescans = await self._unsealed(end.header)
            if not events and place == end.header.place and rescans == end.header.rescans:
                break
            new = await self._add_events(end, events, place, rescans=rescans)
            end = new or await self._end()
            if new is not None and not rescans and len(events) < EVENTS_AT_ONCE:
                break
            added += 1
        return end

    async def _unsealed(self, header: Header) -> tuple[list[AuditEvent], tuple[int, int], bool]:
        """Return the next events to seal, the place of the last event looked at, and whether to look for sealed ones.

        The places of events change if the database is restored elsewhere, or a standby is promoted. Then the last
        sealed event is no longer in its place, and the whole log is read for events that no seal has.
        """
        first, number = header.place
        if not header.rescans:
            same = [] if not number else await self._audit.page(None, limit=1, after=(first, number - 1))
            if not number or (same and place_of(same[0]) == header.place):
                events = await self._audit.page(None, limit=EVENTS_AT_ONCE, after=header.place)
                return events, place_of(events[-1]) if events else header.place, False
        known = await self._sealed_numbers()
        place = header.place if header.rescans else (0, 0)
        while True:
            page = await self._audit.page(None, limit=EVENTS_AT_ONCE, after=place)
            if page and place_of(page[0]) <= place:  # an event that somebody has put there leads back: there is no end
                raise broken_chain()
            place = place_of(page[-1]) if page else place
            events = [event for event in page if place_of(event)[1] not in known]
            is_end = len(page) < EVENTS_AT_ONCE
            if events or is_end:
                return events, place, not is_end

    async def _sealed_numbers(self) -> Numbers:
        key = await self.find_key()
        assert key is not None  # noqa: S101 - there is a seal
        known, after, before = Numbers(), -1, START
        while seals := await self._audit.seals(after=after, limit=SEALS_AT_ONCE):
            after = seals[-1].number
            for seal in seals:
                if not key.is_genuine(seal, before):
                    raise broken_chain()
                before = seal.digest
                if seal.body is not None:
                    known.add(entry.number for segment in parsed_body(seal.body)[1] for entry in segment.entries)
        return known

    async def _add_events(
        self, end: _End, events: Sequence[AuditEvent], place: tuple[int, int], *, rescans: bool
    ) -> _End | None:
        key = await self.find_key()
        assert key is not None  # noqa: S101 - there is a seal
        batch = await self._batch(events, key)
        records = await self._recorder.records(key, events, batch.ends)
        tenants = list(batch.ends)
        ends = [batch.finish(tenant_id, key, records.get(tenant_id, ())) for tenant_id in tenants]
        header = Header(
            place,
            end.header.events + len(events),
            max([end.header.latest, *(micros(event.occurred_at) for event in events)]),
            _ACTIONS,
            tuple(batch.closed.values()),
            end.header.pruned_before,
            rescans=rescans,
        )
        return await self._add(end.seal, header, batch.segments, ends, tuple(batch.closed))

    async def _batch(self, events: Sequence[AuditEvent], key: ChainKey) -> _Batch:
        tenants = {chain_of(event) for event in events} | {event.tenant_id for event in events if event.tenant_id}
        batch = _Batch(dict(await self._audit.chain_ends(sorted(tenants))))
        for event in events:
            tenant_id = chain_of(event)
            if tenant_id not in batch.ends:
                batch.ends[tenant_id] = ChainEnd(tenant_id, self._tasks.new_id().bytes, 0, START)
            entry = key.entry(event, place_of(event)[1], batch.ends[tenant_id])
            batch.entries.setdefault(tenant_id, []).append(entry)
            if event.action is AuditAction.TENANT_ERASED and event.tenant_id in batch.ends:
                gone = str(event.tenant_id)
                batch.finish(gone, key)
                batch.closed[gone] = key.name(batch.ends.pop(gone)).hex()
        return batch

    async def _add(
        self,
        last: Seal,
        header: Header,
        segments: Sequence[Segment],
        ends: Iterable[ChainEnd] = (),
        closed: Sequence[str] = (),
        *,
        empty_before: int | None = None,
    ) -> _End | None:
        """Add a seal after the last one; return it, or None if another process was faster."""
        key = await self.find_key()
        assert key is not None  # noqa: S101 - there is a seal
        seal = key.seal(last.number + 1, last.digest, until_of(header, segments), make_body(header, segments))
        is_added = await self._audit.add_seal(Sealing(seal, tuple(ends), closed, empty_before))
        return _End(seal, header) if is_added else None


_KEY: TokenKey = stored_key(AUDIT_TENANT, "audit", TokenKind.WEBHOOK_SECRET, "")
"""The context under which the secret of the chain is sealed."""
