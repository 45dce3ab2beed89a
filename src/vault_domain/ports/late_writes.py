"""LateWrites: many writes whose values are sealed only when the store asks for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from attrs import frozen

from vault_domain.entities.account import TokenKey


class _Write(Protocol):
    @property
    def key(self) -> TokenKey: ...


W = TypeVar("W", bound=_Write)


@frozen
class LateWrites(Generic[W]):
    """Writes that a store takes in parts.

    So the values of one statement are sealed while the database runs another, and only a few writes are in memory.

    Attributes:
        keys: the keys of the writes, each at most once.
        take: seals and returns the writes of the keys at these indexes, without I/O. A hundred take about a
            millisecond, so a store takes no more before it lets other tasks run.
    """

    keys: Sequence[TokenKey]
    take: Callable[[Sequence[int]], list[W]]

    @classmethod
    def of(cls, writes: Sequence[W]) -> LateWrites[W]:
        """Return writes that are sealed already."""
        return cls([write.key for write in writes], lambda indexes: [writes[index] for index in indexes])
