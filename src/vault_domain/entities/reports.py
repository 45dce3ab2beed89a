"""Reports of the health check, of sweeps and of revivals, as counts."""

from datetime import datetime

from attrs import frozen

from vault_domain.entities.token import TokenHealth


@frozen
class HealthCount:
    """The number of tokens of one provider that have the same health.

    Attributes:
        provider: the provider.
        health: the tokens' health.
        count: how many there are.
        is_estimate: whether a part of them was estimated from a sample, because there are too many tokens to count.
    """

    provider: str
    health: TokenHealth
    count: int
    is_estimate: bool = False


@frozen
class Incident:
    """A pause of an OAuth client at a provider; its refreshes are refused, except for one probe per interval.

    Attributes:
        provider: the provider.
        reason: ``invalid_client``, ``client_mismatch`` or ``mass_rejection``.
        since: time since which the client is paused, UTC.
        refused_at: time of the latest refusal, UTC.
    """

    provider: str
    reason: str
    since: datetime
    refused_at: datetime


@frozen
class Readiness:
    """Whether a vault can do its work now, as a probe asks; each part is None if it is in order, else a cause.

    Attributes:
        store: cause for which the database does not answer or takes no writes: the `StorageError.reason`.
        schema: ``schema_outdated`` if the database's schema is missing or older than this release. It is also None
            while the database does not answer, because nothing says that the schema has changed.
        master_key: cause for which the master key cannot be used.
    """

    store: str | None = None
    schema: str | None = None
    master_key: str | None = None

    @property
    def ok(self) -> bool:
        """Whether all parts are in order."""
        return self.store is None and self.schema is None and self.master_key is None


@frozen
class HealthReport:
    """The result of a health check.

    Attributes:
        counts: number of tokens by provider and health, sorted; counted without decrypting. A report on all tenants
            of a large vault estimates the tokens of status VALID from a sample; see `is_estimate`.
        failed_reads: number of reads that failed to decrypt since this vault was opened, of the reported tenant or of
            all tenants. Only the 10,000 tenants with the most recent failures have counts of their own.
        store_error: error code of the database check; None if the database answered.
        master_key_error: error code of the master key check; None if the master key can be used.
        incidents: the pauses of OAuth clients, of all tenants, sorted by provider.
        store_reason: why the database check failed: the `StorageError.reason`; None if the database answered.
        store_time: the time of the database's clock, UTC; None if the database did not answer.
    """

    counts: tuple[HealthCount, ...] = ()
    failed_reads: int = 0
    store_error: str | None = None
    master_key_error: str | None = None
    incidents: tuple[Incident, ...] = ()
    store_reason: str | None = None
    store_time: datetime | None = None

    @property
    def ok(self) -> bool:
        """Whether both checks succeeded."""
        return self.store_error is None and self.master_key_error is None

    @property
    def is_estimate(self) -> bool:
        """Whether a count was estimated from a sample; about 50,000 tokens are read then, instead of all."""
        return any(count.is_estimate for count in self.counts)


@frozen
class SweepReport:
    """The result of one sweep; each count is a number of accounts.

    Attributes:
        claimed: accounts that this sweep claimed.
        refreshed: accounts that got a new access token.
        failed: accounts whose refresh failed and will be tried again.
        reauthorization_required: accounts whose user must connect them again; they are not tried again.
        skipped: accounts that were neither refreshed nor counted as failed. An account was not claimed if its provider
            accepts no more requests now. After a claim, another process was faster or the remaining lease too short.
        unreadable: accounts whose credential could not be decrypted.
    """

    claimed: int = 0
    refreshed: int = 0
    failed: int = 0
    reauthorization_required: int = 0
    skipped: int = 0
    unreadable: int = 0


@frozen
class RevivalReport:
    """The result of `revive_accounts`, or its counts so far.

    Attributes:
        revived: credentials that may be refreshed again; in a dry run, those that would be.
        skipped: condemned credentials that stay condemned, because they have expired, or were changed meanwhile.
    """

    revived: int = 0
    skipped: int = 0
