"""An answer of a provider with the status 2xx from which no tokens could be read."""

from __future__ import annotations

from datetime import datetime

from attrs import field, frozen

from vault_domain.entities.secret import Secret, is_storable


@frozen
class UnreadAnswer:
    """What is kept of an answer with the status 2xx from which no tokens could be read; it may hold the only copy.

    Attributes:
        status: the HTTP status.
        body: the body, one character for each byte (Latin-1).
        received_at: time of receipt by the wall clock, UTC.
    """

    status: int
    body: Secret = field(repr=False)
    received_at: datetime

    @classmethod
    def of(cls, status: int, body: bytes | None, received_at: datetime) -> UnreadAnswer | None:
        """Return what to keep of an answer; None if it has no body, or a body that is too large for a `Secret`."""
        text = (body or b"").decode("latin-1")
        return cls(status, Secret(text), received_at) if text.strip() and is_storable(text) else None

    @property
    def content(self) -> bytes:
        """The body as it arrived."""
        return self.body.reveal().encode("latin-1")
