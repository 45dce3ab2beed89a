"""Used states, unread answers, and the care of the database on SQLite."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from vault_adapters.stores.damage import sound
from vault_adapters.stores.migrations import load_migrations
from vault_adapters.stores.queries import Queries
from vault_adapters.stores.sqlite.audit import append_events
from vault_adapters.stores.sqlite.database import Row, SqliteDatabase, Transaction
from vault_adapters.stores.sqlite.rows import account_parameters, to_micros
from vault_adapters.stores.sqlite.writing import require_active
from vault_domain.entities.account import stored_account
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.errors import SchemaOutdatedError, StorageError
from vault_domain.entities.token import SealedToken
from vault_domain.ports.change import Change
from vault_domain.ports.upkeep import KeptAnswer, StateUse
from vault_domain.transitions.events import kept_event

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = (_EPOCH, UUID(int=0))


_KNOWN = len(load_migrations("vault_adapters.stores.sqlite"))
_NO_TABLE = "sqlite_error"
"""The reason of the error if a table is missing; some other errors have this reason too."""


class SqliteUpkeep:
    """Implements `Upkeep`."""

    def __init__(self, database: SqliteDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def ping(self) -> None:
        """Return normally if the database answers, has the schema, and this process may write its file.

        It writes nothing, because a write would wait for other writers.
        """
        try:
            [(applied,)] = await self._database.fetch(self._queries["count_migrations"], {"known": _KNOWN})
        except StorageError as error:
            if error.reason != _NO_TABLE:
                raise
            applied = 0
        if applied < _KNOWN:
            raise SchemaOutdatedError
        self._database.check_writable()

    async def use_state(self, state_id: bytes, expires_at: datetime) -> StateUse:
        """Record that a state was used, unless it was used before or has expired."""

        async def work(transaction: Transaction) -> StateUse:
            await transaction.execute(self._queries["delete_expired_states"], {"now": to_micros(transaction.now)})
            if expires_at <= transaction.now:
                return StateUse.EXPIRED
            parameters = {"state_id": state_id, "expires_at": to_micros(expires_at)}
            is_first = await transaction.execute(self._queries["use_state"], parameters) == 1
            return StateUse.FIRST if is_first else StateUse.USED

        return await self._database.transact(work)

    async def keep_answer(self, attempt: Attempt, sealed: SealedToken, *, actor: str | None) -> Change[bool]:
        """Keep an answer in place of an earlier one of its account."""

        async def work(transaction: Transaction) -> Change[bool]:
            parameters = account_parameters(attempt.account) | {
                "attempt_id": attempt.attempt_id.bytes,
                "kind": attempt.credential.key.kind.value,
                "value_id": attempt.credential.value_id.bytes,
                "data_key_id": sealed.data_key_id,
                "blob": sealed.blob,
            }
            await require_active(transaction, self._queries, [(attempt.account.tenant_id, sealed.data_key_id)])
            before: dict[bytes, int] = dict(await transaction.fetch(self._queries["find_kept_answer"], parameters))
            since = before.get(attempt.attempt_id.bytes)  # an answer of the same attempt is replaced without an event
            kept_at = {"kept_at": to_micros(transaction.now) if since is None else since}
            is_kept = await transaction.execute(self._queries["keep_answer"], parameters | kept_at) > 0
            events = (kept_event(attempt, transaction.now, actor),) if is_kept and since is None else ()
            await append_events(transaction, self._queries, events)
            return Change(is_kept, events)

        return await self._database.transact(work)

    async def kept_answers(self, after: tuple[datetime, UUID] | None, limit: int) -> Sequence[KeptAnswer]:
        """Return kept answers, the oldest first."""
        kept_at, attempt_id = after or _FIRST
        parameters = {"kept_at": to_micros(kept_at), "attempt_id": attempt_id.bytes, "limit": limit}
        return sound(await self._database.fetch(self._queries["list_kept_answers"], parameters), _kept)

    async def count_answers(self) -> Mapping[str, int]:
        """Count the kept answers of each provider."""
        return dict(await self._database.fetch(self._queries["count_kept_answers"]))

    async def drop_answer(self, answer: KeptAnswer) -> None:
        """Delete a kept answer."""
        own = account_parameters(answer.account) | {"attempt_id": answer.attempt_id.bytes}
        await self._database.transact(lambda transaction: transaction.execute(self._queries["drop_kept_answer"], own))


def _kept(row: Row) -> KeptAnswer:
    tenant_id, provider, identifier, attempt_id, key_id, blob, kept_at = row
    at = _EPOCH + timedelta(microseconds=kept_at)
    return KeptAnswer(
        stored_account(tenant_id, provider, identifier), UUID(bytes=attempt_id), SealedToken(key_id, blob), at
    )
