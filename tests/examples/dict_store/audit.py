"""The audit log."""

from datetime import UTC
from operator import attrgetter

from attrs import evolve
from tests.examples.dict_store.database import Port, atomic

from vault_domain.entities.audit import LASTING_ACTIONS, AuditAction, AuditEvent
from vault_domain.entities.page import encode_cursor
from vault_domain.ports.change import Change

_parts = attrgetter("action", "account", "kind", "generation", "code")


class DictAuditLog(Port):
    """Implements `AuditLog`. There is one writer, so the events' numbers are in the order of the commits."""

    async def page(self, tenant_id, *, limit, after):
        behind = 0 if after is None else after[1]
        return [event for number, event in self._numbered(tenant_id) if number > behind][:limit]

    async def latest(self, tenant_id, sought, *, limit):
        found = [
            event
            for _, event in self._numbered(tenant_id)
            if sought.account in (None, event.account)
            and sought.action in (None, event.action)
            and (sought.since is None or event.occurred_at >= sought.since)
        ]
        return found[-limit:]

    @atomic
    def append(self, tables, noticed, *, apart):
        appended = []
        for each in noticed:
            event = evolve(each.event, occurred_at=tables.now - each.age)
            same = [other for other in tables.events.values() if _parts(other) == _parts(event)]
            if apart is None or not any(other.occurred_at > tables.now - apart for other in same):
                appended += tables.append([event])
        return Change(None, appended)

    async def prune(self, older_than, *, actor, announce):
        before = self._clock.now() - older_than
        await announce(before)
        return await self._prune(before, actor)

    @atomic
    def _prune(self, tables, before, actor):
        events = tables.events.items()
        old = [n for n, event in events if event.occurred_at < before and event.action not in LASTING_ACTIONS]
        code = before.astimezone(UTC).isoformat(timespec="seconds")
        told = (AuditEvent(AuditAction.AUDIT_PRUNED, tables.now, actor=actor, code=code),) if old else ()
        tables.append(told)
        for number in old:  # after the new event has its number, so that no number is given twice
            del tables.events[number]
        return Change(len(old), told)

    async def seals(self, *, after, limit):
        seals = sorted(self._tables.seals.values(), key=lambda seal: seal.number)
        return seals[-1:] if after is None else [seal for seal in seals if seal.number > after][:limit]

    async def chain_ends(self, tenant_ids):
        ends = self._tables.chain_ends
        return {tenant_id: ends[tenant_id] for tenant_id in tenant_ids if tenant_id in ends}

    @atomic
    def add_seal(self, tables, sealing):
        seals, ends = tables.seals, tables.chain_ends
        if sealing.seal.number in seals:
            return False
        seals[sealing.seal.number] = sealing.seal
        for tenant_id in sealing.closed:
            ends.pop(tenant_id, None)
        ends.update((end.tenant_id, end) for end in sealing.ends)
        for number, seal in seals.items():
            if sealing.empty_before is not None and seal.until < sealing.empty_before:
                seals[number] = evolve(seal, body=None)
        return True

    def _numbered(self, tenant_id):
        for number, event in self._tables.events.items():
            if tenant_id in (None, event.tenant_id):
                yield number, evolve(event, cursor=encode_cursor((0, number)))
