"""Bringing values under their tenants' active data keys, in pages, while everything else goes on."""

import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import groupby

from attrs import define, field

from vault_domain.account import TokenKey
from vault_domain.errors import DecryptionError, KeyUnavailableError, StorageError, VaultError
from vault_domain.key_report import Reencryption, UnreadableKey
from vault_domain.ports.change import DataKeyInactiveError
from vault_domain.ports.cipher import Cipher, UnreadableError
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.key_rotation import KeyRotationRepository, Resealed, SealedRow
from vault_domain.ports.tasks import Tasks
from vault_domain.secret import Secret

_log = logging.getLogger(__name__)

Progress = Callable[[int, int], object]
"""Called after each page with how many values are done, and how many there are."""

DESTROY_AFTER = timedelta(hours=24)
"""How long an old data key outlives its sweep: a journal of refreshed tokens may still need it."""

_PAGE = 1000
_AT_ONCE = 8
_Opened = tuple[SealedRow, Secret]
# Each round loses only against another rotation of the same tenant that committed meanwhile.
_ROUNDS = 8
# A pass follows where values were overtaken: what overtook them may have been rotated away again.
_PASSES = 8


@define
class _Run:
    """What a run has done so far. Unreadable values are counted anew in each pass, since they come again."""

    total: int
    progress: Progress | None
    resealed: int = 0
    overtaken: int = 0
    unreadable: Counter[tuple[str, str]] = field(factory=Counter)

    def report_progress(self) -> None:
        done = self.resealed + self.overtaken + self.unreadable.total()
        if self.progress is not None and done:
            self.progress(done, max(done, self.total))


@define
class _Page:
    """Values that were read and opened, and where the next page begins."""

    opened: list[_Opened] = field(factory=list)
    last: TokenKey | None = None
    is_end: bool = False


class ResealingService:
    """Re-encryption. Its progress is the data itself, so that a run that was killed is simply run again."""

    def __init__(self, rotation: KeyRotationRepository, cipher: Cipher, sink: EventSink, tasks: Tasks) -> None:
        self._rotation = rotation
        self._cipher = cipher
        self._sink = sink
        self._tasks = tasks

    async def reencrypt(self, tenant_id: str | None, progress: Progress | None, *, actor: str | None) -> Reencryption:
        """Seal values anew that are under old data keys, then let go of old data keys that nothing is under."""
        counts = await self._rotation.key_counts(tenant_id)
        run = _Run(counts.tokens_to_reseal, progress)
        for _ in range(_PASSES):
            overtaken = run.overtaken
            run.unreadable.clear()
            await self._sweep(tenant_id, run)
            if run.overtaken == overtaken:
                break
        swept = await self._rotation.mark_swept(tenant_id)
        change = await self._rotation.destroy_swept(tenant_id, DESTROY_AFTER, actor=actor)
        self._sink.publish(change.events)
        counts = await self._rotation.key_counts(tenant_id)
        return Reencryption(
            reencrypted=run.resealed,
            overtaken=run.overtaken,
            swept=swept,
            destroyed=change.result,
            remaining=counts.tokens_to_reseal,
            unreadable=_describe(run.unreadable),
        )

    async def _sweep(self, tenant_id: str | None, run: _Run) -> None:
        """Go over all values under old data keys once; one page is written while the next is read and opened."""
        page = _Page()
        while not page.is_end:
            following = _Page()
            write = partial(self._write, page.opened, run)
            read = partial(self._read, following, tenant_id, page.last, run)
            await self._tasks.run_all([("write", write), ("read", read)], 1)
            run.report_progress()
            page = following

    async def _read(self, page: _Page, tenant_id: str | None, after: TokenKey | None, run: _Run) -> None:
        rows = await self._rotation.rows_to_reseal(tenant_id, after, _PAGE)
        page.is_end = not rows
        page.last = rows[-1].key if rows else None
        firsts = {row.key.tenant_id: row for row in reversed(rows)}
        await self._tasks.run_all([("key", partial(self._fetch_keys, row)) for row in firsts.values()], _AT_ONCE)
        for row in rows:
            secret = await self._open(row)
            if secret is None:
                run.unreadable[_name(row)] += 1
            else:
                page.opened.append((row, secret))

    async def _fetch_keys(self, row: SealedRow) -> None:
        """Get a tenant's keys at hand, several tenants' at once: one after the other, waiting would be most of it."""
        if self._cipher.is_warm(row.key.tenant_id):
            return
        with suppress(UnreadableError, VaultError):  # whatever it is, the page's rows meet it again, and tell of it
            await self._cipher.open(row.key, row.sealed)
            await self._cipher.sealer(row.key.tenant_id)

    async def _write(self, opened: list[_Opened], run: _Run) -> None:
        for _ in range(_ROUNDS):
            resealed = await self._seal(opened, run)
            try:
                written = await self._rotation.reseal(resealed) if resealed else 0
            except DataKeyInactiveError:
                self._cipher.forget_active({row.key.tenant_id for row, _ in opened})
            else:
                run.resealed += written
                run.overtaken += len(resealed) - written
                return
        raise StorageError("the data keys kept changing; run it again", retryable=True)

    async def _open(self, row: SealedRow) -> Secret | None:
        """Return the value; None where it cannot be had here, however often one asks."""
        try:
            return await self._cipher.open(row.key, row.sealed)
        except UnreadableError as error:
            _log.debug("a value could not be re-encrypted: %s", error.reason)
        except KeyUnavailableError as error:
            if error.retryable:
                raise
        return None

    async def _seal(self, opened: list[_Opened], run: _Run) -> list[Resealed]:
        """Seal tenant by tenant: one whose own active key is damaged must not stand in the others' way."""
        resealed: list[Resealed] = []
        for tenant_id, group in groupby(list(opened), key=lambda item: item[0].key.tenant_id):
            items = list(group)
            try:
                sealed = await self._cipher.seal([(row.key, secret) for row, secret in items])
            except (DecryptionError, KeyUnavailableError) as error:
                if error.retryable:
                    raise
                for row, _ in items:
                    run.unreadable[_name(row)] += 1
                opened[:] = [item for item in opened if item[0].key.tenant_id != tenant_id]
            else:
                resealed += [
                    Resealed(row.key, row.sealed, after) for (row, _), after in zip(items, sealed, strict=True)
                ]
        return resealed


def _name(row: SealedRow) -> tuple[str, str]:
    return row.key.tenant_id, row.sealed.data_key_id.hex()


def _describe(unreadable: Counter[tuple[str, str]]) -> tuple[UnreadableKey, ...]:
    named = tuple(UnreadableKey(tenant, key_id, count) for (tenant, key_id), count in sorted(unreadable.items()))
    for key in named:
        _log.error("%d values under data key %s could not be opened and were left", key.count, key.data_key_id)
    return named
