"""What a vault measures: counts of this process's operations, and a census of the database."""

from __future__ import annotations

import enum
from datetime import timedelta

from attrs import frozen

from vault_domain.entities.account import ConnectionState
from vault_domain.entities.reports import HealthCount, Incident


class Operation(enum.Enum):
    """An operation that takes time, and that is reported to observers."""

    ENSURE = "ensure"
    """A caller waits until there is an access token that it may use."""
    CLAIM = "claim"
    """An attempt takes the lease of an account."""
    REFRESH = "refresh"
    """An attempt after its claim, until its answer is stored. If the callers' deadline ends first, the operation ends
    then, and storing the late answer is a second operation."""
    EXCHANGE = "exchange"
    """One request to a provider, and its answer."""
    JOURNAL = "journal"
    """An answer is written to the journal."""
    SWEEP = "sweep"
    """One sweep over the accounts that are due."""


@frozen
class PoolCounts:
    """A pool of database connections.

    Attributes:
        open: connections that are open.
        idle: open connections that nobody uses.
        most: largest number of connections that the pool may open.
        waiting: callers that wait for a connection now.
        waits: callers so far that had to wait for a connection.
        waited: total time for which callers have waited for a connection.
        timeouts: callers so far that got no connection in time.
    """

    open: int
    idle: int
    most: int
    waiting: int
    waits: int
    waited: timedelta
    timeouts: int


@frozen
class VaultCounts:
    """What one vault has counted since it was opened.

    Attributes:
        reads_from_database: tokens that were read from the database.
        reads_from_cache: tokens that the read cache returned.
        reads_in_outage: tokens that were read from memory, because the database did not answer.
        reads_failed: tokens that could not be read.
        decryption_failures: tokens that could not be decrypted when read.
        answers_waiting: answers of providers that the database has not stored yet; see `journal_dir`.
        data_key_hits: data keys that were found in the cache.
        data_key_unwraps: data keys that a master key was asked to unwrap.
        data_keys_cached: data keys in the cache.
        pool: the store's pool of connections; None for a store without a pool.
    """

    reads_from_database: int = 0
    reads_from_cache: int = 0
    reads_in_outage: int = 0
    reads_failed: int = 0
    decryption_failures: int = 0
    answers_waiting: int = 0
    data_key_hits: int = 0
    data_key_unwraps: int = 0
    data_keys_cached: int = 0
    pool: PoolCounts | None = None


@frozen
class AccountCount:
    """The accounts of one provider.

    Attributes:
        provider: the provider.
        accounts: number of accounts that have a token.
        due: number of accounts that are due for a sweep now.
        oldest: longest time for which one of the provider's accounts has been due; zero if no account is due.
    """

    provider: str
    accounts: int
    due: int
    oldest: timedelta


@frozen
class StateCount:
    """The number of accounts of one provider that are in the same state."""

    provider: str
    state: ConnectionState
    count: int


@frozen
class Census:
    """The counts of the whole database.

    Attributes:
        states: number of accounts by provider and state. If very many accounts are not connected, some of them count as
            ``connected``; see `VaultMeasures.census`.
        tokens: number of tokens by provider and health. In a large vault, the tokens of status VALID are estimated from
            a sample; see `HealthCount.is_estimate`.
        due: the due accounts of each provider that this vault has a refresher for.
        incidents: the pauses of OAuth clients.
    """

    states: tuple[StateCount, ...]
    tokens: tuple[HealthCount, ...]
    due: tuple[AccountCount, ...]
    incidents: tuple[Incident, ...]
