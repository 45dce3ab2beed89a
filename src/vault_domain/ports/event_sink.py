"""EventSink: tells the host what happened, after it was committed."""

from collections.abc import Sequence
from typing import Protocol

from vault_domain.entities.audit import AuditEvent


class EventSink(Protocol):
    """Hands events on, at most once; never raises."""

    def publish(self, events: Sequence[AuditEvent]) -> None:
        """Hand the events on."""
