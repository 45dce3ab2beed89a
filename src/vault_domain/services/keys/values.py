"""Re-encrypts values under their tenants' active data keys, page by page, while the vault is in use."""

import logging
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from attrs import define, field

from vault_domain.entities.account import TokenKey
from vault_domain.entities.errors import StorageError
from vault_domain.entities.key_records import DataKeyState
from vault_domain.entities.key_reports import MOST_NAMED, Reencryption, UnreadableKey
from vault_domain.entities.token import SealedToken
from vault_domain.ports.change import DataKeyInactiveError
from vault_domain.ports.cipher import DESTROYED_KEY, NO_ACTIVE_KEY, Cipher
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.keys import DataKeyQuery, Keys, Resealed, SealedRow
from vault_domain.ports.tasks import Tasks
from vault_domain.transitions.keys import destroyed, emptied

_log = logging.getLogger(__name__)

Progress = Callable[[int, int], object]
"""Called after each page with the number of finished values, and the number of all values to re-encrypt."""

DESTROY_AFTER = timedelta(hours=24)
"""Time that an emptied data key is kept, because an entry of a refresh journal may still need it."""

_PAGE = 1000
# Largest number of attempts to write one page. Another attempt is needed if a data key of the page's tenants was
# rotated or destroyed.
_ROUNDS = 8
# Largest number of passes over all values. A further pass is needed if other writers replaced values, because the data
# key of the new values may be old by now.
_PASSES = 8


@define
class _Page:
    """A page of values that were read and sealed again, and the position of the next page."""

    rows: list[SealedRow] = field(factory=list)
    resealed: list[Resealed] = field(factory=list)
    unreadable: list[tuple[SealedRow, bytes]] = field(factory=list)  # each with the data key that caused the error
    gone: int = 0
    last: TokenKey | None = None
    is_end: bool = False


@define
class _Run:
    """The counts of a run so far. Each pass counts unreadable values from 0, because it reads all of them again."""

    total: int
    progress: Progress | None
    resealed: int = 0
    overtaken: int = 0
    unreadable: Counter[tuple[str, str]] = field(factory=Counter)
    unreadable_tokens: list[TokenKey] = field(factory=list)

    def begin_pass(self) -> None:
        self.unreadable.clear()
        self.unreadable_tokens.clear()

    def count(self, page: _Page, written: int) -> None:
        self.resealed += written
        self.overtaken += len(page.resealed) - written + page.gone
        self.unreadable.update((row.key.tenant_id, key_id.hex()) for row, key_id in page.unreadable)
        left = MOST_NAMED - len(self.unreadable_tokens)
        self.unreadable_tokens += [row.key for row, _ in page.unreadable[:left]]

    def report_progress(self) -> None:
        done = self.resealed + self.overtaken + self.unreadable.total()
        if self.progress is not None and done:
            self.progress(done, max(done, self.total))


class ResealingService:
    """Re-encrypts values. The stored values are the only record of progress, so a killed run is just started again."""

    def __init__(self, keys: Keys, cipher: Cipher, sink: EventSink, tasks: Tasks) -> None:
        self._keys = keys
        self._cipher = cipher
        self._sink = sink
        self._tasks = tasks

    async def reencrypt(
        self, tenant_id: str | None, progress: Progress | None, *, at_once: bool = False, actor: str | None
    ) -> Reencryption:
        """Destroy data keys that were emptied long ago, then re-encrypt the values of the other old data keys.

        If ``at_once`` is True, destroy all emptied data keys at the end of the run.
        """
        # Destroy first. If a data key that was to be destroyed has tokens again, for example after a backup was
        # restored in part, this step clears the key's `emptied_at` instead. If this step came after the passes, they
        # would skip these tokens on Postgres, where a pass looks only for tokens under data keys without `emptied_at`.
        ended = await self._destroy(tenant_id, DESTROY_AFTER, actor)
        counts = await self._keys.key_counts(tenant_id)
        run = _Run(counts.tokens_to_reseal, progress)
        for _ in range(_PASSES):
            overtaken = run.overtaken
            run.begin_pass()
            await self._run_pass(tenant_id, run)
            if run.overtaken == overtaken:
                break
        to_empty = DataKeyQuery(tenant_id, DataKeyState.DECRYPT_ONLY, is_emptied=False)
        newly_emptied = (await self._keys.change_data_keys(to_empty, emptied)).result
        if at_once:
            ended += await self._destroy(tenant_id, timedelta(0), actor)
        counts = await self._keys.key_counts(tenant_id)
        return Reencryption(
            reencrypted=run.resealed,
            overtaken=run.overtaken,
            emptied=newly_emptied,
            destroyed=ended,
            remaining=counts.tokens_to_reseal,
            unreadable=_describe(run.unreadable),
            unreadable_tokens=tuple(run.unreadable_tokens),
        )

    async def _destroy(self, tenant_id: str | None, age: timedelta, actor: str | None) -> int:
        long_empty = DataKeyQuery(tenant_id, DataKeyState.DECRYPT_ONLY, min_empty=age)
        change = await self._keys.change_data_keys(
            long_empty, lambda record, now, is_used: destroyed(record, now, is_used, actor)
        )
        self._sink.publish(change.events)
        return len(change.events)

    async def _run_pass(self, tenant_id: str | None, run: _Run) -> None:
        """Re-encrypt each value of an old data key once; write a page while reading and sealing the next one."""
        page = _Page()
        while not page.is_end:
            following = _Page()
            write = partial(self._write, page, run)
            read = partial(self._read, following, tenant_id, page.last)
            await self._tasks.run_all([("write", write), ("read", read)], 1)
            run.report_progress()
            page = following

    async def _read(self, page: _Page, tenant_id: str | None, after: TokenKey | None) -> None:
        page.rows = await self._keys.rows_to_reseal(tenant_id, after, _PAGE)
        page.is_end = not page.rows
        page.last = page.rows[-1].key if page.rows else None
        await self._seal(page)

    async def _seal(self, page: _Page) -> None:
        """Seal a page's values again; unreadable values must not block the rest."""
        sealed = await self._cipher.reseal([(row.key, row.sealed) for row in page.rows])
        page.resealed, page.unreadable, page.gone = [], [], 0
        for row, after in zip(page.rows, sealed, strict=True):
            if isinstance(after, SealedToken):
                page.resealed.append(Resealed(row.key, row.sealed, after))
            elif after.reason in (DESTROYED_KEY, NO_ACTIVE_KEY):
                page.gone += 1  # the tenant was erased since the page was read
            else:
                page.unreadable.append((row, after.data_key_id or row.sealed.data_key_id))

    async def _write(self, page: _Page, run: _Run) -> None:
        for _ in range(_ROUNDS):
            try:
                written = await self._keys.reseal(page.resealed) if page.resealed else 0
            except DataKeyInactiveError:
                self._cipher.forget_active({row.key.tenant_id for row in page.rows})
                await self._seal(page)
            else:
                run.count(page, written)
                return
        raise StorageError("the data keys kept changing; run the re-encryption again", retryable=True)


def _describe(unreadable: Counter[tuple[str, str]]) -> tuple[UnreadableKey, ...]:
    named = tuple(UnreadableKey(tenant, key_id, count) for (tenant, key_id), count in sorted(unreadable.items()))
    for key in named:
        _log.error("%d values could not be re-encrypted (data key %s)", key.count, key.data_key_id)
    return named
