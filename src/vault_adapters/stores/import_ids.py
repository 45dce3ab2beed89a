"""Token ids that show which import stored a token."""

from __future__ import annotations

import hashlib
import os
from uuid import UUID

from attrs import frozen

_TAG = 6
_VARIANT = 0x8000 << 48
_VERSION = 8 << 12
_DRAWN = 10
"""Random bytes for an id."""
_RANDOM_A = 0xFFF
_RANDOM_B = (1 << 62) - 1


@frozen
class ImportIds:
    """UUIDs of version 8 (RFC 9562): six bytes that identify the import, then 74 random bits.

    By these ids, an import recognizes the tokens that it has stored, so it need not remember them. Other writers use
    UUIDs of version 4, so their ids never look like these.
    """

    _tag: bytes

    @classmethod
    def of(cls, source: str | None) -> ImportIds:
        """Return the ids of an import from ``source``.

        If ``source`` is None, no other import recognizes these ids as its own.
        """
        if source is None:
            return cls(os.urandom(_TAG))
        return cls(hashlib.sha256(source.encode()).digest()[:_TAG])

    @property
    def first(self) -> UUID:
        """The smallest of these ids."""
        return self._id(0, 0)

    @property
    def last(self) -> UUID:
        """The largest of these ids."""
        return self._id(_RANDOM_A, _RANDOM_B)

    def new(self) -> UUID:
        """Return a new random id."""
        return self.several(1)[0]

    def several(self, count: int) -> list[UUID]:
        """Return new random ids. One system call reads the random bytes of all ids."""
        drawn = os.urandom(_DRAWN * count)
        parts = (int.from_bytes(drawn[start : start + _DRAWN]) for start in range(0, len(drawn), _DRAWN))
        return [self._id(random & _RANDOM_A, random >> 12 & _RANDOM_B) for random in parts]

    def __contains__(self, id_: object) -> bool:
        return isinstance(id_, UUID) and self.first <= id_ <= self.last

    def _id(self, a: int, b: int) -> UUID:
        return UUID(int=int.from_bytes(self._tag) << 80 | (_VERSION | a) << 64 | _VARIANT | b)
