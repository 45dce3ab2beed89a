"""Change: the result of a mutation, and the audit events that its transaction wrote."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from attrs import frozen

from vault_domain.entities.audit import AuditEvent

T = TypeVar("T")


@frozen
class Change(Generic[T]):
    """A committed mutation.

    Attributes:
        result: the value that the mutation returns.
        events: the audit events that the same transaction wrote; a store may build each event lazily, on access.
    """

    result: T
    events: Sequence[AuditEvent] = ()


class DataKeyInactiveError(Exception):
    """A value of a write was sealed under a data key that is no longer active. Nothing was written.

    The error never leaves the vault, because services catch it and seal the values under the tenant's active data key.
    """
