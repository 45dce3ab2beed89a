"""Importing tokens from another system."""

from functools import partial
from uuid import uuid4

from tests.examples.dict_store.tokens import require_active_data_keys, schedule_accounts, token_event

from vault_domain.entities.audit import AuditAction
from vault_domain.entities.imported import ImportOutcome
from vault_domain.entities.token import StoredToken, TokenInfo
from vault_domain.ports.change import Change


class DictImportRepository:
    """Implements `ImportRepository`."""

    def __init__(self, database, clock):
        self._database, self._clock = database, clock

    def begin(self, source):
        return DictImportRun(self._database, self._clock, object() if source is None else source)

    async def existing(self, keys):
        return {key for key in keys if key in self._database.tables.tokens}


class DictImportRun:
    """Implements `ImportRun`; it notes the source and the id of each row that it stores."""

    def __init__(self, database, clock, source):
        self._database, self._clock, self._source = database, clock, source

    async def prepare(self, late, *, overwrite, actor):
        writes = late.take(range(len(late.keys)))

        def work(transaction):
            require_active_data_keys(transaction, writes)
            outcomes, events, stored = [], [], []
            for write in writes:
                outcome, is_stored = self._decide(transaction, write, overwrite)
                outcomes.append(outcome)
                if is_stored:
                    info = self._store(transaction, write)
                    stored.append((write, info.expires_at))
                    code = None if outcome is ImportOutcome.IMPORTED else "replaced"
                    events.append(token_event(AuditAction.TOKEN_IMPORTED, info, transaction, actor, code))
            schedule_accounts(transaction, stored)
            transaction.append(events)
            return Change(outcomes, tuple(events))

        return partial(self._database.transact, work, self._clock)

    def _decide(self, transaction, write, overwrite):
        stored = transaction.tables.tokens.get(write.key)
        if stored is None:
            return ImportOutcome.IMPORTED, True
        info = stored.info
        if transaction.tables.imported.get(write.key) == (self._source, info.id):
            now = transaction.now
            is_later = write.updated_at is not None and info.updated_at < write.updated_at < now
            return ImportOutcome.SKIPPED, info.generation == 1 and is_later
        return (ImportOutcome.REPLACED, True) if overwrite else (ImportOutcome.SKIPPED, False)

    def _refreshed_at(self, transaction, write):
        if write.last_refreshed_at is not None:
            return min(write.last_refreshed_at, transaction.now)
        stored = transaction.tables.tokens.get(write.key)
        if stored is None:
            return None
        is_own = transaction.tables.imported.get(write.key) == (self._source, stored.info.id)
        return stored.info.last_refreshed_at if is_own else transaction.now

    def _store(self, transaction, write):
        def past(moment):
            return transaction.now if moment is None else min(moment, transaction.now)

        info = TokenInfo(
            id=uuid4(),
            key=write.key,
            status=write.status,
            error_code=write.error_code,
            expires_at=write.expires_at,
            scopes=write.scopes,
            generation=1,
            last_used_at=None if write.last_used_at is None else past(write.last_used_at),
            last_refreshed_at=self._refreshed_at(transaction, write),
            lifetime=None,
            created_at=past(write.created_at),
            updated_at=past(write.updated_at),
            value_id=uuid4(),
        )
        transaction.tables.tokens[write.key] = StoredToken(info, write.sealed)
        transaction.tables.imported[write.key] = (self._source, info.id)
        return info
