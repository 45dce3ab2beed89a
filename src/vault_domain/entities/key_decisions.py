"""What a decision about keys is given, and what it returns."""

from __future__ import annotations

from typing import Generic, TypeVar

from attrs import evolve, frozen

from vault_domain.entities.audit import AuditEvent
from vault_domain.entities.key_records import DataKeyRecord, MasterKeyRecord

S_co = TypeVar("S_co", covariant=True)


@frozen
class MasterKeySet:
    """All master keys together: few, so that a decision about one of them sees the others.

    Attributes:
        records: the records, retired ones included.
        in_use: the ids of the master keys that wrap a data key.
        is_new: whether the database holds neither keys nor tokens.
    """

    records: tuple[MasterKeyRecord, ...] = ()
    in_use: frozenset[bytes] = frozenset()
    is_new: bool = False

    def get(self, key_id: bytes) -> MasterKeyRecord | None:
        """Return the record with this id, or None."""
        return next((record for record in self.records if record.key_id == key_id), None)

    def put(self, record: MasterKeyRecord) -> MasterKeySet:
        """Return the set with a record in place of the one with the same id."""
        others = (other for other in self.records if other.key_id != record.key_id)
        return evolve(self, records=(*others, record))


@frozen
class KeyDecision(Generic[S_co]):
    """What becomes of keys.

    Attributes:
        state: the new state; the very object that was passed in if nothing changes.
        events: the audit events that are stored with the change.
        new: the tenant's new active data key, in place of the one that was decided about.
    """

    state: S_co
    events: tuple[AuditEvent, ...] = ()
    new: DataKeyRecord | None = None
