"""Verifies the audit log against its chain, and against heads that were kept elsewhere."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Mapping, Sequence

from attrs import define, evolve, field, frozen

from vault_domain.entities.audit import LASTING_ACTIONS, AuditAction, AuditEvent
from vault_domain.entities.audit_chain import MOST_FINDINGS, AuditFault, AuditFinding, AuditHead, AuditVerification
from vault_domain.entities.chain_records import ChainEnd, Seal
from vault_domain.entities.errors import StorageError
from vault_domain.ports.audit_log import AuditLog, Sought
from vault_domain.ports.tasks import Tasks
from vault_domain.rules.audit_chain import (
    START,
    ChainKey,
    Entry,
    Header,
    Numbers,
    Segment,
    chain_of,
    from_micros,
    micros,
    parsed_body,
)
from vault_domain.services.tokens.chaining import (
    CHAIN_CHANGED,
    EVENTS_AT_ONCE,
    SEALS_AT_ONCE,
    ChainService,
    place_of,
)
from vault_domain.services.tokens.comparing import PAUSES, TokenComparison
from vault_domain.services.tokens.following import FollowedChains
from vault_domain.services.tokens.recording import Recorded, TokenRecorder

_MOST_AHEAD = 20_000
"""Largest number of stored events that wait for their seals. Both come in one order, except after a restored dump."""

_BEGIN = (0, -(2**63))
"""A place before that of any event. No vault numbers an event less than 1, but somebody else may have."""

_COUNTS = ("seals", "events", "pruned", "heads", "tokens", "unrecorded")


@define
class _Report:
    """What was found so far."""

    counts: dict[str, int] = field(factory=lambda: dict.fromkeys(_COUNTS, 0))
    faults: int = 0
    findings: list[AuditFinding] = field(factory=list)

    def count(self, name: str, number: int = 1) -> None:
        self.counts[name] += number

    def add(self, finding: AuditFinding) -> None:
        self.faults += 1
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(finding)


@define
class _Said:
    """What the genuine seals say together.

    Attributes:
        sealed_to: by the number of actions that releases knew, the last place to which such releases have sealed.
    """

    last: int = -1
    digest: bytes = START
    place: tuple[int, int] = (0, 0)
    pruned_before: int = 0
    closed: set[bytes] = field(factory=set)
    numbers: Numbers = field(factory=Numbers)
    emptied: dict[int, int] = field(factory=dict)
    sealed_to: dict[int, tuple[int, int]] = field(factory=dict)
    recorded: Recorded = field(factory=Recorded)
    is_whole: bool = True


@frozen
class _Sealed:
    """One event of a seal."""

    seal: int
    chain: bytes
    entry: Entry


@define
class _Matching:
    """Brings sealed entries and stored events together, which come in nearly the same order."""

    entries: dict[int, _Sealed] = field(factory=dict)
    events: dict[int, AuditEvent] = field(factory=dict)
    doubtful: list[tuple[_Sealed, AuditEvent]] = field(factory=list)
    end_of_log: bool = False
    place: tuple[int, int] = _BEGIN
    last: AuditEvent | None = None


class VerifyingService:
    """Verifies the audit log.

    Args:
        audit: the audit log.
        chain: the chain's keys; it also seals what is not sealed yet, so that erasures are known.
        recorder: finds the stored tokens.
        tasks: waits.
    """

    def __init__(self, audit: AuditLog, chain: ChainService, recorder: TokenRecorder, tasks: Tasks) -> None:
        self._recorder = recorder
        self._tasks = tasks
        self._audit = audit
        self._chain = chain

    async def verify(self, heads: Sequence[AuditHead]) -> AuditVerification:
        """Verify the log and its chain; see `TokenVault.verify_audit`."""
        report = _Report()
        await self._chain.try_to_seal()
        try:
            key = await self._chain.find_key()
        except StorageError as error:
            if error.reason != CHAIN_CHANGED:
                raise
            report.add(AuditFinding(AuditFault.SEAL_CHANGED, 0))
            return _result(report)
        if key is None:
            report.add(AuditFinding(AuditFault.SEAL_MISSING, 0))
            for _ in heads:
                report.add(AuditFinding(AuditFault.HEAD_DIFFERS))
            return _result(report)
        said = await self._read_seals(key, heads, report)
        matching = await self._read_events(key, said, report)
        await self._judge(key, said, matching, report)
        await self._compare_tokens(key, said, report)
        return _result(report)

    async def _seals(self, key: ChainKey, said: _Said) -> AsyncIterator[tuple[Seal, bool, int]]:
        """Yield each seal after the last one that was read, whether it is genuine, and how many before it are missing.

        Whether the seal after a gap is genuine cannot be told, so it counts as not genuine.
        """
        expected, before = said.last + 1, said.digest
        while seals := await self._audit.seals(after=expected - 1, limit=SEALS_AT_ONCE):
            for seal in seals:
                missing = seal.number - expected
                yield seal, not missing and key.is_genuine(seal, before), missing
                expected, before = seal.number + 1, seal.digest
                await self._tasks.sleep(0)  # a seal of many events is work; requests of this process go first

    async def _read_seals(self, key: ChainKey, heads: Sequence[AuditHead], report: _Report) -> _Said:
        said, chains = _Said(), FollowedChains(key, heads)
        async for seal, is_genuine, missing in self._seals(key, _Said()):
            report.count("seals")
            chains.pass_seal(seal, is_readable=is_genuine and seal.body is not None)
            if not is_genuine:
                gap, changed = AuditFinding(AuditFault.SEAL_MISSING, seal.number - 1), AuditFault.SEAL_CHANGED
                report.add(gap if missing else AuditFinding(changed, seal.number))
            header, segments = _parsed(seal, is_genuine=is_genuine)
            _note(said, seal, header)
            for segment in segments:
                for entry in segment.entries:  # an event that was moved to the end, and changed, is sealed again
                    if entry.number in said.numbers and _is_kept(entry, said):
                        report.add(AuditFinding(AuditFault.EVENT_INSERTED, seal.number, from_micros(entry.occurred)))
                said.numbers.add(entry.number for entry in segment.entries)
                said.recorded.learn(segment, seal.number)
                if not chains.take(segment, is_first=said.is_whole and not said.emptied):
                    report.add(AuditFinding(AuditFault.SEAL_CHANGED, seal.number))
        if not report.counts["seals"]:  # somebody has deleted the chain whose key this process knows
            report.add(AuditFinding(AuditFault.SEAL_MISSING, 0))
        for fault in chains.verdicts():
            if fault is None:
                report.count("heads")
            else:
                report.add(AuditFinding(fault))
        return said

    async def _read_events(self, key: ChainKey, said: _Said, report: _Report) -> _Matching:
        matching = _Matching()
        async for seal, is_genuine, _ in self._seals(key, _Said()):
            if seal.number > said.last:
                break
            header, segments = _parsed(seal, is_genuine=is_genuine)
            if header is None:
                continue
            for segment in segments:
                for entry in segment.entries:
                    matching.entries.setdefault(entry.number, _Sealed(seal.number, segment.chain, entry))
            await self._match(key, said, matching, report)
            while matching.place < header.place and len(matching.events) < _MOST_AHEAD:
                if not await self._read_page(key, said, matching, report):
                    break
        while matching.place < said.place and await self._read_page(key, said, matching, report):
            pass
        return matching

    async def _judge(self, key: ChainKey, said: _Said, matching: _Matching, report: _Report) -> None:
        """Report what is missing or changed, unless a pruning or an erasure explains it that happened meanwhile."""
        await self._read_on(key, said)
        await self._wait_for_erasures(key, said, matching)
        for number, until in said.emptied.items():
            if until >= said.pruned_before:
                report.add(AuditFinding(AuditFault.SEAL_MISSING, number))
        for event in matching.events.values():  # their numbers are those of other events
            if not _may_be_unsealed(event, said):
                report.add(_finding(AuditFault.EVENT_INSERTED, event))
        erased: dict[str | None, bool] = {None: True}
        for sealed, event in matching.doubtful:
            if event.tenant_id not in erased:
                erased[event.tenant_id] = await self._was_erased(str(event.tenant_id))
            if _is_same(key, sealed, event) and sealed.chain in said.closed and erased[event.tenant_id]:
                report.count("events")
            else:
                report.add(evolve(_finding(AuditFault.EVENT_CHANGED, event), seal=sealed.seal))
        for sealed in matching.entries.values():
            if _is_kept(sealed.entry, said):
                report.add(AuditFinding(AuditFault.EVENT_MISSING, sealed.seal, from_micros(sealed.entry.occurred)))
            else:
                report.count("pruned")

    async def _wait_for_erasures(self, key: ChainKey, said: _Said, matching: _Matching) -> None:
        """Wait if events look as an erasure leaves them that is not sealed, because an older transaction still runs."""
        for pause in PAUSES:
            open_chains = (each for each in matching.doubtful if each[0].chain not in said.closed)
            if not any(event.tenant_id is None and _is_same(key, sealed, event) for sealed, event in open_chains):
                return
            await self._tasks.sleep(pause)
            await self._read_on(key, said)

    async def _was_erased(self, tenant_id: str) -> bool:
        """Return whether a tenant was erased, which may have begun while somebody else still wrote its last events."""
        return bool(await self._audit.latest(tenant_id, Sought(action=AuditAction.TENANT_ERASED), limit=1))

    async def _read_on(self, key: ChainKey, said: _Said) -> None:
        """Seal what there is, and learn what the new seals say."""
        await self._chain.try_to_seal()
        async for seal, is_genuine, _ in self._seals(key, said):
            header, segments = _parsed(seal, is_genuine=is_genuine)
            _note(said, seal, header)
            for segment in segments:
                said.recorded.learn(segment, seal.number)

    async def _compare_tokens(self, key: ChainKey, said: _Said, report: _Report) -> None:
        """Report the tokens that are not stored as the newest seals that tell of them have recorded them."""

        async def read_on() -> None:
            await self._read_on(key, said)

        comparison = TokenComparison(self._recorder, self._tasks, key, said.recorded, said.closed, read_on)
        found = await comparison.run()
        report.count("tokens", found.tokens)
        report.count("unrecorded", found.unrecorded)
        for each in found.changed:
            place = each.tenant_id, each.provider, each.identifier, each.kind.value
            report.add(AuditFinding(AuditFault.TOKEN_CHANGED, None, None, *place))
        for _ in range(found.missing):
            report.add(AuditFinding(AuditFault.TOKEN_MISSING))

    async def _read_page(self, key: ChainKey, said: _Said, matching: _Matching, report: _Report) -> bool:
        """Read a page of the log; return False if it was the last one."""
        if matching.end_of_log:
            return False
        before, last = matching.place, matching.last
        after = before if last is None else (before[0], before[1] - 1)  # another event may have the place of the last
        page = await self._audit.page(None, limit=EVENTS_AT_ONCE, after=after)
        matching.end_of_log = len(page) < EVENTS_AT_ONCE
        for event in _not_read_yet(key, page, last):
            if (place := place_of(event)) < before:  # it leads back to events that were read: there is no end
                matching.end_of_log = True
                report.add(_finding(AuditFault.EVENT_INSERTED, event))
                break
            matching.place, matching.last = place, event
            if place[1] not in said.numbers:
                is_inserted = said.is_whole and place <= said.place
            else:
                is_inserted = matching.events.setdefault(place[1], event) is not event
            if is_inserted and not _may_be_unsealed(event, said):
                report.add(_finding(AuditFault.EVENT_INSERTED, event))
        matching.end_of_log = matching.end_of_log or matching.place == before  # a page of events with one place
        await self._match(key, said, matching, report)
        return not matching.end_of_log

    async def _match(self, key: ChainKey, said: _Said, matching: _Matching, report: _Report) -> None:
        both = matching.entries.keys() & matching.events.keys()
        pairs = [(matching.entries.pop(number), matching.events.pop(number)) for number in both]
        ends = await self._audit.chain_ends(sorted({chain_of(event) for _, event in pairs})) if pairs else {}
        for sealed, event in pairs:
            if _is_unchanged(key, sealed, event, ends, said):
                report.count("events")
            else:
                matching.doubtful.append((sealed, event))


def _not_read_yet(key: ChainKey, page: Sequence[AuditEvent], last: AuditEvent | None) -> list[AuditEvent]:
    """Return a page without the last event of the page before, which an erasure may have stripped of its tenant."""
    if last is None or last in page:
        return [event for event in page if event != last]
    same = (event for event in page if place_of(event) == place_of(last) and key.what(event) == key.what(last))
    erased = next((event for event in same if event.tenant_id is None), None)
    return [event for event in page if event is not erased]


def _note(said: _Said, seal: Seal, header: Header | None) -> None:
    said.last, said.digest = seal.number, seal.digest
    if header is None:
        said.recorded.forget()  # the newest records of some tokens may have been in this seal
        said.is_whole = said.is_whole and seal.body is None
        if seal.body is None:
            said.emptied[seal.number] = seal.until
        return
    said.place = header.place
    said.pruned_before = max(said.pruned_before, header.pruned_before)
    said.closed.update(map(bytes.fromhex, header.closed))
    said.sealed_to[header.actions] = max(header.place, said.sealed_to.get(header.actions, _BEGIN))


def _is_kept(entry: Entry, said: _Said) -> bool:
    """Return whether no pruning has deleted an event."""
    return entry.lasts or entry.occurred >= said.pruned_before


def _may_be_unsealed(event: AuditEvent, said: _Said) -> bool:
    """Return whether no seal need have an event: its seal was emptied, or made by a release that could not read it."""
    if event.action not in LASTING_ACTIONS and micros(event.occurred_at) < said.pruned_before:
        return True
    known, place = list(type(event.action)).index(event.action), place_of(event)
    return any(actions <= known and place <= last for actions, last in said.sealed_to.items())


def _is_same(key: ChainKey, sealed: _Sealed, event: AuditEvent) -> bool:
    """Return whether an event is as it was sealed, but perhaps for its tenant and identifier."""
    return hmac.compare_digest(sealed.entry.what, key.what(event))


def _is_unchanged(key: ChainKey, sealed: _Sealed, event: AuditEvent, ends: Mapping[str, ChainEnd], said: _Said) -> bool:
    if not _is_same(key, sealed, event):
        return False
    if sealed.chain in said.closed:  # the tenant was erased, and with it the secret of the first MAC
        return event.tenant_id is None
    end = ends.get(chain_of(event))
    return (
        end is not None and key.name(end) == sealed.chain and hmac.compare_digest(sealed.entry.who, key.who(event, end))
    )


def _finding(fault: AuditFault, event: AuditEvent) -> AuditFinding:
    return AuditFinding(fault, occurred_at=event.occurred_at, tenant_id=event.tenant_id)


def _parsed(seal: Seal, *, is_genuine: bool) -> tuple[Header | None, list[Segment]]:
    """Return what a seal says; the header is None if it was emptied, or if it is not genuine."""
    return parsed_body(seal.body) if is_genuine and seal.body is not None else (None, [])


def _result(report: _Report) -> AuditVerification:
    return AuditVerification(**report.counts, faults=report.faults, findings=tuple(report.findings))
