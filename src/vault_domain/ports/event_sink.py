"""EventSink: passes audit events to the host after their commit."""

from collections.abc import Sequence
from typing import Protocol

from vault_domain.entities.audit import AuditEvent


class EventSink(Protocol):
    """Passes each audit event to the host at most once; never raises."""

    def publish(self, events: Sequence[AuditEvent]) -> None:
        """Pass these events, which are committed, to the host."""
