"""Rotates the master key: wraps every data key under the configured master key, then retires the previous ones."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from attrs import define, field

from vault_domain.entities.errors import ConfigurationError, KeyUnavailableError, VaultError
from vault_domain.entities.key_records import DataKeyRecord, MasterKeyRecord, MasterKeyState
from vault_domain.entities.key_reports import MasterKeyRotation, UnreadableKey
from vault_domain.ports.cipher import UnreadableError
from vault_domain.ports.data_key_wrapper import DataKeyWrapper
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.keys import DataKeyPosition, DataKeyQuery, Keys, PlacedWrap
from vault_domain.ports.master_key import MasterKeys
from vault_domain.ports.tasks import Tasks
from vault_domain.rules.key_states import is_resurrected_master_key
from vault_domain.transitions.keys import activated, retired

_log = logging.getLogger(__name__)
_PAGE = 500
_AT_ONCE = 10
# Largest number of rounds over the data keys. New data keys are wrapped under the active master key. So a further round
# is needed only if data keys without this wrap appeared meanwhile, for example from a restored backup.
_ROUNDS = 8

_Visit = Callable[[DataKeyRecord], Awaitable[PlacedWrap | None]]


Progress = Callable[[int, int], object]
"""Called after each page with the number of wraps handled so far, and the number of all wraps to add or to delete."""


@define
class _Run:
    progress: Progress | None = None
    done: int = 0
    total: int = 0
    activated: bool = False
    wrapped: int = 0
    unwrapped: int = 0
    retired: int = 0
    in_use: int = 0
    unreadable: set[DataKeyPosition] = field(factory=set)

    def report_progress(self, visited: int) -> None:
        self.done += visited
        self.total = max(self.total, self.done)  # other processes may have made data keys meanwhile
        if self.progress is not None:
            self.progress(self.done, self.total)


class RewrappingService:
    """Rotates the master key in an order of steps that keeps every data key usable, even if the process is killed.

    1. Activate the configured master key.
    2. Wrap each data key under the configured master key, if that wrap is missing.
    3. Check that the new and the previous wrap decrypt to the same data key, then delete the previous wrap.
    4. Retire the previous master keys. The store refuses to retire a master key that still wraps data keys.

    Master keys that this process cannot open stay, because one of them may be kept offline for recovery. A master key
    whose state was set back after its retirement is retired again.
    """

    def __init__(
        self,
        keys: Keys,
        wrapper: DataKeyWrapper,
        sink: EventSink,
        tasks: Tasks,
        master_keys: MasterKeys,
    ) -> None:
        self._keys = keys
        self._wrapper = wrapper
        self._sink = sink
        self._tasks = tasks
        self._master_keys = master_keys
        self._target = master_keys.configured_id

    async def rotate(self, progress: Progress | None, *, actor: str | None) -> MasterKeyRotation:
        """Wrap all data keys under the configured master key and retire the previous ones."""
        run = _Run(progress)
        await self._activate(run, actor)
        run.total = await self._count_wraps()
        for _ in range(_ROUNDS):
            run.unreadable.clear()
            previous = await self._previous()
            await self._add_missing(run)
            if not run.unreadable:
                for key_id in previous:
                    await self._delete_wraps(key_id, run)
            run.in_use = 0
            for key_id in previous:
                await self._retire(key_id, run, actor)
            if not run.in_use or run.unreadable:
                break
        return MasterKeyRotation(
            master_key_id=self._target.hex(),
            activated=run.activated,
            wrapped=run.wrapped,
            unwrapped=run.unwrapped,
            retired=run.retired,
            unreadable=_describe(run.unreadable),
            in_use=run.in_use,
        )

    async def _activate(self, run: _Run, actor: str | None) -> None:
        active = _active(await self._keys.master_keys())
        if active == self._target:
            return
        if active is None or active not in self._master_keys.opened:
            # If another process activated a different master key, do not undo its rotation.
            raise _overtaken()
        change = await self._keys.change_master_keys(
            lambda keys, now: activated(keys, now, self._target, active, actor)
        )
        self._sink.publish(change.events)
        run.activated = bool(change.events)
        if _active(change.result) != self._target:
            raise _overtaken()

    async def _count_wraps(self) -> int:
        """Return the number of wraps to add plus the number of wraps to delete afterwards."""
        counts = await self._keys.key_counts()
        missing = counts.active + counts.decrypt_only - counts.wraps.get(self._target, 0)
        return max(missing, 0) + sum(counts.wraps.get(key_id, 0) for key_id in await self._previous())

    async def _previous(self) -> list[bytes]:
        """Check that the configured master key is active; return the other master keys that this run is to retire.

        These are the keys that this process can open, and the keys whose state was set back after their retirement.
        """
        records = await self._keys.master_keys()
        if _active(records) != self._target:
            raise _overtaken()
        return [
            record.key_id
            for record in records
            if record.key_id != self._target
            and (record.key_id in self._master_keys.opened or is_resurrected_master_key(record))
            and record.state is not MasterKeyState.RETIRED
        ]

    async def _add_missing(self, run: _Run) -> None:
        """Wrap each data key under the configured master key, if that wrap is missing; skip unreadable data keys."""

        async def visit(record: DataKeyRecord) -> PlacedWrap | None:
            mine = await self._wrapper.make_missing_wrap(record)
            return None if mine is None else PlacedWrap(record.tenant_id, record.key_id, mine)

        async for wraps in self._walk(DataKeyQuery(not_wrapped_by=self._target), visit, run):
            run.wrapped += await self._keys.change_wraps(wraps)

    async def _delete_wraps(self, master_key_id: bytes, run: _Run) -> None:
        """Delete each wrap under a previous master key.

        A wrap is deleted only if it decrypts to the same data key as the wrap under the configured master key.
        """

        async def visit(record: DataKeyRecord) -> PlacedWrap | None:
            mine = next((wrap for wrap in record.wraps if wrap.master_key_id == self._target), None)
            if mine is None:
                return None  # the data key appeared meanwhile; the next round adds the missing wrap
            if not await self._wrapper.wraps_agree(record):
                raise UnreadableError("wraps_differ")
            return PlacedWrap(record.tenant_id, record.key_id, mine)

        async for kept in self._walk(DataKeyQuery(wrapped_by=master_key_id), visit, run):
            run.unwrapped += await self._keys.change_wraps(kept, replaced=master_key_id)

    async def _retire(self, key_id: bytes, run: _Run, actor: str | None) -> None:
        change = await self._keys.change_master_keys(lambda keys, now: retired(keys, now, key_id, actor))
        self._sink.publish(change.events)
        run.retired += len(change.events)
        run.in_use += (key_id, MasterKeyState.RETIRED) not in {(each.key_id, each.state) for each in change.result}

    async def _walk(self, query: DataKeyQuery, visit: _Visit, run: _Run) -> AsyncIterator[list[PlacedWrap]]:
        """Visit data keys page by page, several at once, because each may need a call to a key service."""
        after: DataKeyPosition | None = None
        while records := await self._keys.data_keys(query, after, _PAGE):
            after = _place(records[-1])
            found = await self._visit_page(records, visit, run)
            if found:
                yield found
            run.report_progress(len(records))

    async def _visit_page(self, records: list[DataKeyRecord], visit: _Visit, run: _Run) -> list[PlacedWrap]:
        found: dict[DataKeyPosition, PlacedWrap] = {}
        failures: list[VaultError] = []

        async def job(record: DataKeyRecord) -> None:
            if failures:
                return  # the key service failed, so do not ask it for the rest of the page
            try:
                wrap = await visit(record)
            except UnreadableError as error:
                _log.debug("the wraps of a data key were left as they are: %s", error.reason)
                run.unreadable.add(_place(record))
            except (KeyUnavailableError, ConfigurationError) as error:
                if error.reason == "unknown_master_key":
                    run.unreadable.add(_place(record))
                else:
                    failures.append(error)
            else:
                if wrap is not None:
                    found[_place(record)] = wrap

        await self._tasks.run_all([("wrap", partial(job, record)) for record in records], _AT_ONCE)
        if failures:
            raise failures[0]
        return [found[place] for place in map(_place, records) if place in found]


def _place(record: DataKeyRecord) -> DataKeyPosition:
    return record.tenant_id, record.key_id


def _active(records: list[MasterKeyRecord]) -> bytes | None:
    return next((record.key_id for record in records if record.state is MasterKeyState.ACTIVE), None)


def _overtaken() -> ConfigurationError:
    return ConfigurationError(
        "another master key was made active since this vault was opened; open the vault again and check the key status",
        code="master_key_conflict",
    )


def _describe(unreadable: set[DataKeyPosition]) -> tuple[UnreadableKey, ...]:
    named = tuple(UnreadableKey(tenant, key_id.hex(), 1) for tenant, key_id in sorted(unreadable))
    for key in named:
        _log.error("data key %s could not be unwrapped, or its wraps differ; it was left as it is", key.data_key_id)
    return named
