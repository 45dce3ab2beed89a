"""A primary and a streaming standby, for tests of a failover.

The standby is asynchronous or synchronous. A test kills the primary as a power failure would, and promotes the standby.
"""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote

import psycopg

from .postgres_cluster import PrivateCluster

_PATIENCE_SECONDS = 60.0
_SYNCHRONOUS: Final[Mapping[str, str]] = {"synchronous_standby_names": "*", "synchronous_commit": "on"}
_ASYNCHRONOUS: Final[Mapping[str, str]] = {"synchronous_commit": "on"}


class FailoverPair:
    """Two servers; clients that connect by `url` reach the one that takes writes."""

    def __init__(self, primary: PrivateCluster, standby: PrivateCluster) -> None:
        self.primary: Final = primary
        self.standby: Final = standby
        hosts = ",".join(quote(str(each.socket_dir)) for each in (primary, standby))
        self._address = f"?host={hosts}&port=5432,5432&target_session_attrs=read-write"
        self.url: Final = f"postgresql://postgres@/postgres{self._address}"

    def url_of(self, role: str) -> str:
        """Return the URL for another role."""
        return f"postgresql://{role}@/postgres{self._address}"

    def wait_until_caught_up(self) -> None:
        """Wait until the standby has replayed all that the primary has written."""
        place = self._ask(self.primary, "SELECT pg_current_wal_lsn()")
        self._until(self.standby, f"SELECT pg_last_wal_replay_lsn() >= '{place}'")

    def cut_replication(self) -> None:
        """Stop the replication: the standby lacks all later writes, as a standby that lags does."""
        os.kill(self._ask(self.primary, "SELECT pid FROM pg_stat_replication"), signal.SIGSTOP)

    def kill_primary(self) -> None:
        """End the primary as a power failure does."""
        self.primary.kill()

    def promote(self) -> None:
        """Make the standby the primary; return when it takes writes."""
        assert self._ask(self.standby, "SELECT pg_promote(true, 60)")

    def fail_over(self) -> None:
        """Kill the primary and promote the standby."""
        self.kill_primary()
        self.promote()

    def wait_until_streaming(self) -> None:
        """Wait until the standby follows the primary."""
        self._until(self.primary, "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming')")

    def _until(self, cluster: PrivateCluster, question: str) -> None:
        end = time.monotonic() + _PATIENCE_SECONDS
        while not self._ask(cluster, question):
            assert time.monotonic() < end, question
            time.sleep(0.01)

    def _ask(self, cluster: PrivateCluster, question: str) -> Any:
        with psycopg.connect(cluster.url, autocommit=True) as connection:
            row = connection.execute(question.encode()).fetchone()
        assert row is not None
        return row[0]


@contextmanager
def start_failover_pair(*, synchronous: bool) -> Iterator[FailoverPair]:
    """Give a primary and its standby, and remove both afterwards.

    Args:
        synchronous: whether the primary's commits wait until the standby has them.
    """
    primary = PrivateCluster(_SYNCHRONOUS if synchronous else _ASYNCHRONOUS)
    try:
        # Not the primary's settings: no server follows the standby, so a commit that waits for one would never end.
        standby = PrivateCluster(_ASYNCHRONOUS, standby_of=primary)
        try:
            pair = FailoverPair(primary, standby)
            pair.wait_until_streaming()
            yield pair
        finally:
            standby.close()
    finally:
        primary.close()
