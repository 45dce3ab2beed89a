"""Builds audit events lazily, because the events of a bulk write are rarely read."""

from collections.abc import Callable, Iterator, Sequence
from typing import overload

from vault_domain.entities.audit import AuditEvent


class DeferredEvents(Sequence[AuditEvent]):
    """A sequence that builds each event when it is read. Building all of them takes a tenth of a bulk write's time.

    Args:
        count: the number of events.
        make: builds an event by its index, from 0.
    """

    def __init__(self, count: int, make: Callable[[int], AuditEvent]) -> None:
        self._count = count
        self._make = make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> AuditEvent: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[AuditEvent]: ...

    def __getitem__(self, index: int | slice) -> AuditEvent | Sequence[AuditEvent]:
        numbers = range(self._count)[index]
        return self._make(numbers) if isinstance(numbers, int) else [self._make(number) for number in numbers]

    def __iter__(self) -> Iterator[AuditEvent]:
        return map(self._make, range(self._count))
