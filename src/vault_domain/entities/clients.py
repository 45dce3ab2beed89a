"""The stored refusals of an OAuth client, from which the vault decides whether to pause it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Generic, TypeVar

from attrs import frozen

from vault_domain.entities.audit import AuditEvent
from vault_domain.entities.causes import UNREADABLE_ANSWER

R_co = TypeVar("R_co", covariant=True)

INVALID_CLIENT = "invalid_client"
"""Reason: the provider does not know the client, or the client's secret is wrong (RFC 6749 section 5.2)."""

CLIENT_MISMATCH = "client_mismatch"
"""Reason: the provider rejects or refuses credentials that were stored under another client than the configured one."""

MASS_REJECTION = "mass_rejection"
"""Reason: the provider rejected so many credentials that a fault is likelier than so many dead grants."""

CLIENT_REASONS = frozenset({INVALID_CLIENT, CLIENT_MISMATCH, MASS_REJECTION, UNREADABLE_ANSWER})
"""The reasons for which a client is paused."""


@frozen
class ClientScope:
    """Names the refusals that are counted together, and the refreshes that one pause holds back.

    Attributes:
        provider: the provider's name.
        client: fingerprint of the client that is presented to the provider; if accounts have different token endpoints,
            of the client at one of them. None if the refresher names no client.
        reason: `INVALID_CLIENT`, `CLIENT_MISMATCH`, `MASS_REJECTION`, or `UNREADABLE_ANSWER` if nothing can read the
            provider's answers. A pause for a mismatch concerns only credentials that were stored under another client.
    """

    provider: str
    client: bytes | None
    reason: str


@frozen
class ClientRecord:
    """The refusals of one scope, as stored.

    Attributes:
        scope: which refusals the record counts.
        since: time of the first refusal after the client's last success, UTC.
        refused_at: time of the latest refusal, UTC.
        marks: marks of the accounts that were refused last; see `rules.clients.mark_of`.
        opened_at: time since which the scope is paused, UTC; None if it is not paused.
        probe_at: time of the latest probe, or of the beginning of the pause, UTC; None if it is not paused.
    """

    scope: ClientScope
    since: datetime
    refused_at: datetime
    marks: tuple[bytes, ...] = ()
    opened_at: datetime | None = None
    probe_at: datetime | None = None


@frozen
class StoredClients:
    """The records of a provider, or of all providers.

    Attributes:
        records: the records.
        now: the store's time.
        restored_at: the latest time at which a backup of the database went into use; None: never.
    """

    records: Sequence[ClientRecord]
    now: datetime
    restored_at: datetime | None = None

    def of(self, scope: ClientScope) -> ClientRecord | None:
        """Return the record of a scope, or None."""
        return next((record for record in self.records if record.scope == scope), None)


@frozen
class ClientDecision(Generic[R_co]):
    """What becomes of the record of a client.

    Attributes:
        record: the new record; None: there is no record any more.
        result: what the caller learns.
        events: the audit events that are stored with the change.
    """

    record: ClientRecord | None
    result: R_co
    events: tuple[AuditEvent, ...] = ()
