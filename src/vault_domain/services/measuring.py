"""Collects one vault's counts: reads, decryption failures, waiting answers, data keys, database connections."""

from collections.abc import Callable

from attrs import frozen

from vault_domain.entities.measures import PoolCounts, VaultCounts
from vault_domain.memory.answers import Answers
from vault_domain.services.observing import Observed
from vault_domain.services.tokens.census import CensusService
from vault_domain.services.tokens.opening import TokenOpener


@frozen(eq=False)
class MeasuringService:
    """Collects the counts that the parts of one vault keep.

    Attributes:
        observed: the observers, and the counts of reads.
        census: counts the accounts and tokens of the database.
        opener: counts the reads of tokens that did not decrypt.
        held: the answers that wait for the database.
        data_keys: returns three numbers of data keys: found in the cache, unwrapped, and cached now.
        pool: returns the state of the store's pool; None for a store without a pool.
    """

    observed: Observed
    census: CensusService
    opener: TokenOpener
    held: Answers
    data_keys: Callable[[], tuple[int, int, int]]
    pool: Callable[[], PoolCounts] | None = None

    def counts(self) -> VaultCounts:
        """Return the counts so far."""
        reads = self.observed.reads
        hits, unwraps, cached = self.data_keys()
        return VaultCounts(
            reads_from_database=reads.database,
            reads_from_cache=reads.cache,
            reads_in_outage=reads.outage,
            reads_failed=reads.failed,
            decryption_failures=self.opener.failed_reads.count(),
            answers_waiting=len(self.held),
            data_key_hits=hits,
            data_key_unwraps=unwraps,
            data_keys_cached=cached,
            pool=None if self.pool is None else self.pool(),
        )
