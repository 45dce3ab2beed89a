"""The pair of servers for tests of a failover."""

import time

import psycopg
import pytest
from tests.support.postgres_standby import start_failover_pair

pytestmark = pytest.mark.tools

TIMELINE = "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)"


@pytest.mark.parametrize(("synchronous", "kept"), [(True, [1, 2]), (False, [1])], ids=["synchronous", "asynchronous"])
def test_only_an_asynchronous_standby_lacks_what_did_not_reach_it(synchronous, kept):
    with start_failover_pair(synchronous=synchronous) as pair:
        with psycopg.connect(pair.url, autocommit=True) as connection:
            connection.execute("CREATE TABLE t (n int)")
            connection.execute("INSERT INTO t VALUES (1)")
            [before] = connection.execute(TIMELINE).fetchone()
            pair.wait_until_caught_up()
            if not synchronous:
                pair.cut_replication()
            connection.execute("INSERT INTO t VALUES (2)")
        began = time.monotonic()
        pair.fail_over()
        assert time.monotonic() - began < 60
        with psycopg.connect(pair.url, autocommit=True) as connection:
            assert [n for (n,) in connection.execute("SELECT n FROM t ORDER BY n")] == kept
            [after] = connection.execute(TIMELINE).fetchone()
            connection.execute("INSERT INTO t VALUES (3)")
    assert (before, after) == ("00000001", "00000002")
