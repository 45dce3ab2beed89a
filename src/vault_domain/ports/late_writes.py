"""LateWrites: many writes that a store takes in parts; their values may be sealed only then."""

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

    So a store may seal the values of one statement while the database runs another.

    Attributes:
        keys: the keys of the writes, each at most once.
        take: seals the values of the keys at these indexes of ``keys``, and returns their writes in the order of the
            indexes. It does no I/O. Sealing 128 values takes about a millisecond; take no more at once before you let
            other tasks run. If it raises an error, the store raises this error and stores nothing.
    """

    keys: Sequence[TokenKey]
    take: Callable[[Sequence[int]], list[W]]

    @classmethod
    def of(cls, writes: Sequence[W] | LateWrites[W]) -> LateWrites[W]:
        """Return late writes; the values of a sequence are sealed already."""
        if isinstance(writes, LateWrites):
            return writes
        return cls([write.key for write in writes], lambda indexes: [writes[index] for index in indexes])
