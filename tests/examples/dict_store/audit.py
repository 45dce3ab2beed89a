"""The audit log."""

from datetime import UTC

from attrs import evolve
from tests.examples.dict_store.database import Port, atomic

from vault_domain.entities.audit import LASTING_ACTIONS, AuditAction, AuditEvent
from vault_domain.entities.page import encode_cursor
from vault_domain.ports.change import Change


class DictAuditLog(Port):
    """Implements `AuditLog`. There is one writer, so the events' numbers are in the order of the commits."""

    async def page(self, tenant_id, *, limit, after):
        behind = max(0 if after is None else after[1], 0)
        return [event for number, event in self._numbered(tenant_id) if number > behind][:limit]

    async def latest(self, tenant_id, sought, *, limit):
        found = [event for _, event in self._numbered(tenant_id) if _is_sought(event, sought)]
        return found[-limit:]

    @atomic
    def append(self, transaction, noticed, *, apart):
        appended = []
        for each in noticed:
            event = evolve(each.event, occurred_at=transaction.now - each.age)
            if apart is None or not _was_told(transaction, event, transaction.now - apart):
                transaction.append([event])
                appended.append(event)
        return Change(None, appended)

    @atomic
    def prune(self, transaction, older_than, *, actor):
        events, before = transaction.tables.events, transaction.now - older_than
        pruned = 0
        for number, event in enumerate(events):
            if event is not None and event.occurred_at < before and event.action not in LASTING_ACTIONS:
                events[number] = None  # the other events keep their numbers
                pruned += 1
        code = before.astimezone(UTC).isoformat(timespec="seconds")
        told = (AuditEvent(AuditAction.AUDIT_PRUNED, transaction.now, actor=actor, code=code),) if pruned else ()
        transaction.append(told)
        return Change(pruned, told)

    def _numbered(self, tenant_id):
        for number, event in enumerate(self._tables.events, start=1):
            if event is not None and tenant_id in (None, event.tenant_id):
                yield number, evolve(event, cursor=encode_cursor((0, number)))


def _is_sought(event, sought):
    return (
        sought.account in (None, event.account)
        and sought.action in (None, event.action)
        and (sought.since is None or event.occurred_at >= sought.since)
    )


def _was_told(transaction, event, after):
    parts = (event.action, event.account, event.kind, event.generation, event.code)
    return any(
        each is not None
        and each.occurred_at > after
        and (each.action, each.account, each.kind, each.generation, each.code) == parts
        for each in transaction.tables.events
    )
