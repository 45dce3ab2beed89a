"""Accounts: reads the tokens of accounts, and changes accounts by decisions about the whole of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from attrs import field, frozen

from vault_domain.entities.account import Account, TokenKey
from vault_domain.entities.account_state import AccountState, Decision
from vault_domain.entities.imported import ImportedWrite, ImportOutcome
from vault_domain.entities.token import DamagedToken, StoredToken, TokenInfo, TokenRef, TokenWrite
from vault_domain.ports.change import Change
from vault_domain.ports.late_writes import LateWrites
from vault_domain.ports.readings import Reading as Reading  # noqa: PLC0414 - also exported from here
from vault_domain.ports.readings import Snapshot as Snapshot  # noqa: PLC0414 - also exported from here

T = TypeVar("T")

Decide = Callable[[AccountState, datetime], Decision[T]]
"""Decides what becomes of an account, given its state and the store's time. It has no side effects."""

StoreBatch = Callable[[], Awaitable[Change[list[ImportOutcome]]]]
"""Stores a batch of imported values in one transaction. It is called at most once.

It raises DataKeyInactiveError if a value is sealed under a data key that is not active; nothing was written then.
"""

PrepareBatch = Callable[[LateWrites[ImportedWrite]], Awaitable[StoreBatch]]
"""Seals a batch of values, of which each key occurs at most once, and returns the function that stores it.

The result of that function is the outcomes in the order of the keys. The next batch may be prepared while this one is
stored.
"""


@frozen
class DueAccount:
    """An account that a sweep has to check.

    Attributes:
        account: the account.
        due_at: time at which the account became due, UTC. The last ``due_at`` of a batch is the argument ``since``
            of the next call of `Accounts.reserve_due`.
    """

    account: Account
    due_at: datetime


@frozen
class Erased:
    """The counts of one erasure; `ErasureReport` explains all but the last attribute.

    Attributes:
        is_purged: whether the database's files hold nothing of the deleted rows. False if another connection to the
            database prevented it for now, or if cleaning the files failed. None if the store cannot clean its files.
    """

    tokens: int
    accounts: int
    data_keys: int
    wraps: int
    audit_events: int
    is_purged: bool | None = field(default=None, kw_only=True)


class Accounts(Protocol):
    """Keeps accounts: their tokens, at most one per kind, one row with label, refresh state and schedule, and at most
    one answer that could not be read.

    - Every mutation appends its audit events in the same transaction; if they cannot be written, it rolls back.
    - All times are the store's.
    - Database failures raise `StorageError`.
    - A key reaches only the rows of the tenant that it names. Names are compared exactly, letter case included.
    - A row that cannot be decoded does not affect other accounts: `get` and `get_many` return a `DamagedToken` for its
      key, and `change` finds it in `AccountState.damaged`.

    What becomes of an account is decided by `vault_domain.transitions`; a store loads, compares and writes. Only
    `store` may write blindly, where a read before it would cost a round trip.

    The schedule is one time per account, ``due_at``. This time is never later than the time at which the rules would
    refresh the account (`vault_domain.rules.refresh.next_due`). So each mutation sets ``due_at``:

    - A stored access token with an expiry: its expiry minus the write's ``lead``, unless ``due_at`` is already earlier.
    - A stored value with a ``due_in``: that time from now, unless ``due_at`` is already earlier. For an imported value,
      ``due_in`` counts from its last refresh, or else from its creation.
    - Several values of one account that are stored together: if one of the two rules above applies to an access token
      among them, only this access token counts. Only writes of access tokens have a ``lead``.
    - A stored value to which neither rule applies: now, but only if the account already has a label, a refresh state or
      a schedule.
    - An access token that is marked invalid: now. An access token that is deleted: now, if the account has a row.
    - A claim: the end of the lease. A renewal: the new end of the lease, if ``due_at`` was the old end.
    - A release or a rejection: now. A failure: the next attempt, or an earlier time that another write has set since
      the claim.
    - A commit: the expiry of the new access token minus its ``lead``, or ``due_in`` from now if that is earlier; now
      if the commit wrote no access token, or an access token without a ``lead``.
    """

    def get(self, key: TokenKey, known: StoredToken | None = None) -> Awaitable[Reading]:
        """Read one token. Concurrent reads may share one query; if it fails, each raises its own copy of the error.

        Each call returns a new awaitable, as a method with ``async def`` does. If it is a future, the caller may cancel
        it or set an error in it.

        Args:
            key: the key of the token.
            known: the token as the caller remembers it; None if the caller remembers no token that has a `version`.
                If the `version` shows that the stored row has not changed, the store need not read the row. The answer
                is then this object, or a copy of it if the time of the last use has changed.
        """

    async def get_many(self, keys: Sequence[TokenKey]) -> tuple[Sequence[StoredToken | DamagedToken], datetime]:
        """Return the tokens stored under these distinct keys, and the store's time; without keys, only the time."""

    async def store(
        self, writes: Sequence[TokenWrite] | LateWrites[TokenWrite], *, actor: str | None
    ) -> Change[list[TokenInfo]]:
        """Insert or replace tokens, all or none; their status becomes VALID. Return them in the order of their keys.

        This equals the transition `vault_domain.transitions.values.stored`. A value that replaces another sets
        `last_refreshed_at`, as a refresh does.

        Args:
            writes: each key at most once; all are refreshes, or none is. Late writes are no refreshes, and the store
                takes them in parts; if taking them raises an error, nothing is stored.
            actor: who stores them, for the audit log.

        Raises:
            DataKeyInactiveError: a value is sealed under a data key that is not active; nothing was written.
        """

    async def read(self, account: Account, *, with_values: bool = True) -> Snapshot:
        """Read an account with its sealed values; a store may leave them out if ``with_values`` is False.

        Raises:
            DecryptionError: a row of the account is damaged, or belongs to another account.
        """

    async def change(self, account: Account, decide: Decide[T]) -> Decision[T]:
        """Load an account whole, decide, and write the new state with the events, all or nothing; return the decision.

        - The account does not change between the load and the write, except for the times of last uses. A store either
          loads and writes in one transaction that keeps other writers away, or compares all that it has loaded with
          what is stored, absent rows included, and decides again if anything differs.
        - The time is the store's when it writes, or at most a second earlier, because a lease begins at this time.
        - Tokens and answers that are another object than before are written, and the row if it differs. Rows that are
          no longer in the state are deleted, damaged ones included. With an account's last token, its row and answer
          are deleted. If the decision returns the state that it was given, nothing is written.
        - A store may compare the answer, by its attempt, only when it writes it: other decisions do not depend on it.
        - The data keys of new values and answers must be active.
        - With `Decision.durable`, the commit survives a crash of the server whatever its settings are.
        - Other processes are notified of each new value, and of each value that became invalid or was deleted.

        Raises:
            DataKeyInactiveError: a new value is sealed under a data key that is not active; nothing was written.
            DecryptionError: a row belongs to another account, or its kind cannot be read. Any other damaged row is in
                `AccountState.damaged`.
            StorageError: other writers have changed the account again and again (retryable, ``locked``).
        """

    async def reserve_due(
        self, provider: str, *, hold: timedelta, limit: int, since: datetime | None, until: datetime | None
    ) -> tuple[list[DueAccount], datetime]:
        """Reserve up to ``limit`` due accounts of a provider, earliest first.

        Accounts that other sweeps are reserving at this moment are skipped. A reserved account becomes due again after
        ``hold``, in case the sweep never reaches it. A reserved account has no lease: the sweep decides by the rules,
        and then claims the account or reschedules it.

        Args:
            provider: the provider whose accounts are reserved.
            hold: time during which no other sweep reserves these accounts; half an hour at most.
            limit: largest number of accounts to reserve.
            since: reserve only accounts that became due at this time or later: the last ``due_at`` of the previous
                batch. None: no limit.
            until: reserve only accounts that are due at this time or earlier; None: now.

        Returns:
            The accounts and the store's time.
        """

    async def record_uses(self, uses: Mapping[TokenRef, datetime]) -> None:
        """Store the time of each last use, unless a later use is stored or the key now holds a token with another id.

        It writes no audit event.
        """

    def begin_import(self, source: str | None, *, overwrite: bool, actor: str | None) -> PrepareBatch:
        """Begin an import of tokens of another system; return the function that prepares one of its batches.

        An import recognizes the rows that it, or an earlier import of the same ``source``, has stored. For each stored
        row, a batch appends an event ``token_imported``.

        - The key holds nothing: the value is stored, and the outcome is IMPORTED.
        - The key holds a row that this import recognizes: the value replaces the stored one only if the row still
          has the value that the import gave it, and if the ``updated_at`` of the write is later than the row's and
          before the present. Replaced or not, the outcome is SKIPPED, so that the counts do not depend on the order of
          the imported rows.
        - The key holds any other row: if ``overwrite`` is True, the value replaces the stored one, and the outcome is
          REPLACED; otherwise nothing is stored, and the outcome is SKIPPED.

        A token that replaces another gets a new id and begins at generation 1, as if the other had been deleted first.
        Its event has the code ``replaced``. Times in the future, except `expires_at`, become the present time.

        The stored `last_refreshed_at` is that of the write. If the write has none:

        - The key held nothing: no `last_refreshed_at` is stored.
        - The value replaces a row that this import recognizes: the row's `last_refreshed_at` stays.
        - The value replaces any other row: the present time is stored.

        Args:
            source: the name of the imported data; a later import with the same name recognizes the rows of this import.
                None: no later import recognizes these rows.
            overwrite: whether to replace what other writers stored.
            actor: who imports, for the audit log.
        """

    async def erase(self, tenant_id: str, *, actor: str | None) -> Change[Erased]:
        """Delete a tenant's tokens, accounts and wraps, and mark its data keys destroyed, in one transaction.

        The times of the tokens' last use are deleted too.

        If there is anything to erase, an event TENANT_ERASED is appended, and an event DATA_KEY_DESTROYED for each data
        key. These events and the tombstones of the data keys still name the tenant, even after a later erasure. The
        tenant's other audit events lose tenant and identifier; their action and time stay.

        A concurrent write commits before the erasure and is erased, or fails because its data key is destroyed. After
        the commit, a store that can do so removes the deleted rows from the database's files too. The erasure stands if
        that fails.
        """
