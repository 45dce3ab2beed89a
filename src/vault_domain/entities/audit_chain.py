"""What the chain of the audit log shows to a host: heads to keep elsewhere, and the result of a verification."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from attrs import fields, frozen

from vault_domain.entities.choice import Choice
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.scrub import scrubbed

MOST_FINDINGS = 100
"""Largest number of findings that a verification lists; its count includes all."""

_HEX = frozenset("0123456789abcdef")
_MOST_NUMBER = 2**63 - 1
_NOT_A_HEAD = "this is not a head of an audit log, as `audit head` writes it"


class AuditFault(Choice):
    """What a verification of the audit log found.

    - EVENT_CHANGED: an event is not as it was sealed.
    - EVENT_MISSING: a sealed event is gone, and no pruning explains it.
    - EVENT_INSERTED: an event was put among sealed events later.
    - SEAL_CHANGED: a row of the chain itself was changed.
    - SEAL_MISSING: rows of the chain are gone. For seal 0: the log has no chain, because it was never begun, or because
      somebody has deleted it.
    - HEAD_FORGED: the head that was given is not one of this vault.
    - HEAD_DIFFERS: the log does not lead to the head that was given: it was rewritten or cut off before it.
    - TOKEN_CHANGED: a token's metadata is not as it was after its newest event: its row was edited, or put back.
    - TOKEN_MISSING: a token is gone, and no event tells of its deletion.
    """

    EVENT_CHANGED = "event_changed"
    EVENT_MISSING = "event_missing"
    EVENT_INSERTED = "event_inserted"
    SEAL_CHANGED = "seal_changed"
    SEAL_MISSING = "seal_missing"
    HEAD_FORGED = "head_forged"
    HEAD_DIFFERS = "head_differs"
    TOKEN_CHANGED = "token_changed"
    TOKEN_MISSING = "token_missing"


@frozen
class AuditFinding:
    """One thing that is wrong.

    Attributes:
        fault: what it is.
        seal: number of the seal, which is a row of the chain, that covers the event; None if it concerns no seal.
        occurred_at: time of the event as it was sealed, or as it is stored if it was inserted; None if unknown.
        tenant_id: the event's or the token's tenant, as it is stored now; None if it is not known.
        provider, identifier, kind: of the token, for TOKEN_CHANGED.
    """

    fault: AuditFault
    seal: int | None = None
    occurred_at: datetime | None = None
    tenant_id: str | None = None
    provider: str | None = None
    identifier: str | None = None
    kind: str | None = None


@frozen
class AuditVerification:
    """The result of a verification of the audit log.

    Attributes:
        seals: number of seals; 0: there is no chain, so nothing was verified (SEAL_MISSING).
        events: number of events that are as they were sealed.
        pruned: number of sealed events that a pruning has removed; those whose seals were emptied do not count.
        heads: number of given heads that the log leads to.
        tokens: number of stored tokens whose metadata is as it was after the newest event about each of them.
        unrecorded: number of stored tokens that could not be compared, because the events about them were pruned.
        faults: number of findings.
        findings: the first `MOST_FINDINGS` of them.
    """

    seals: int = 0
    events: int = 0
    pruned: int = 0
    heads: int = 0
    tokens: int = 0
    unrecorded: int = 0
    faults: int = 0
    findings: tuple[AuditFinding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.faults


@frozen
class AuditHead:
    """The state of the chain at one moment, to be kept where no writer to the database can reach it.

    It names no tenant. Whoever has a head and the vault's keys finds any change of the events before it.

    Attributes:
        seal: number of the last seal.
        digest: that seal's digest, as 64 hexadecimal digits; it depends on all events of all tenants before it.
        events: number of events before it.
        latest: time of the latest of these events, UTC.
        chain: for one tenant's head, the name of the tenant's chain; an erasure of the tenant cuts the name from the
            tenant. None: the head of the whole log.
        chain_digest: for one tenant's head, the digest of the tenant's chain; ``events`` are then the tenant's.
        mac: proves that the vault made the head.
    """

    seal: int
    digest: str
    events: int
    latest: datetime
    chain: str | None = None
    chain_digest: str | None = None
    mac: str = ""

    @classmethod
    @scrubbed
    def of_json(cls, parts: object) -> AuditHead:
        """Return the head whose JSON form was parsed to ``parts``.

        Raises:
            InvalidInputError: ``parts`` is not the form of a head.
        """
        if not isinstance(parts, Mapping) or set(parts) != {each.name for each in fields(cls)}:
            raise InvalidInputError(_NOT_A_HEAD)
        lengths = {"digest": 64, "mac": 64, "chain": 32, "chain_digest": 64}
        for name, length in lengths.items():
            text = parts[name]
            is_absent = text is None and name.startswith("chain")
            if not is_absent and not (isinstance(text, str) and len(text) == length and set(text) <= _HEX):
                raise InvalidInputError(_NOT_A_HEAD)
        numbers = [parts["seal"], parts["events"]]
        if any(type(number) is not int or not 0 <= number <= _MOST_NUMBER for number in numbers):
            raise InvalidInputError(_NOT_A_HEAD)
        if (parts["chain"] is None) != (parts["chain_digest"] is None):
            raise InvalidInputError(_NOT_A_HEAD)
        return cls(**{**parts, "latest": _time(parts["latest"])})


def _time(value: object) -> datetime:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
        if time is not None and time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise InvalidInputError(_NOT_A_HEAD)
