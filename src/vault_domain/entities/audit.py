"""Audit events: what happened to tokens, accounts and keys. No event holds a credential."""

from datetime import datetime

from attrs import frozen

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.choice import Choice


class AuditAction(Choice):
    """The kind of change that an event reports."""

    TOKEN_STORED = "token_stored"
    TOKEN_REFRESHED = "token_refreshed"
    REFRESH_FAILING = "refresh_failing"
    REFRESH_RECOVERED = "refresh_recovered"
    REFRESH_OUTCOME_UNKNOWN = "refresh_outcome_unknown"
    REAUTHORIZATION_REQUIRED = "reauthorization_required"
    TOKEN_INVALIDATED = "token_invalidated"
    TOKEN_SUSPECTED = "token_suspected"
    REFRESH_TOKEN_EXPIRING = "refresh_token_expiring"
    TOKEN_DELETED = "token_deleted"
    TOKEN_IMPORTED = "token_imported"
    ACCOUNT_REVIVED = "account_revived"
    TENANT_ERASED = "tenant_erased"
    DATA_KEY_REPLACED = "data_key_replaced"
    DATA_KEY_ROTATED = "data_key_rotated"
    DATA_KEY_DESTROYED = "data_key_destroyed"
    MASTER_KEY_INTRODUCED = "master_key_introduced"
    MASTER_KEY_ACTIVATED = "master_key_activated"
    MASTER_KEY_RETIRED = "master_key_retired"
    TENANT_MASTER_KEY_SET = "tenant_master_key_set"
    DECRYPTION_FAILED = "decryption_failed"
    CLIENT_PAUSED = "client_paused"
    CLIENT_RESUMED = "client_resumed"
    TOKEN_READ = "token_read"
    AUDIT_PRUNED = "audit_pruned"
    DATABASE_RESTORED = "database_restored"
    VAULT_ADOPTED = "vault_adopted"
    ANSWER_KEPT = "answer_kept"
    ACCOUNT_REVOKED = "account_revoked"
    TOKENS_EXPORTED = "tokens_exported"
    TOKEN_REJECTED = "token_rejected"


CLIENT_ACTIONS = frozenset({AuditAction.CLIENT_PAUSED, AuditAction.CLIENT_RESUMED})
"""The actions that concern an OAuth client at a provider. Their events have no tenant."""

READ_ACTIONS = frozenset(
    {AuditAction.DECRYPTION_FAILED, AuditAction.TOKEN_READ, AuditAction.TOKENS_EXPORTED, AuditAction.TOKEN_REJECTED}
)
"""The actions of events that report reads and uses, which change nothing."""

LASTING_ACTIONS = frozenset(
    {
        AuditAction.TENANT_ERASED,
        AuditAction.DATA_KEY_REPLACED,
        AuditAction.DATA_KEY_DESTROYED,
        AuditAction.MASTER_KEY_INTRODUCED,
        AuditAction.MASTER_KEY_ACTIVATED,
        AuditAction.MASTER_KEY_RETIRED,
        AuditAction.AUDIT_PRUNED,
    }
)
"""The actions whose events are never pruned: they confirm the states of keys, or record an erasure or a pruning."""


@frozen
class AuditEvent:
    """One change, written in the transaction that made it.

    REFRESH_OUTCOME_UNKNOWN is stored when an attempt begins after another one whose lease ran out: that attempt ended
    without a trace, because its process died, for example. A refresh token that is rejected then may have been consumed
    by it. Where Citus distributes the tables, there is no such event.

    TOKENS_EXPORTED is stored before the vault returns a page of a tenant's tokens with their values (`export_tokens`).

    Three actions report single reads and uses. These write nothing themselves, so the vault stores the events a few
    seconds later:

    - DECRYPTION_FAILED is stored once per value and hour. A process logs it at the level ERROR once per value and hour,
      and further failures at DEBUG. `on_event` gets each failure at once.
    - TOKEN_READ is stored if the configuration has `audit_reads`. The reads of one value by one actor for one reason
      within a minute give one event. `on_event` gets it after it is stored.
    - TOKEN_REJECTED is stored if a host reports that a resource rejected a token that was stored less than 30 seconds
      before, which the vault therefore neither marks nor refreshes: once per value and process. `on_event` gets it
      after it is stored.

    Attributes:
        action: the kind of change.
        occurred_at: time of the change, UTC.
        tenant_id: the tenant that the event concerns; None for events about master keys and clients, and for
            AUDIT_PRUNED and VAULT_ADOPTED. The tenant's erasure also sets it to None in earlier events, except for
            DATA_KEY_DESTROYED and TENANT_ERASED.
        account: the account, if the event concerns one.
        kind: the token's kind, if the event concerns one token.
        generation: the token's generation after the change, if it has one.
        credential_generation: for TOKEN_REFRESHED, if the refresh stored both an access token and a refresh token: the
            refresh token's new generation. `generation` is then the access token's.
        actor: who made the change, as given to `with_actor`, or None.
        code: an error code, a reason code, a key id in hexadecimal or a time, depending on the action, or None.
            ACCOUNT_REVIVED has the credential's former error code. REFRESH_FAILING, REAUTHORIZATION_REQUIRED and
            ANSWER_KEPT have the cause. ACCOUNT_REVOKED has the reason if the provider did not confirm. TOKEN_READ and
            TOKENS_EXPORTED have the reason that was given to `with_actor`. AUDIT_PRUNED has the time before which
            events were removed. DATA_KEY_ROTATED has the id of the new data key. DATA_KEY_REPLACED has the id of the
            old data key, which still decrypts but no longer encrypts. TENANT_MASTER_KEY_SET has the first 32
            hexadecimal digits of the SHA-256 of the URI of the tenant's own master key, or ``configured``. Other events
            about keys have the id of the key itself.
        cursor: pass it as ``after`` to `audit_events` to continue after this event, with the same ``tenant_id`` as in
            the call that returned the event. The cursor's text reveals nothing about other tenants' events. None
            unless the event was read from the log.
        provider: the provider whose client was paused or resumed; None for other actions.
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
    provider: str | None = None
    credential_generation: int | None = None
