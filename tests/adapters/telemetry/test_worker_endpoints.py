"""`token-vault worker --listen`: its endpoints and its log, in a process of its own."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from attrs import evolve
from tests.adapters.cli.command import PROGRAM, CommandLine
from tests.security.canaries import leaks_in, make_canaries
from tests.support.postgres import start_postgres

from vault_adapters import Account, TokenSet, VaultConfig, open_vault

pytestmark = pytest.mark.real_scrypt

TENANT, IDENTIFIER, SECRET, *TOKENS = make_canaries(8)
ACCOUNT = Account(TENANT, "acme", IDENTIFIER)

REFRESHERS = """
from vault_adapters import TokenSet
from vault_adapters.testing import ScriptedRefresher
from vault_adapters import RefreshFailedError

refreshers = {"acme": ScriptedRefresher(RefreshFailedError(%r, reason=%r), TokenSet(%r, %r, expires_in=3600))}
"""


@pytest.fixture
def command(tmp_path):
    (tmp_path / "hosts_refreshers.py").write_text(REFRESHERS % tuple(TOKENS[:4]))
    url = f"sqlite:///{tmp_path}/vault.db"

    async def fill():
        config = VaultConfig(url, encryption_secret=SECRET * 2, scrypt_log2_n=14)
        async with open_vault(config) as vault:
            await vault.store_token_set(ACCOUNT, TokenSet(TOKENS[4], TOKENS[4], expires_in=0), label=IDENTIFIER)

    asyncio.run(fill())
    variables = {
        "DATABASE_URL": url,
        "ENCRYPTION_SECRET": SECRET * 2,
        "TOKEN_VAULT_SCRYPT_LOG2_N": "14",
        "TOKEN_VAULT_REFRESHERS": "hosts_refreshers:refreshers",
    }
    return CommandLine(tmp_path, variables)


@contextmanager
def running(command, *arguments):
    """Run a worker until the block ends; give the process."""
    process = subprocess.Popen(
        [*PROGRAM, "worker", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=command.folder,
        env=command.environment(),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def fetch(port, path):
    """Return status and body."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_it_serves_metrics_and_probes_and_ends_with_a_line(command):
    with running(command, "--interval", "1s", "--listen", "127.0.0.1:0", "--json-logs") as process:
        lines = [process.stdout.readline()]
        started = json.loads(lines[0])
        assert (started["event"], started["level"], started["interval"]) == ("started", "INFO", 1.0)
        port = started["port"]
        lines.append(process.stdout.readline())
        swept = json.loads(lines[1])
        assert (swept["event"], swept["claimed"], swept["failed"]) == ("sweep", 1, 1)
        assert fetch(port, "/healthz") == (200, "ok\n")
        assert fetch(port, "/readyz") == (200, "ready\n")
        assert fetch(port, "/")[0] == 404
        status, text = fetch(port, "/metrics")
        for _ in range(100):
            if "token_vault_account_count{" in text:
                break
            status, text = fetch(port, "/metrics")
        assert status == 200
        assert re.search(r'^token_vault_refreshes_total\{.*token_vault_outcome="failed".*\} 1\.0$', text, re.MULTILINE)
        assert re.search(r'^token_vault_account_count\{.*token_vault_provider="acme".*\} 1\.0$', text, re.MULTILINE)
        assert "token_vault_provider_request_duration_seconds_bucket" in text
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        lines += out.splitlines()
        assert json.loads(lines[-1])["event"] == "stopped"
        assert process.returncode == 0
        for line in err.splitlines():
            assert {"time", "level", "logger", "message"} == set(json.loads(line))
        assert leaks_in("".join([text, *lines, err])) == []


def test_it_is_not_ready_while_its_database_is_stopped(command):
    with start_postgres(private=True) as server:
        url = server.create_database("not_ready")
        command = evolve(command, variables={**command.variables, "DATABASE_URL": url})
        assert command("init").code == 0
        with running(command, "--listen", "127.0.0.1:0", "--interval", "1h", "--json-logs") as process:
            port = json.loads(process.stdout.readline())["port"]
            assert fetch(port, "/readyz") == (200, "ready\n")
            with server.suspended():
                status, text = fetch(port, "/readyz")
                assert status == 503
                assert re.fullmatch("store: [a-z_]+\n", text)
                assert fetch(port, "/healthz") == (200, "ok\n")
                assert fetch(port, "/metrics")[0] == 200


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--listen", "nonsense"), 2, "--listen must be HOST:PORT"),
        (("--listen", "127.0.0.1:9464", "--once"), 2, "--listen and --once exclude each other"),
        (("--listen", "203.0.113.7:9464"), 3, "--listen names an address that cannot be used (EADDRNOTAVAIL)"),
    ],
)
def test_bad_addresses_are_refused_in_one_line(command, arguments, code, message):
    done = command("worker", *arguments)
    assert (done.code, done.out) == (code, "")
    assert message in done.stderr
    assert "nonsense" not in done.stderr
    assert "203.0" not in done.stderr


def test_a_port_that_is_taken_is_named_by_its_code(command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = command("worker", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert (done.code, "EADDRINUSE" in done.stderr) == (3, True)


def test_each_line_of_json_logs_is_json_whatever_ends_the_worker(command):
    (command.folder / "talkative.py").write_text(
        "import logging, warnings\n"
        "logging.getLogger('host').warning('a word of the host')\n"
        "warnings.warn('a warning of a library')\n"
        "from hosts_refreshers import refreshers\n"
    )
    cases = [
        ({"TOKEN_VAULT_REFRESHERS": "talkative:refreshers", "DATABASE_URL": "postgresql://a@127.0.0.1:1/a"}, 5),
        ({"TOKEN_VAULT_REFRESHERS": "missing:refreshers"}, 3),
        ({"ENCRYPTION_SECRET": "short"}, 3),
    ]
    told = []
    for variables, code in cases:
        done = command("worker", "--once", "--json-logs", **{"PYTHONWARNINGS": "default", **variables})
        assert (done.code, done.out) == (code, "")
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        assert {name: lines[-1][name] for name in ("level", "event", "exit_code")} == {
            "level": "ERROR",
            "event": "failed",
            "exit_code": code,
        }
        told += lines
    messages = "\n".join(line["message"] for line in told)
    assert "a word of the host" in messages
    assert "a warning of a library" in messages
    assert "connection_refused" in messages
    assert "\n" not in told[-1]["message"]


def test_without_endpoints_no_metrics_library_is_loaded(command):
    done = command("worker", "--once", "--json-logs", PYTHONVERBOSE="1")
    assert done.code == 0
    assert json.loads(done.out.splitlines()[-1])["event"] == "sweep"
    assert "import 'opentelemetry" not in done.stderr
    assert "import 'prometheus_client" not in done.stderr
