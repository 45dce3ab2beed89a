"""Reports: what an operation found or did, as counts."""

from attrs import frozen

from vault_domain.entities.token import TokenHealth


@frozen
class HealthCount:
    """How many tokens of one provider stand alike."""

    provider: str
    health: TokenHealth
    count: int


@frozen
class HealthReport:
    """How the vault and what it holds stand.

    Attributes:
        counts: tokens by provider and health, sorted; nothing is decrypted for it.
        failed_reads: reads of this vault, since it was opened, that could not be decrypted.
        store_error: the error code of the store's ping, or None where it answered.
        master_key_error: the error code of the master key's check, or None where it answered.
    """

    counts: tuple[HealthCount, ...] = ()
    failed_reads: int = 0
    store_error: str | None = None
    master_key_error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether store and master key answered."""
        return self.store_error is None and self.master_key_error is None


@frozen
class SweepReport:
    """What one sweep did.

    Attributes:
        claimed: accounts that were due and that this sweep took.
        refreshed: got a new access token.
        failed: did not, and will be tried again.
        reauthorization_required: need their user; they are not tried again.
        skipped: nothing was sent: somebody else was faster, or too little of the lease was left.
        unreadable: their credential could not be decrypted.
    """

    claimed: int = 0
    refreshed: int = 0
    failed: int = 0
    reauthorization_required: int = 0
    skipped: int = 0
    unreadable: int = 0
