"""Refusals, pauses, probes and turns of OAuth clients."""

from attrs import evolve
from tests.examples.dict_store.account_states import change_state
from tests.examples.dict_store.tokens import token_event

from vault_domain.entities.account import TokenKind
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.clients import CLIENT_MISMATCH, MASS_REJECTION
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.token import TokenStatus
from vault_domain.ports.change import Change
from vault_domain.ports.client_ledger import Verdict
from vault_domain.rules.clients import after_restore, counted, is_mass, is_paused, opened
from vault_domain.rules.pacing import FREE, Turns, mark_of_tenant, next_turn
from vault_domain.transitions.attempts import rejected


class DictClientLedger:
    """Implements `ClientLedger`."""

    def __init__(self, database, clock):
        self._database, self._clock = database, clock

    async def records(self, provider=None):
        rows = self._database.tables.clients.values()
        return [row for row in rows if provider in (None, row.scope.provider)], self._clock.now()

    async def refuse(self, scope, account, rules):
        def work(transaction):
            row, now = transaction.tables.clients.get(scope), transaction.now
            succeeded = (
                row is not None and scope.reason != CLIENT_MISMATCH and _succeeded(transaction, scope, row.since)
            )
            is_sole = not _others(transaction, account)
            new = counted(row, scope, account, now, rules, bool(succeeded), is_sole=is_sole)
            transaction.tables.clients[scope] = new
            is_new = new.opened_at is not None and (row is None or row.opened_at is None)
            return Change(new, _report(transaction, AuditAction.CLIENT_PAUSED, scope) if is_new else ())

        return await self._database.transact(work, self._clock)

    async def take_probe(self, scope, seen):
        def work(transaction):
            row = transaction.tables.clients.get(scope)
            if row is None or row.opened_at is None or row.probe_at != seen:
                return False
            transaction.tables.clients[scope] = evolve(row, probe_at=transaction.now)
            return True

        return await self._database.transact(work, self._clock)

    async def take_turn(self, provider, client, tenant_id, limit, ahead=FREE):
        def work(transaction):
            key, tables = (provider, client), transaction.tables
            turns = tables.turns.get(key, Turns())
            tables.turns[key], wait = next_turn(turns, mark_of_tenant(tenant_id), transaction.now, limit, ahead)
            return wait

        return await self._database.transact(work, self._clock)

    async def close(self, scope):
        def work(transaction):
            row = transaction.tables.clients.pop(scope, None)
            if row is None or row.opened_at is None:
                return Change(result=False)
            return Change(result=True, events=_report(transaction, AuditAction.CLIENT_RESUMED, scope))

        return await self._database.transact(work, self._clock)

    async def note_restore(self, since, *, actor):
        def work(transaction):
            tables, now = transaction.tables, transaction.now
            restored_at = since or now
            if restored_at > now:
                raise InvalidInputError("since must not lie in the future")
            tables.restorations.add(restored_at)
            ended = [row for row in tables.clients.values() if row.scope.reason == MASS_REJECTION]
            events = []
            for row in ended:
                del tables.clients[row.scope]
                if row.opened_at is not None:
                    events += _report(transaction, AuditAction.CLIENT_RESUMED, row.scope)
            for account, row in list(tables.accounts.items()):
                if row.refresh.failures and row.refresh.error_code == MASS_REJECTION:
                    refresh = evolve(row.refresh, next_attempt_at=None)
                    transaction.change_account(account, refresh=refresh, due_at=now)
            restored = AuditEvent(AuditAction.DATABASE_RESTORED, now, actor=actor)
            transaction.append([restored])
            return Change(restored_at, (*events, restored))

        return await self._database.transact(work, self._clock)

    async def condemn(self, attempt, code, scope, rules, *, actor):
        def work(transaction):
            clients, now = transaction.tables.clients, transaction.now
            restored_at = max(transaction.tables.restorations, default=None)
            judged = after_restore(rules, attempt.stored_at, restored_at)
            row = clients.get(scope)
            if row is not None and is_paused(row, now, judged):
                clients[scope] = counted(row, scope, attempt.account, now, judged, succeeded=False)
                return Change(Verdict.SPARED)
            if row is None or row.opened_at is None:
                others = [each for each in _rejected(transaction, scope, now - judged.window)
                          if each.key.account != attempt.account]  # fmt: skip
                tenant = attempt.account.tenant_id
                is_one = all(each.key.tenant_id == tenant for each in others) and _others(transaction, attempt.account)
                succeeded = _succeeded(transaction, scope, now - judged.window)
                if is_mass(len(others) + 1, succeeded, judged, is_one_tenants=is_one):
                    revived = _take_back(transaction, _rejected(transaction, scope, now - judged.window), actor)
                    clients[scope] = opened(counted(None, scope, attempt.account, now, judged, succeeded=False), now)
                    paused = _report(transaction, AuditAction.CLIENT_PAUSED, scope)
                    return Change(Verdict.SPARED, (*revived, *paused))
            if row is not None:
                clients[scope] = evolve(row, refused_at=now)
            decision = change_state(
                transaction, attempt.account, lambda state, at: rejected(state, at, attempt, code, actor)
            )
            return Change(Verdict.CONDEMNED if decision.result else Verdict.MOVED, decision.events)

        return await self._database.transact(work, self._clock)


def _others(transaction, account):
    """Return whether tokens of another tenant are stored."""
    return any(row.key.tenant_id != account.tenant_id for row in transaction.tables.tokens.values())


def _is_of(transaction, row, scope, otherwise):
    """Return whether a token belongs to a scope: by its account's endpoint, or if that has none, as ``otherwise``."""
    account = transaction.tables.accounts.get(row.key.account)
    return otherwise if account is None or account.endpoint is None else account.endpoint == scope.client


def _succeeded(transaction, scope, since):
    """Count the client's successes after a time."""
    return sum(
        row.info.key.kind is TokenKind.ACCESS_TOKEN
        and row.info.key.provider == scope.provider
        and _is_of(transaction, row, scope, scope.client in (None, row.info.client))
        and row.info.last_refreshed_at is not None
        and row.info.last_refreshed_at > since
        for row in transaction.tables.tokens.values()
    )


def _rejected(transaction, scope, since):
    """Return the client's credentials that the provider rejected after a time."""
    return [
        row
        for row in transaction.tables.tokens.values()
        if row.info.key.provider == scope.provider
        and _is_of(transaction, row, scope, scope.client is None or row.info.client in (None, scope.client))
        and row.info.status is TokenStatus.INVALID
        and row.info.rejected_at is not None
        and row.info.rejected_at > since
        and all((row.info.last_refreshed_at or row.info.created_at) >= at for at in transaction.tables.restorations)
    ]


def _take_back(transaction, rows, actor):
    for row in rows:
        info = evolve(row.info, status=TokenStatus.VALID, error_code=None, rejected_at=None, updated_at=transaction.now)
        transaction.tables.tokens[info.key] = evolve(row, info=info)
        transaction.change_account(info.key.account, due_at=transaction.now)
    events = [
        token_event(AuditAction.ACCOUNT_REVIVED, row.info, transaction, actor, row.info.error_code) for row in rows
    ]
    transaction.append(events)
    return events


def _report(transaction, action, scope):
    events = (AuditEvent(action, transaction.now, code=scope.reason, provider=scope.provider),)
    transaction.append(events)
    return events
