"""Reports of the health check, of sweeps and of revivals, as counts."""

from collections.abc import Mapping
from datetime import datetime

from attrs import field, frozen

from vault_domain.entities.account import AccountInfo
from vault_domain.entities.token import TokenHealth


@frozen
class HealthCount:
    """The number of tokens of one provider that have the same health.

    Attributes:
        provider: the provider.
        health: the tokens' health.
        count: number of these tokens.
        is_estimate: whether the count is partly an estimate from a sample, because there are too many tokens to count.
    """

    provider: str
    health: TokenHealth
    count: int
    is_estimate: bool = False


@frozen
class Incident:
    """A fault of an OAuth client at a provider, mostly a pause: for accounts that it holds back, only probes are sent.

    A pause for ``invalid_client`` or ``unreadable_answer`` holds back all accounts of the client. A pause for
    ``client_mismatch`` holds back only credentials that were stored under another client. A pause for
    ``mass_rejection`` holds back only accounts that were rejected during it. Refusals of one of several tenants pause
    nothing, because a tenant can bring them about at will.

    Attributes:
        provider: the provider.
        reason: ``invalid_client``, ``client_mismatch``, ``mass_rejection`` or ``unreadable_answer``.
        since: time since which the client is paused, UTC; without a pause, time of the first refusal.
        refused_at: time at which the provider last refused the client, or rejected one of its credentials, UTC.
        pauses: whether the client is paused; if not, the provider refuses many accounts of one tenant only.
    """

    provider: str
    reason: str
    since: datetime
    refused_at: datetime
    pauses: bool = True


@frozen
class Readiness:
    """Whether a vault can do its work now, for the readiness probe of an orchestrator.

    Each attribute is None if its part is in order, else the cause of the problem.

    Attributes:
        store: cause for which the database does not answer or takes no writes: the `StorageError.reason`, or the
            error's code if it has no reason.
        schema: ``schema_outdated`` if the database's schema is missing or older than this release. It is also None
            while the database does not answer, because the schema cannot be checked then.
        master_key: cause for which the master key cannot be used.
        journal: cause for which the journal takes no entries: ``missing``, ``disk_full``, ``permission_denied``,
            ``read_only``, ``timeout`` or the name of an error of the operating system. It does not count for `ok`,
            because the vault does its work without a journal, unless the database fails too.
        home: ``not_home`` if the database is a copy or has moved, so that the vault reads but does not refresh; see
            `TokenVault.adopt`. It does not change `ok`, because a copy may be meant to be read.
    """

    store: str | None = None
    schema: str | None = None
    master_key: str | None = None
    journal: str | None = None
    home: str | None = None

    @property
    def ok(self) -> bool:
        """Whether store, schema and master key are in order."""
        return self.store is None and self.schema is None and self.master_key is None


@frozen
class HealthReport:
    """The result of a health check.

    Attributes:
        counts: number of tokens by provider and health, sorted; counted without decrypting. A report on all tenants
            of a large vault estimates the tokens of status VALID from a sample; see `is_estimate`.
        failed_reads: number of reads that failed to decrypt since this vault was opened. A report on one tenant counts
            only this tenant's reads. Only the 10,000 tenants with the most recent failures have counts of their own.
        store_error: error code of the database check; None if the database can be used. If the database answers but
            takes no writes (`store_reason` ``read_only``, as on a standby, or ``disk_full``), its tokens are still
            counted.
        master_key_error: error code of the master key check; None if the master key can be used.
        incidents: all pauses and refusals of OAuth clients, even in a report on one tenant; sorted by provider.
        store_reason: why the database check failed: the error's ``reason``, or its code if it has no reason; None if
            the database can be used.
        store_time: the time of the database's clock, UTC; None if it could not be read.
        unread: number of kept answers that could not be read, of all tenants, by provider.
    """

    counts: tuple[HealthCount, ...] = ()
    failed_reads: int = 0
    store_error: str | None = None
    master_key_error: str | None = None
    incidents: tuple[Incident, ...] = ()
    store_reason: str | None = None
    store_time: datetime | None = None
    unread: Mapping[str, int] = field(factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the checks of the database and of the master key succeeded."""
        return self.store_error is None and self.master_key_error is None

    @property
    def status(self) -> str:
        """``failing`` if not `ok`, else ``paused`` if an OAuth client is paused, else ``ok``.

        ``refused`` comes before ``ok``: no client is paused, and one is refused for accounts of one tenant.
        """
        if not self.ok:
            return "failing"
        if self.incidents:
            return "paused" if any(incident.pauses for incident in self.incidents) else "refused"
        return "ok"

    @property
    def is_estimate(self) -> bool:
        """Whether a count was estimated. For an estimate, the store reads a sample of about 50,000 valid tokens."""
        return any(count.is_estimate for count in self.counts)


@frozen
class SweepReport:
    """The result of one sweep; each count is a number of accounts.

    Attributes:
        claimed: accounts that this sweep claimed.
        refreshed: accounts that got a new access token.
        failed: accounts whose refresh failed, or was not tried because their client is paused; a later sweep tries
            again.
        reauthorization_required: accounts whose user must connect them again; they are not tried again.
        skipped: accounts that were neither refreshed nor counted as failed. Possible causes: another writer changed
            their tokens after the claim; too little of the lease was left; the database failed over meanwhile; the
            request limit allowed no request. The sweep asks the request limit before the claim, so an account that the
            limit holds back does not count as claimed.
        unreadable: accounts whose credential could not be decrypted, or whose rows cannot be used.
    """

    claimed: int = 0
    refreshed: int = 0
    failed: int = 0
    reauthorization_required: int = 0
    skipped: int = 0
    unreadable: int = 0


@frozen
class RestoreReport:
    """What is known of the accounts after a restore.

    Attributes:
        restored_at: rejections of tokens that were stored before this time are believed, UTC.
        swept: what became of the accounts that were due.
        ask: the accounts whose users must connect them again.
        retrying: the accounts whose refresh failed for another reason and is tried again.
    """

    restored_at: datetime
    swept: SweepReport
    ask: tuple[AccountInfo, ...] = ()
    retrying: tuple[AccountInfo, ...] = ()


@frozen
class RevivalReport:
    """The result of `revive_accounts`, or the counts of a running call so far.

    Attributes:
        revived: credentials that are to be tried again, because the vault takes them for valid; a refresh condemns each
            again whose grant is really dead. In a dry run, credentials that would be tried again.
        skipped: credentials that were not revived, because they have expired, or because another writer changed them
            meanwhile.
    """

    revived: int = 0
    skipped: int = 0
