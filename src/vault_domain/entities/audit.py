"""What happened to the stored tokens and keys, as values; never a credential."""

import enum
from datetime import datetime

from attrs import frozen

from vault_domain.entities.account import Account, TokenKind


class AuditAction(enum.StrEnum):
    """What an event reports."""

    TOKEN_STORED = "token_stored"
    TOKEN_REFRESHED = "token_refreshed"
    TOKEN_INVALIDATED = "token_invalidated"
    TOKEN_DELETED = "token_deleted"
    TOKEN_IMPORTED = "token_imported"
    ACCOUNT_CHANGED = "account_changed"
    TENANT_ERASED = "tenant_erased"
    DATA_KEY_ROTATED = "data_key_rotated"
    DATA_KEY_DESTROYED = "data_key_destroyed"
    MASTER_KEY_INTRODUCED = "master_key_introduced"
    MASTER_KEY_ACTIVATED = "master_key_activated"
    MASTER_KEY_RETIRED = "master_key_retired"
    DECRYPTION_FAILED = "decryption_failed"


@frozen
class AuditEvent:
    """One change, written in the transaction that made it.

    DECRYPTION_FAILED is the exception: a read writes no row, so that event reaches `on_event` and the log only.

    Attributes:
        action: what happened.
        occurred_at: when, UTC.
        tenant_id: whose token or key; None for a master key, and for what came before the tenant was erased.
        account: the account, where the event is about one.
        kind: the token's kind, where the event is about one token.
        generation: the token's generation after the change, where it has one.
        actor: who did it, as given to `with_actor`, or None.
        code: an error code or a reason code, or the id of the key concerned, where there is one.
        cursor: pass it as ``after`` to `audit_events` to go on behind this event; None where it is not stored.
    """

    action: AuditAction
    occurred_at: datetime
    tenant_id: str | None = None
    account: Account | None = None
    kind: TokenKind | None = None
    generation: int | None = None
    actor: str | None = None
    code: str | None = None
    cursor: str | None = None
