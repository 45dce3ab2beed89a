"""What becomes of the record of an OAuth client: refused, probed, closed, or one of its credentials rejected."""

from __future__ import annotations

from datetime import datetime

from attrs import evolve

from vault_domain.entities.account import Account
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.clients import CLIENT_MISMATCH, ClientDecision, ClientRecord, ClientScope
from vault_domain.rules.clients import ClientRules, counted, is_paused, opened


def refused(
    record: ClientRecord | None,
    now: datetime,
    scope: ClientScope,
    account: Account,
    rules: ClientRules,
    *,
    succeeded: bool,
    is_sole: bool,
) -> ClientDecision[ClientRecord]:
    """Count that an account was refused, which may pause the client; see `rules.clients.counted`.

    Args:
        record: the stored record, or None.
        now: the store's time.
        scope: names the refusals that the record counts.
        account: the account whose refresh was refused.
        rules: the configured numbers.
        succeeded: whether the client has had a success after the record's ``since``. It ends no count of mismatches,
            because it may be the success of a credential of the configured client.
        is_sole: whether the vault has no other tenant than the account's.
    """
    matters = succeeded and scope.reason != CLIENT_MISMATCH
    new = counted(record, scope, account, now, rules, matters, is_sole=is_sole)
    is_new = new.opened_at is not None and (record is None or record.opened_at is None)
    return ClientDecision(new, new, _events(AuditAction.CLIENT_PAUSED, scope, now) if is_new else ())


def probed(record: ClientRecord | None, now: datetime, seen: datetime | None) -> ClientDecision[bool]:
    """Note a probe, so that only one process probes; nothing if the client is not paused, or another one was faster."""
    if record is None or record.opened_at is None or record.probe_at != seen:
        return ClientDecision(record, result=False)
    return ClientDecision(evolve(record, probe_at=now), result=True)


def closed(record: ClientRecord | None, now: datetime) -> ClientDecision[bool]:
    """Forget the refusals after a success; the result tells whether this ends a pause."""
    if record is None or record.opened_at is None:
        return ClientDecision(None, result=False)
    return ClientDecision(None, result=True, events=_events(AuditAction.CLIENT_RESUMED, record.scope, now))


def rejected(
    record: ClientRecord | None, now: datetime, scope: ClientScope, account: Account, rules: ClientRules, *, mass: bool
) -> ClientDecision[ClientRecord | None]:
    """Decide whether a rejected credential is spared, because the provider rejects most of the client's fleet.

    Args:
        record: the stored record, or None.
        now: the store's time.
        scope: names the client; its reason is `MASS_REJECTION`.
        account: the account whose credential was rejected.
        rules: the configured numbers, as `rules.clients.after_restore` returns them for this rejection.
        mass: whether the rejections of late are a mass (`rules.clients.is_mass`).

    Returns:
        The record of the pause that spares the credential; None: the credential is condemned.
    """
    if record is not None and is_paused(record, now, rules):
        new = counted(record, scope, account, now, rules, succeeded=False)
        return ClientDecision(new, new)
    if mass and (record is None or record.opened_at is None):
        new = opened(counted(None, scope, account, now, rules, succeeded=False), now)
        return ClientDecision(new, new, _events(AuditAction.CLIENT_PAUSED, scope, now))
    return ClientDecision(record and evolve(record, refused_at=now), None)


def _events(action: AuditAction, scope: ClientScope, now: datetime) -> tuple[AuditEvent]:
    return (AuditEvent(action, now, code=scope.reason, provider=scope.provider),)
