"""What is stored about an OAuth client that a provider refuses."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

INVALID_CLIENT = "invalid_client"
"""Reason: the provider does not know the client, or its secret is wrong (RFC 6749 section 5.2)."""

CLIENT_MISMATCH = "client_mismatch"
"""Reason: the provider rejected credentials that were stored under another client than the configured one."""

MASS_REJECTION = "mass_rejection"
"""Reason: the provider rejected so many credentials that a fault is likelier than so many dead grants."""

CLIENT_REASONS = frozenset({INVALID_CLIENT, CLIENT_MISMATCH, MASS_REJECTION})


@frozen
class ClientScope:
    """The refusals that are counted together; the refreshes that they concern are paused together.

    Attributes:
        provider: the provider's name.
        client: fingerprint of the client that is presented to the provider, or None if the refresher names none.
        reason: `INVALID_CLIENT`, `CLIENT_MISMATCH` or `MASS_REJECTION`. A pause for a mismatch concerns only
            credentials that were stored under another client.
    """

    provider: str
    client: bytes | None
    reason: str


@frozen
class ClientRecord:
    """The refusals of one scope, as stored.

    Attributes:
        scope: what is refused.
        since: time of the first refusal without a success since, UTC.
        refused_at: time of the latest refusal, UTC.
        marks: marks of the accounts that were refused last, each two bytes; see `rules.clients.mark_of`.
        opened_at: time since which the scope is paused, UTC; None if it is not paused.
        probe_at: time of the latest probe, or of the beginning of the pause, UTC; None if it is not paused.
    """

    scope: ClientScope
    since: datetime
    refused_at: datetime
    marks: tuple[bytes, ...] = ()
    opened_at: datetime | None = None
    probe_at: datetime | None = None
