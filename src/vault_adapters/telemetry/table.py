"""The table of metrics: their names, kinds, units and attributes. `docs/reference/metrics.md` shows the same table."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from attrs import frozen

from vault_domain.entities.measures import Census, PoolCounts, VaultCounts

PROVIDER = "token_vault.provider"
OUTCOME = "token_vault.outcome"
SOURCE = "token_vault.source"
STATE = "token_vault.state"
HEALTH = "token_vault.health"
REASON = "token_vault.reason"
CAUSE = "error.type"
POOL = "db.client.connection.pool.name"
POOL_STATE = "db.client.connection.state"

POOL_NAME = "token_vault"

Points = Iterable[tuple[float, Mapping[str, str]]]


class Kind(enum.Enum):
    """The kind of an instrument."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"


@frozen
class Metric:
    """One metric.

    Attributes:
        name: its name.
        kind: its kind.
        unit: its unit, as UCUM writes it.
        description: what it measures, in one sentence.
        attributes: the names of its attributes.
    """

    name: str
    kind: Kind
    unit: str
    description: str
    attributes: tuple[str, ...] = ()


REFRESHES = Metric(
    "token_vault.refreshes",
    Kind.COUNTER,
    "{refresh}",
    "Refresh attempts that have ended.",
    (PROVIDER, OUTCOME, CAUSE),
)
REQUESTS = Metric(
    "token_vault.provider.request.duration",
    Kind.HISTOGRAM,
    "s",
    "Time until a provider answers a request.",
    (PROVIDER, OUTCOME, CAUSE),
)
WAITS = Metric(
    "token_vault.wait.duration",
    Kind.HISTOGRAM,
    "s",
    "Time for which a caller waited for a refresh.",
    (PROVIDER, OUTCOME, CAUSE),
)
SWEEPS = Metric("token_vault.sweep.duration", Kind.HISTOGRAM, "s", "Time that a sweep took.", (OUTCOME, CAUSE))
JOURNAL_WRITES = Metric(
    "token_vault.journal.writes",
    Kind.COUNTER,
    "{write}",
    "Writes of providers' answers to the journal.",
    (PROVIDER, OUTCOME),
)

PUSHED = (REFRESHES, REQUESTS, WAITS, SWEEPS, JOURNAL_WRITES)
"""The metrics of operations; each is recorded when an operation ends."""


def _of_pool(points: Callable[[PoolCounts], Points]) -> Callable[[VaultCounts], Points]:
    return lambda counts: (
        () if counts.pool is None else [(value, {POOL: POOL_NAME, **more}) for value, more in points(counts.pool)]
    )


def _reads(counts: VaultCounts) -> Points:
    yield counts.reads_from_database, {SOURCE: "database"}
    yield counts.reads_from_cache, {SOURCE: "cache"}
    yield counts.reads_in_outage, {SOURCE: "memory"}
    yield counts.reads_failed, {SOURCE: "none"}


COUNTED: dict[Metric, Callable[[VaultCounts], Points]] = {
    Metric("token_vault.reads", Kind.COUNTER, "{read}", "Reads of tokens, by source.", (SOURCE,)): _reads,
    Metric(
        "token_vault.decryption.failures", Kind.COUNTER, "{failure}", "Tokens that could not be decrypted when read."
    ): lambda counts: [(counts.decryption_failures, {})],
    Metric(
        "token_vault.answers.waiting", Kind.GAUGE, "{answer}", "Answers of providers that the database has not stored."
    ): lambda counts: [(counts.answers_waiting, {})],
    Metric(
        "token_vault.data_key.cache.hits", Kind.COUNTER, "{key}", "Data keys that were found in the cache."
    ): lambda counts: [(counts.data_key_hits, {})],
    Metric(
        "token_vault.data_key.unwraps", Kind.COUNTER, "{key}", "Data keys that a master key was asked to unwrap."
    ): lambda counts: [(counts.data_key_unwraps, {})],
    Metric("token_vault.data_key.cache.size", Kind.GAUGE, "{key}", "Data keys in the cache."): lambda counts: [
        (counts.data_keys_cached, {})
    ],
    Metric(
        "db.client.connection.count",
        Kind.GAUGE,
        "{connection}",
        "Connections of the pool, by whether they are in use.",
        (POOL, POOL_STATE),
    ): _of_pool(lambda pool: [(pool.idle, {POOL_STATE: "idle"}), (pool.open - pool.idle, {POOL_STATE: "used"})]),
    Metric(
        "db.client.connection.max",
        Kind.GAUGE,
        "{connection}",
        "Largest number of connections that the pool may open.",
        (POOL,),
    ): _of_pool(lambda pool: [(pool.most, {})]),
    Metric(
        "db.client.connection.pending_requests",
        Kind.GAUGE,
        "{request}",
        "Callers that wait for a connection now.",
        (POOL,),
    ): _of_pool(lambda pool: [(pool.waiting, {})]),
    Metric(
        "db.client.connection.timeouts", Kind.COUNTER, "{timeout}", "Callers that got no connection in time.", (POOL,)
    ): _of_pool(lambda pool: [(pool.timeouts, {})]),
    Metric(
        "token_vault.pool.waits", Kind.COUNTER, "{request}", "Callers that had to wait for a connection.", (POOL,)
    ): _of_pool(lambda pool: [(pool.waits, {})]),
    Metric(
        "token_vault.pool.wait.time",
        Kind.COUNTER,
        "s",
        "Total time for which callers waited for a connection.",
        (POOL,),
    ): _of_pool(lambda pool: [(pool.waited.total_seconds(), {})]),
}
"""The metrics of the counts that a vault keeps in memory; they are read whenever the metrics are collected."""


def _paused(census: Census) -> Points:
    counts = Counter((each.provider, each.reason) for each in census.incidents if each.pauses)
    return [(count, {PROVIDER: provider, REASON: reason}) for (provider, reason), count in counts.items()]


SURVEYED: dict[Metric, Callable[[Census], Points]] = {
    Metric(
        "token_vault.account.count", Kind.GAUGE, "{account}", "Accounts by provider and state.", (PROVIDER, STATE)
    ): lambda census: [(each.count, {PROVIDER: each.provider, STATE: each.state.value}) for each in census.states],
    Metric(
        "token_vault.token.count", Kind.GAUGE, "{token}", "Tokens by provider and health.", (PROVIDER, HEALTH)
    ): lambda census: [(each.count, {PROVIDER: each.provider, HEALTH: each.health.value}) for each in census.tokens],
    Metric(
        "token_vault.account.due", Kind.GAUGE, "{account}", "Accounts that are due for a sweep now.", (PROVIDER,)
    ): lambda census: [(each.due, {PROVIDER: each.provider}) for each in census.due],
    Metric(
        "token_vault.account.oldest_due", Kind.GAUGE, "s", "Longest time since an account became due.", (PROVIDER,)
    ): lambda census: [(each.oldest.total_seconds(), {PROVIDER: each.provider}) for each in census.due],
    Metric(
        "token_vault.provider.paused",
        Kind.GAUGE,
        "{client}",
        "OAuth clients that are paused, by reason.",
        (PROVIDER, REASON),
    ): _paused,
}
"""The metrics of the census; they show the latest finished census."""

CENSUS_AGE = Metric("token_vault.census.age", Kind.GAUGE, "s", "Time since the latest finished census began.")

METRICS = (*PUSHED, *COUNTED, *SURVEYED, CENSUS_AGE)
"""All metrics."""

SPANS = ("token_vault.ensure", "token_vault.claim", "token_vault.refresh", "token_vault.exchange", "token_vault.sweep")
"""The names of all spans."""
