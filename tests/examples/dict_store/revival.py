"""Revives condemned credentials."""

from datetime import timedelta

from attrs import evolve
from tests.examples.dict_store.clients import is_of_client, stored_at_least
from tests.examples.dict_store.tokens import token_event

from vault_domain.entities.audit import AuditAction
from vault_domain.entities.token import TokenStatus
from vault_domain.ports.change import Change
from vault_domain.ports.revival import Revived


class DictRevivalRepository:
    """Implements `RevivalRepository`."""

    def __init__(self, database, clock):
        self._database, self._clock = database, clock

    async def revive(self, condemned, *, after, limit, spread, dry_run, actor):
        def work(transaction):
            infos = [row.info for row in transaction.tables.tokens.values()]
            found = sorted((info for info in infos if _is_condemned(transaction, info, condemned)), key=_place)
            page = [info for info in found if after is None or _place(info) > after][:limit]
            wanted = [info for info in page if not info.is_expired(transaction.now)]
            events = ()
            if not dry_run:
                events = [
                    _revive(transaction, info, spread.due_in(number), actor) for number, info in enumerate(wanted)
                ]
                transaction.append(events)
            place = _place(page[-1]) if len(page) == limit else None
            return Change(Revived(len(wanted), len(page) - len(wanted), transaction.now, place), events)

        return await self._database.transact(work, self._clock)


def _is_condemned(transaction, info, condemned):
    client = condemned.client
    if info.key.provider != condemned.provider or condemned.tenant_id not in (None, info.key.tenant_id):
        return False
    if info.status is not TokenStatus.INVALID or info.rejected_at is None:
        return False
    if client is not None and not is_of_client(transaction.tables, info, client, {None, client}):
        return False
    is_within = condemned.since <= info.rejected_at <= (condemned.until or transaction.now)
    return is_within and stored_at_least(info, condemned.stored_since)


def _place(info):
    return (info.rejected_at, info.key.tenant_id, info.key.identifier or "", info.key.kind)


def _revive(transaction, info, due_in, actor):
    tables, now = transaction.tables, transaction.now
    valid = evolve(info, status=TokenStatus.VALID, error_code=None, rejected_at=None, updated_at=now)
    tables.tokens[info.key] = evolve(tables.tokens[info.key], info=valid)
    row = tables.accounts.get(info.key.account)
    if row is not None:
        running = row.refresh.leased_until(now) is not None
        refresh = evolve(
            row.refresh,
            failures=0,
            next_attempt_at=None,
            unknown_since=None,
            error_code=None,
            refused_since=None,
            refused_for=timedelta(0),
            lease_until=row.refresh.lease_until if running else None,
        )
        transaction.change_account(info.key.account, refresh=refresh, due_at=now + due_in)
    return token_event(AuditAction.ACCOUNT_REVIVED, info, transaction, actor, info.error_code)
