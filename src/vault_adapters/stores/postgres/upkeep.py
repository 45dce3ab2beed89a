"""Used states, unread answers, and the care of the database on Postgres."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from vault_adapters.stores.migrations import load_migrations
from vault_adapters.stores.postgres.appending import append_events
from vault_adapters.stores.postgres.cursors import int8
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.postgres.rows import account_parameters
from vault_adapters.stores.queries import Queries
from vault_domain.entities.account import stored_account
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.errors import SchemaOutdatedError, StorageError
from vault_domain.entities.token import SealedToken
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.ports.upkeep import KeptAnswer, StateUse
from vault_domain.transitions.events import kept_event

_FIRST = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))

_KNOWN = len(load_migrations("vault_adapters.stores.postgres"))

_NO_TABLE, _NO_SCHEMA = "42P01", "3F000"


class PostgresUpkeep:
    """Implements `Upkeep`."""

    def __init__(self, database: PostgresDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def ping(self) -> None:
        """Begin a transaction that may write, and count the applied migrations.

        Migrations of a newer release are ignored, so that older processes go on while a release is rolled out.

        Raises:
            StorageError: the database does not answer, or takes no writes.
            SchemaOutdatedError: migrations of this release are missing.
        """

        async def work(transaction: Transaction) -> int:
            [(applied,)] = await transaction.fetch(self._queries["count_migrations"], {"known": _KNOWN})
            return int(applied)

        try:
            applied = await self._database.transact(work, hasty=True)
        except StorageError as error:
            if error.reason not in (_NO_TABLE, _NO_SCHEMA):
                raise
            applied = 0
        if applied < _KNOWN:
            raise SchemaOutdatedError

    async def use_state(self, state_id: bytes, expires_at: datetime) -> StateUse:
        """Record that a state was used, unless it was used before or has expired."""
        parameters = {"state_id": state_id, "expires_at": expires_at, "now": self._database.now()}
        [(is_expired, is_first, _)] = await self._database.write(self._queries["use_state"], parameters)
        if is_expired:
            return StateUse.EXPIRED
        return StateUse.FIRST if is_first else StateUse.USED

    async def keep_answer(self, attempt: Attempt, sealed: SealedToken, *, actor: str | None) -> Change[bool]:
        """Keep an answer in place of an earlier one of its account."""
        parameters = account_parameters(attempt.account) | {
            "attempt_id": attempt.attempt_id,
            "kind": attempt.credential.key.kind.value,
            "value_id": attempt.credential.value_id,
            "data_key_id": sealed.data_key_id,
            "data_key_ids": [sealed.data_key_id],
            "blob": sealed.blob,
        }

        async def work(transaction: Transaction) -> Change[bool]:
            own = parameters | {"now": transaction.now}
            await transaction.fetch(self._queries["make_commit_durable"])
            if not await transaction.fetch(self._queries["lock_data_keys"], own):
                raise DataKeyInactiveError
            before: dict[UUID, datetime] = dict(await transaction.fetch(self._queries["find_kept_answer"], own))
            since = before.get(attempt.attempt_id)  # an answer of the same attempt is replaced without an event
            stored = await transaction.fetch(self._queries["keep_answer"], own | {"kept_at": since})
            events = tuple(kept_event(attempt, kept_at, actor) for (kept_at,) in stored if since is None)
            await append_events(transaction, self._queries, events)
            return Change(bool(stored), events)

        return await self._database.transact(work)

    async def kept_answers(self, after: tuple[datetime, UUID] | None, limit: int) -> Sequence[KeptAnswer]:
        """Return kept answers, the oldest first."""
        kept_at, attempt_id = after or _FIRST
        parameters = {"kept_at": kept_at, "attempt_id": attempt_id, "limit": int8(limit)}
        rows = await self._database.fetch(self._queries["list_kept_answers"], parameters)
        return [
            KeptAnswer(stored_account(*place), own_id, SealedToken(bytes(key_id), bytes(blob)), at)
            for *place, own_id, key_id, blob, at in rows
        ]

    async def count_answers(self) -> Mapping[str, int]:
        """Count the kept answers of each provider."""
        return dict(await self._database.fetch(self._queries["count_kept_answers"]))

    async def drop_answer(self, answer: KeptAnswer) -> None:
        """Delete a kept answer."""
        own = account_parameters(answer.account) | {"attempt_id": answer.attempt_id}
        await self._database.write(self._queries["drop_kept_answer"], own)
