"""Change: what a mutation gave, and the audit events that its transaction wrote."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from attrs import frozen

from vault_domain.entities.audit import AuditEvent

T = TypeVar("T")


@frozen
class Change(Generic[T]):
    """A committed mutation.

    Attributes:
        result: what it gave.
        events: what was appended to the audit log in the same transaction; a store may make them only when they are
            looked at.
    """

    result: T
    events: Sequence[AuditEvent] = ()


class DataKeyInactiveError(Exception):
    """A write was sealed under a data key that is no longer active; nothing was written, seal it anew.

    It never leaves the vault: services answer it by sealing under the tenant's present key.
    """
