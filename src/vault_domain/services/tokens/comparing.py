"""Compares stored tokens with their newest records in the chain of the audit log, while tokens go on changing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet

from attrs import define, field

from vault_domain.entities.account import TokenKey
from vault_domain.ports.tasks import Tasks
from vault_domain.rules.audit_chain import ChainKey, Record
from vault_domain.services.tokens.recording import Recorded, TokenRecorder

PAUSES = (0.05, 0.3, 1.0)
"""Seconds between the two looks of each further comparison; the last pause is that of the verdict."""


@define
class Compared:
    """The result of a comparison.

    Attributes:
        tokens: number of tokens that are stored as they were recorded.
        unrecorded: number of tokens without a record, or that kept changing.
        changed: tokens that differ from their records.
        missing: number of tokens that are not stored, although their records say so.
    """

    tokens: int = 0
    unrecorded: int = 0
    changed: list[TokenKey] = field(factory=list)
    missing: int = 0


class TokenComparison:
    """Compares all stored tokens with their records.

    A token that is written just now differs for a moment, until its event is sealed. So a token that differs is looked
    at again, before and after the newest seals are read, and only one that stays the same meanwhile counts as changed.

    Args:
        recorder, tasks: find tokens, and wait.
        key: the keys of the chain.
        recorded: the newest records.
        closed: the chains of erased tenants.
        read_on: seals new events, and adds to ``recorded`` and ``closed`` what the new seals say.
    """

    def __init__(
        self,
        recorder: TokenRecorder,
        tasks: Tasks,
        key: ChainKey,
        recorded: Recorded,
        closed: AbstractSet[bytes],
        read_on: Callable[[], Awaitable[None]],
    ) -> None:
        self._recorder = recorder
        self._tasks = tasks
        self._key = key
        self._recorded = recorded
        self._closed = closed
        self._read_on = read_on

    async def run(self) -> Compared:
        """Compare all tokens."""
        result, doubtful = Compared(), list[TokenKey]()
        seen: set[bytes] = set()
        async for token, end in self._recorder.stored():
            records = () if end is None else self._key.records(token.key, token, end)
            verdict = self._recorded.agrees(records) if records else None
            seen.update(record.token for record in records)
            if verdict is False:
                doubtful.append(token.key)
            else:
                result.tokens, result.unrecorded = result.tokens + bool(verdict), result.unrecorded + (verdict is None)
        result.changed = await self._changed(doubtful, result)
        result.missing = await self._missing(self._recorded.present(self._closed) - seen)
        return result

    async def _changed(self, doubtful: list[TokenKey], result: Compared) -> list[TokenKey]:
        before: dict[TokenKey, tuple[Record, ...]] = {}
        for pause in PAUSES if doubtful else ():
            before = await self._looked_at(doubtful)
            await self._tasks.sleep(pause)
            await self._read_on()
            after = await self._looked_at(doubtful)
            verdicts = {each: self._recorded.agrees(records) for each, records in after.items()}
            result.tokens += sum(verdict is True for verdict in verdicts.values())
            result.unrecorded += sum(verdict is None for verdict in verdicts.values())
            doubtful = [each for each in doubtful if verdicts.get(each) is False]
            if pause == PAUSES[-1]:
                stable = [each for each in doubtful if before.get(each) == after[each]]
                result.unrecorded += len(doubtful) - len(stable)
                return stable
        return doubtful

    async def _looked_at(self, keys: list[TokenKey]) -> dict[TokenKey, tuple[Record, ...]]:
        """Return what the records of these tokens would be now; one that is not stored is left out."""
        found = await self._recorder.find(keys)
        return {token.key: self._key.records(token.key, token, end) for token, end in found if end is not None}

    async def _missing(self, lost: set[bytes]) -> int:
        for pause in PAUSES:
            if not lost:
                break
            await self._tasks.sleep(pause)
            await self._read_on()
            async for token, end in self._recorder.stored():
                if end is not None:
                    lost.discard(self._key.record(token.key, token.info, end).token)
            await self._read_on()
            lost &= self._recorded.present(self._closed)
        return len(lost)
