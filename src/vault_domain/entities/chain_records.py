"""Records of the chain of the audit log, as stores keep them."""

from collections.abc import Sequence

from attrs import frozen

NEVER = 2**63 - 1
"""The `Seal.until` of a seal that is never emptied."""


@frozen
class Seal:
    """A row of the chain: it seals the events that were appended since the seal before it.

    Attributes:
        number: 0 for the first one, without gaps.
        until: time of the latest event in it that may be pruned, in microseconds since 1970; `NEVER` if it is not to be
            emptied.
        body: what it seals, see `rules.audit_chain`; None if it was emptied.
        body_digest: SHA-256 of the body.
        digest: keyed digest of all of this and of the seal before it.
    """

    number: int
    until: int
    body: bytes | None
    body_digest: bytes
    digest: bytes


@frozen
class ChainEnd:
    """Where a tenant's chain ends.

    Attributes:
        tenant_id: the tenant; ``""`` stands for the events without a tenant.
        secret: 16 random bytes; without them, nobody can tell the tenant of the chain.
        events: number of the chain's events.
        digest: keyed digest of these events.
    """

    tenant_id: str
    secret: bytes
    events: int
    digest: bytes


@frozen
class Sealing:
    """What `AuditLog.add_seal` stores in one transaction.

    Attributes:
        seal: the new seal.
        ends: the new ends of chains.
        closed: the tenants whose chains end for good, because they were erased; their ends are deleted first.
        empty_before: seals with an earlier `Seal.until` lose their bodies; None: no seal does.
    """

    seal: Seal
    ends: Sequence[ChainEnd] = ()
    closed: Sequence[str] = ()
    empty_before: int | None = None
