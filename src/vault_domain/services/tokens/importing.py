"""Imports any number of tokens of another system, in batches; a repeated import without ``overwrite`` is harmless."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

from attrs import frozen

from vault_domain.entities.account import Account
from vault_domain.entities.causes import VARIABLE_REFUSED
from vault_domain.entities.errors import DecryptionError, InvalidInputError, VaultError
from vault_domain.entities.imported import ImportedToken, ImportFailure, ImportOutcome, ImportReport
from vault_domain.ports.accounts import Accounts, PrepareBatch, StoreBatch
from vault_domain.ports.change import Change
from vault_domain.ports.cipher import Cipher
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.tasks import Tasks
from vault_domain.rules.freshness import RefreshPolicy
from vault_domain.services.tokens.draft_times import Look, in_time
from vault_domain.services.tokens.sealing import in_rounds, late_writes

ImportRow = ImportedToken | ImportFailure
ImportRows = Iterable[ImportRow] | AsyncIterable[ImportRow]
Progress = Callable[[ImportReport], object]
Judge = Callable[[Account, Mapping[str, str]], Awaitable[str | None]]
"""Returns why an account must not have extra members; None if it may."""

_Batch = list[ImportRow]
_BATCH = 1000
_ROWS_AT_ONCE = 32
"""Number of rows to read before other tasks may run; reading them takes about a millisecond."""

_MOST_FAILURES = 1000

DATA_KEY_UNREADABLE = "data_key_unreadable"
"""Failure code of rows whose tenant's data key cannot be unwrapped; rows of other tenants are not affected."""


@frozen
class ImportOptions:
    """The options of an import; see `TokenVault.import_tokens`."""

    overwrite: bool = False
    dry_run: bool = False
    source: str | None = None


class ImportService:
    """Imports tokens. The facade has validated the arguments."""

    def __init__(
        self,
        accounts: Accounts,
        cipher: Cipher,
        sink: EventSink,
        tasks: Tasks,
        policy: RefreshPolicy,
        refusal_of: Judge | None = None,
    ) -> None:
        self._refusal_of = refusal_of
        self._accounts = accounts
        self._cipher = cipher
        self._sink = sink
        self._tasks = tasks
        self._policy = policy

    async def run(
        self, rows: ImportRows, options: ImportOptions, progress: Progress | None, *, actor: str | None
    ) -> ImportReport:
        """Import rows and return the counts.

        Args:
            rows: tokens, and an `ImportFailure` for each row that could not be read. These failures are counted and
                reported.
            options: the options of the import.
            progress: called with the counts so far after each batch.
            actor: who imports, for the audit log.

        Raises:
            InvalidInputError: ``rows`` is not iterable, or a row is neither a token nor a failure.
        """
        tally = _Tally()
        taker = self._taker(options, actor)
        batches = _prepared(rows, taker, self._tasks, self._refusal_of)
        batch = await anext(batches, None)
        while batch is not None:
            batch = await self._step(batch, taker, batches, tally)
            if progress is not None:
                progress(tally.report())
        return tally.report()

    def _taker(self, options: ImportOptions, actor: str | None) -> _Taker:
        if options.dry_run:
            return _DryRun(self._accounts, overwrite=options.overwrite)
        source = None if options.overwrite else options.source
        prepare = self._accounts.begin_import(source, overwrite=options.overwrite, actor=actor)
        return _Writer(prepare, self._cipher, self._sink, self._policy, self._accounts.get_many)

    async def _step(
        self, batch: _Prepared, taker: _Taker, batches: AsyncIterator[_Prepared], tally: _Tally
    ) -> _Prepared | None:
        """Write a batch; read, seal and prepare the next one while the database works."""
        following: list[_Prepared | None] = []

        async def write() -> None:
            tally.count(batch.failures)
            tally.count([ImportOutcome.SKIPPED] * batch.passed_over)
            if batch.tokens:
                tally.count(await taker.take(batch.tokens, batch.store))

        async def read() -> None:
            following.append(await anext(batches, None))

        await self._tasks.run_beside(write, read)  # a cancelled import does not wait for the next rows
        return following[0]


@frozen
class _Prepared:
    """A batch that is ready to be written: one token per key, and what `_Taker.prepare` gave."""

    tokens: list[ImportedToken]
    store: StoreBatch | None
    failures: list[ImportFailure]
    passed_over: int


class _Taker(Protocol):
    async def prepare(self, tokens: Sequence[ImportedToken]) -> StoreBatch | None:
        """Do the part of `take` that may run while another batch is stored; None: `take` has to do everything."""

    async def take(
        self, tokens: Sequence[ImportedToken], batch: StoreBatch | None
    ) -> Sequence[ImportOutcome | ImportFailure]:
        """Store the tokens, or only count them in a dry run; return one outcome per token."""


class _Tally:
    def __init__(self) -> None:
        self._counts = dict.fromkeys(ImportOutcome, 0)
        self._failed = 0
        self._failures: list[ImportFailure] = []

    def count(self, outcomes: Iterable[ImportOutcome | ImportFailure]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, ImportOutcome):
                self._counts[outcome] += 1
                continue
            self._failed += 1
            if len(self._failures) < _MOST_FAILURES:
                self._failures.append(outcome)

    def report(self) -> ImportReport:
        counts = {outcome.value: count for outcome, count in self._counts.items()}
        return ImportReport(**counts, failed=self._failed, failures=tuple(self._failures))


class _Writer:
    """Seals and stores batches."""

    def __init__(
        self,
        prepare: PrepareBatch,
        cipher: Cipher,
        sink: EventSink,
        policy: RefreshPolicy,
        look: Look,
    ) -> None:
        self._prepare_batch = prepare
        self._cipher = cipher
        self._sink = sink
        self._policy = policy
        self._look = look

    async def prepare(self, tokens: Sequence[ImportedToken]) -> StoreBatch | None:
        try:
            return await self._prepare(tokens)
        except VaultError:
            # `take` prepares the batch again when the batch before is stored and the import uses no connection. If a
            # data key failed, `take` finds out whose.
            return None

    async def take(
        self, tokens: Sequence[ImportedToken], batch: StoreBatch | None = None
    ) -> list[ImportOutcome | ImportFailure]:
        try:
            return [*await self._write(tokens, batch)]
        except DecryptionError:
            by_tenant = defaultdict(list)
            for token in tokens:
                by_tenant[token.key.tenant_id].append(token)
        if len(by_tenant) == 1:
            return [ImportFailure(token.line, DATA_KEY_UNREADABLE) for token in tokens]
        # Nothing was written. Write the batch again tenant by tenant, to find whose data key fails.
        return [outcome for part in by_tenant.values() for outcome in await self.take(part)]

    async def _write(self, tokens: Sequence[ImportedToken], batch: StoreBatch | None) -> list[ImportOutcome]:
        async def attempt() -> Change[list[ImportOutcome]]:
            nonlocal batch
            store, batch = batch or await self._prepare(tokens), None  # a further round seals again
            return await store()

        return await in_rounds(self._cipher, self._sink, tokens, attempt)

    async def _prepare(self, tokens: Sequence[ImportedToken]) -> StoreBatch:
        timed = await in_time(tokens, self._policy, self._look)
        writes = await late_writes(self._cipher, self._policy, timed)
        return await self._prepare_batch(writes)


class _DryRun:
    """Counts without storing. It keeps a hash of each key to recognize a key that occurs again in a later batch."""

    def __init__(self, accounts: Accounts, *, overwrite: bool) -> None:
        self._accounts = accounts
        self._there = ImportOutcome.REPLACED if overwrite else ImportOutcome.SKIPPED
        self._seen: set[int] = set()

    async def prepare(self, tokens: Sequence[ImportedToken]) -> None:
        """Prepare nothing, because a dry run stores nothing."""

    async def take(self, tokens: Sequence[ImportedToken], batch: object) -> list[ImportOutcome]:
        rows, _ = await self._accounts.get_many([token.key for token in tokens])
        existing = {row.key for row in rows}
        outcomes = []
        for token in tokens:
            if hash(token.key) in self._seen:
                outcomes.append(ImportOutcome.SKIPPED)
            else:
                outcomes.append(self._there if token.key in existing else ImportOutcome.IMPORTED)
            self._seen.add(hash(token.key))
        return outcomes


def _latest(tokens: Sequence[ImportedToken]) -> list[ImportedToken]:
    """Return one token per key: the first, unless a newer token for that key replaces it; see `_is_later`."""
    latest: dict[object, ImportedToken] = {}
    for token in tokens:
        held = latest.setdefault(token.key, token)
        if held is not token and _is_later(token, held):
            latest[token.key] = token
    return list(latest.values())


def _is_later(token: ImportedToken, held: ImportedToken) -> bool:
    """Return whether a token is newer than another; False if either has no time."""
    if token.updated_at is None or held.updated_at is None:
        return False
    return token.updated_at > held.updated_at


async def _prepared(
    rows: ImportRows, taker: _Taker, tasks: Tasks, refusal_of: Judge | None
) -> AsyncIterator[_Prepared]:
    async for given in _batches(rows, tasks):
        batch = given if refusal_of is None else [await _judged(row, refusal_of) for row in given]
        tokens = [row for row in batch if isinstance(row, ImportedToken)]
        failures = [row for row in batch if isinstance(row, ImportFailure)]
        latest = _latest(tokens)
        yield _Prepared(latest, await taker.prepare(latest), failures, len(tokens) - len(latest))


async def _judged(row: ImportRow, refusal_of: Judge) -> ImportRow:
    """Return a row, or its failure if its provider's refresher refuses its extra members."""
    if isinstance(row, ImportFailure) or not row.extra or await refusal_of(row.key.account, row.extra) is None:
        return row
    return ImportFailure(row.line, VARIABLE_REFUSED)


async def _batches(rows: ImportRows, tasks: Tasks) -> AsyncIterator[_Batch]:
    batch: _Batch = []
    async for row in _each(rows):
        if not isinstance(row, ImportedToken | ImportFailure):
            raise InvalidInputError("rows must be ImportedToken or ImportFailure")
        batch.append(row)
        if len(batch) % _ROWS_AT_ONCE == 0:
            # Let other tasks run while a batch is read; otherwise the concurrent write could not be sent.
            await tasks.sleep(0)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _each(rows: ImportRows) -> AsyncIterable[ImportRow]:
    if isinstance(rows, AsyncIterable):
        return rows
    if isinstance(rows, Iterable):
        return _asynchronous(rows)
    raise InvalidInputError("rows must be an iterable or an asynchronous iterable")


async def _asynchronous(rows: Iterable[ImportRow]) -> AsyncIterator[ImportRow]:
    for row in rows:
        yield row
