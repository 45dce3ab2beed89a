"""`audit`: what it selects and says, and `--follow` in a process of its own, through an outage of the database."""

import json
import logging
import signal
import subprocess
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from tests.adapters.cli.command import PROGRAM, heed_interrupts
from tests.support.postgres import start_postgres

from vault_adapters import AuditAction, AuditEvent, Page, StorageError
from vault_adapters.cli import following
from vault_adapters.cli.commands.audit import _Filters
from vault_adapters.stores.postgres.quiet import POOL_NAME, OwnConnection, quieten_pool

ANN = ("--identifier", "ann")

pytestmark = pytest.mark.real_scrypt


@pytest.fixture
def stored(token_vault):
    for identifier in ("ann", "bob"):
        done = token_vault("store", "t1", "google", "refresh_token", "--identifier", identifier, stdin="v")
        assert done.code == 0
    return token_vault


def store(command, tenant="t2"):
    assert command("store", tenant, "clerk", "api_key", stdin="v").code == 0


@contextmanager
def following_audit(command, *arguments):
    """Follow the log until the block ends; give the process, which is killed if it does not end by itself."""
    process = subprocess.Popen(
        [*PROGRAM, "audit", "--follow", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=command.folder,
        env={name: value for name, value in command.environment().items() if name != "PYTHONUNBUFFERED"},
        preexec_fn=heed_interrupts,  # noqa: PLW1509 - no threads run here
    )
    watchdog = threading.Timer(90, process.kill)
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def interrupted(process):
    """Interrupt a process; return its exit code and the rest of its output."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_it_shows_what_is_there_at_once_and_then_each_event_under_one_header(stored):
    with following_audit(stored, "--tail", "1") as process:
        # Nothing happens meanwhile, so this would wait for ever if the first rows were not written at once.
        header, first = process.stdout.readline(), process.stdout.readline()
        assert header.split()[:3] == ["WHEN", "ACTION", "TENANT"]
        assert (first.split()[1], "bob" in first, "ann" in first) == ("token_stored", True, False)
        for tenant in ("t2", "t3"):
            store(stored, tenant)
            row = process.stdout.readline()
            assert row.split()[1:3] == ["token_stored", tenant]
            assert row.index(tenant) == header.index("TENANT")
        assert interrupted(process) == (130, "", "")


@pytest.mark.parametrize(("seconds", "taken"), [(-1, False), (0, True)])
def test_new_events_before_a_time_to_come_are_left_out(seconds, taken):
    since = datetime(2030, 1, 31, 12, tzinfo=UTC)
    event = AuditEvent(AuditAction.TOKEN_STORED, since + timedelta(seconds=seconds))
    assert _Filters(None, None, "2030-01-31T12:00:00Z").take(event) is taken


def invalidate(command, identifier):
    assert command("invalidate", "t1", "google", "refresh_token", "--identifier", identifier).code == 0


def test_it_follows_what_is_selected_as_lines_of_json(stored):
    invalidate(stored, "ann")
    with following_audit(stored, "--json", "--account", "t1/google/ann", "--action", "token_invalidated") as process:
        first = json.loads(process.stdout.readline())  # from here on the log is followed, because a line has come
        store(stored)
        invalidate(stored, "bob")
        again = stored("store", "t1", "google", "refresh_token", "--identifier", "ann", stdin="v")
        assert again.code == 0
        invalidate(stored, "ann")
        second = json.loads(process.stdout.readline())
        assert [(each["action"], each["identifier"], each["generation"]) for each in (first, second)] == [
            ("token_invalidated", "ann", 1),
            ("token_invalidated", "ann", 2),
        ]
        assert interrupted(process) == (130, "", "")


def test_it_follows_one_tenant(stored):
    store(stored)
    with following_audit(stored, "--json", "--tenant", "t2", "--since", "1h") as process:
        first = json.loads(process.stdout.readline())
        for tenant in ("t1", "t2"):
            store(stored, tenant)
        second = json.loads(process.stdout.readline())
        assert [(each["tenant_id"], each["generation"]) for each in (first, second)] == [("t2", 1), ("t2", 2)]


def test_it_goes_on_after_an_outage(unprepared):
    with start_postgres(private=True) as server:
        url = server.create_database("followed")
        command = evolve(unprepared, variables={**unprepared.variables, "DATABASE_URL": url})
        assert command("init").code == 0
        store(command, "t1")
        with following_audit(command, "--json", "--tail", "1") as process:
            assert json.loads(process.stdout.readline())["tenant_id"] == "t1"
            with server.suspended():
                told = process.stderr.readline()
                assert "new events are shown when the database is back" in told
            store(command, "t2")
            assert json.loads(process.stdout.readline())["tenant_id"] == "t2"
            assert interrupted(process) == (130, "", "")


class Feed:
    """A feed that gives or raises what it was made with."""

    def __init__(self, *answers):
        self._answers = iter(answers)

    async def __anext__(self):
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_each_outage_is_told_once(monkeypatch, capsys):
    monkeypatch.setattr(following, "_PAUSE_SECONDS", 0.0)
    away = StorageError("away", retryable=True)
    shown = []
    with pytest.raises(StorageError, match="for good"):
        await following.follow_feed(
            Feed(away, away, Page(["a"]), Page(["b"]), away, StorageError("for good", retryable=False)), shown.append
        )
    assert shown == [("a",), ("b",)]
    assert capsys.readouterr().err.count("token-vault: away; new events") == 2


def test_the_account_without_an_identifier_is_not_taken_for_all_accounts(stored):
    done = stored("audit", "--account", "t1/google")
    assert (done.code, done.out) == (0, "")
    assert "the account that has no identifier" in done.stderr
    assert "identifier" not in stored("audit", "--account", "t1/google/ann").stderr


def test_what_a_limit_leaves_out_is_said(stored):
    limited = stored("audit", "--since", "1h", "--limit", "1")
    assert "bob" in limited.out
    assert "these are the latest 1 events" in limited.stderr
    assert stored("audit", "--since", "1h", "--limit", "3").stderr == ""
    assert stored("audit", "--tail", "1").stderr == ""
    assert "--tail shows the latest ones" in stored("audit", "--limit", "1").stderr


def test_messages_name_the_option_and_its_forms(stored):
    assert "--action must be one of token_stored, " in stored("audit", "--action", "x").stderr
    for arguments in (
        ("audit", "--since", "yesterday"),
        ("audit", "--since", "999999d"),
        ("revive", "google", "--since", "yesterday"),
    ):
        assert "--since must be a duration such as 90m or 2d, or a time such as" in stored(*arguments).stderr
    assert stored("revive", "google", "--since", "2h", "--until", "1h", "--dry-run").code == 0


def test_the_pools_lines_about_the_vaults_own_connections_are_dropped(caplog):
    quieten_pool()
    log = logging.getLogger("psycopg.pool")
    own, foreign = OwnConnection.__new__(OwnConnection), object()
    for subject in (own, foreign):
        log.warning("discarding closed connection: %s", subject if subject is foreign else own)
    log.warning("error connecting in %r: %s", POOL_NAME, "refused")
    log.warning("error connecting in %r: %s", "a host's pool", "refused")
    assert [record.args[0] for record in caplog.records] == [foreign, "a host's pool"]
