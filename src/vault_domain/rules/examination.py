"""Decides what puts a vault's accounts at risk, from facts that the caller has read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from attrs import field, frozen

from vault_domain.entities.account import AccountInfo, ConnectionState
from vault_domain.entities.causes import CLOCK_SKEW as CLOCK_SKEW_CAUSE
from vault_domain.entities.causes import READ_ONLY
from vault_domain.entities.findings import Finding, FindingCode
from vault_domain.entities.lifetime import is_ending
from vault_domain.entities.reports import Incident, Readiness
from vault_domain.rules.advice import finding, incident_finding
from vault_domain.rules.key_states import OF_ONE_TENANT

MOST_SKEW = timedelta(seconds=5)
"""A difference between two clocks is a finding if it is larger than this."""

LARGE_LOG = 100_000
"""A log without retention is a finding if it has at least this number of audit events."""

LEAST_SECRET_BITS = 80
"""An encryption secret is a finding if the estimate of its entropy is lower than this."""

_OPENID_SCOPES = frozenset({"openid", "profile", "email", "address", "phone", "offline_access"})
"""Scopes of OpenID Connect. Many providers name them otherwise in their answers, or leave them out."""


@frozen
class ProviderFacts:
    """What is known about a provider of stored accounts.

    Attributes:
        has_refresher: whether a refresher is configured; None if the host's refreshers are not known.
        rotates: whether a refresh replaces the refresh token; None if that is not known.
        ends_all_grants: whether the provider ends all grants of a user when one token is revoked.
        unverified: facts of the provider's profile that matter for refreshing, and that are not from the provider's own
            pages.
        names_hosts: whether it is known to which hosts the provider's access tokens may be sent; None if that was not
            examined.
        scopes: the scopes that the refresher asks users for.
    """

    has_refresher: bool | None = None
    rotates: bool | None = None
    ends_all_grants: bool = False
    unverified: tuple[str, ...] = ()
    names_hosts: bool | None = None
    scopes: frozenset[str] = frozenset()


@frozen
class SetUp:
    """What is known about the vault itself.

    Attributes:
        readiness: whether store, schema, master key and journal can be used.
        asked_at: this machine's time before the database was asked for its time.
        answered_at: this machine's time after the database answered.
        store_time: the database's time; None if it is not known.
        secret_bits: the estimated entropy of each configured encryption secret, in bits.
        has_retention: whether sweeps delete old audit events.
        events: number of audit events, counted up to about `LARGE_LOG`; not counted if `has_retention` is True.
        incidents: the clients that are paused.
        unread: number of kept answers that could not be read, by provider.
    """

    readiness: Readiness
    asked_at: datetime
    answered_at: datetime
    store_time: datetime | None = None
    secret_bits: tuple[float, ...] = ()
    has_retention: bool = True
    events: int = 0
    incidents: tuple[Incident, ...] = ()
    unread: Mapping[str, int] = field(factory=dict)


def readiness_findings(readiness: Readiness) -> Iterator[Finding]:
    """Return what is wrong with store, schema, master key, journal and home."""
    if readiness.store is not None:
        is_read_only = readiness.store == READ_ONLY
        code = FindingCode.DATABASE_READ_ONLY if is_read_only else FindingCode.DATABASE_UNAVAILABLE
        yield finding(code, detail=readiness.store)
    if readiness.schema is not None:
        yield finding(FindingCode.SCHEMA_OUTDATED)
    if readiness.master_key is not None:
        yield finding(FindingCode.MASTER_KEY_UNAVAILABLE, detail=readiness.master_key)
    if readiness.journal is not None:
        yield finding(FindingCode.JOURNAL_UNUSABLE, detail=readiness.journal)
    if readiness.home is not None:
        yield finding(FindingCode.NOT_HOME)


def setup_findings(setup: SetUp) -> Iterator[Finding]:
    """Return what is wrong with the vault itself."""
    yield from readiness_findings(setup.readiness)
    for incident in setup.incidents:
        yield incident_finding(incident)
    for provider, number in setup.unread.items():
        yield finding(FindingCode.ANSWERS_UNREAD, provider=provider, accounts=number)
    if any(bits < LEAST_SECRET_BITS for bits in setup.secret_bits):
        yield finding(FindingCode.SECRET_WEAK)
    skew = clock_skew(setup.asked_at, setup.store_time, setup.answered_at)
    if skew > MOST_SKEW:
        yield finding(FindingCode.CLOCK_SKEW, detail=f"{skew.total_seconds():.0f} seconds")
    if not setup.has_retention and setup.events >= LARGE_LOG:
        yield finding(FindingCode.AUDIT_RETENTION_MISSING, detail=f"{LARGE_LOG} events or more")


def clock_skew(asked_at: datetime, store_time: datetime | None, answered_at: datetime) -> timedelta:
    """Return the least possible difference between this machine's clock and the database's clock.

    The database may have read its clock at any time between `asked_at` and `answered_at`. So a `store_time` between
    these two times is no skew, even if the answer was slow.
    """
    if store_time is None:
        return timedelta(0)
    return max(asked_at - store_time, store_time - answered_at, timedelta(0))


def account_codes(
    info: AccountInfo, provider: ProviderFacts, now: datetime, notice: timedelta
) -> Iterator[FindingCode]:
    """Return the codes of the findings about one account.

    Args:
        info: the account.
        provider: what is known about its provider.
        now: the present time.
        notice: time before a refresh token's expiry from which the token counts as ending soon, as in the health
            report. If the notice is longer than half of the token's lifetime, half of the lifetime counts instead.
    """
    if info.state is ConnectionState.REAUTHORIZATION_REQUIRED:
        yield FindingCode.RECONNECT_REQUIRED
        return  # only the user can help now, so the findings below do not matter
    if info.state is ConnectionState.RETRYING:
        if info.reason in OF_ONE_TENANT:
            yield FindingCode.TENANT_KEY_UNUSABLE
        else:
            yield FindingCode.CLOCK_SKEW if info.reason == CLOCK_SKEW_CAUSE else FindingCode.REFRESH_FAILING
    if is_ending(info.refresh_token_expires_at, info.refresh_token_lifetime, now, notice):
        yield FindingCode.REFRESH_TOKEN_ENDING
    if info.expires_at is not None and not provider.has_refresher:
        is_known = provider.has_refresher is not None
        yield FindingCode.REFRESHER_MISSING if is_known else FindingCode.REFRESHERS_UNKNOWN
    if info.scopes and not (provider.scopes - _OPENID_SCOPES).issubset(info.scopes):
        yield FindingCode.SCOPES_MISSING


def provider_codes(provider: ProviderFacts) -> Iterator[tuple[FindingCode, str | None]]:
    """Return the codes of the findings about a provider as a whole, each with the finding's detail."""
    if provider.unverified:
        yield FindingCode.PROFILE_UNVERIFIED, ", ".join(provider.unverified)
    if provider.names_hosts is False:
        yield FindingCode.API_HOSTS_MISSING, None
