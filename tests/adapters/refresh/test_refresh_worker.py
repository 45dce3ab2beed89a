"""`RefreshWorker`, and the two commands that refresh."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import time
from datetime import timedelta

import pytest
from tests.adapters.cli.command import PROGRAM, CommandLine
from tests.adapters.refresh.refresh_kit import HOUR, MINUTE, SECRET, Gate, answer, store, stored
from tests.support.scripted_provider import error_answer, token_answer

from vault_adapters import Account, InvalidInputError, RefreshWorker, StorageError, open_vault
from vault_adapters.testing import ScriptedRefresher

pytestmark = pytest.mark.real_scrypt

SOON = timedelta(seconds=0.05)


@pytest.fixture
async def vault(sqlite_config, clock):
    """A vault with an account that is due."""
    refresher = ScriptedRefresher(*[answer(number) for number in range(1, 5)])
    async with open_vault(sqlite_config, refreshers={"acme": refresher}, clock=clock) as vault:
        await store(vault)
        clock.advance(HOUR)
        yield vault


async def test_it_sweeps_again_and_again(vault, clock, caplog):
    reports = []

    def note(report):
        reports.append(report.refreshed)
        clock.advance(HOUR)
        if len(reports) == 3:
            worker.stop()

    worker = RefreshWorker(vault, interval=SOON, on_sweep=note)
    with caplog.at_level(logging.INFO, "vault_adapters.runtime.worker"):
        async with asyncio.timeout(20):
            await worker.run()
    assert reports == [1, 1, 1]
    lines = [record.getMessage() for record in caplog.records if record.name == "vault_adapters.runtime.worker"]
    assert lines == ["sweep: 1 claimed, 1 refreshed"] * 3
    assert (await stored(vault))["access_token"] == "access-3"


async def test_an_error_of_one_sweep_does_not_end_it(vault, caplog):
    class Flaky:
        """A vault whose first sweep hits a bug, and whose second sweep finds the database away."""

        def __init__(self):
            self._errors = [StorageError(), ZeroDivisionError("access-0")]

        async def refresh_due(self, **options):
            if self._errors:
                raise self._errors.pop()
            return await vault.refresh_due(**options)

    def stop(report):
        worker.stop()
        raise RuntimeError("access-0")

    worker = RefreshWorker(Flaky(), interval=SOON, on_sweep=stop)
    async with asyncio.timeout(20):
        await worker.run()
    assert (await stored(vault))["access_token"] == "access-1"
    messages = [record.getMessage() for record in caplog.records if record.name == "vault_adapters.runtime.worker"]
    assert messages == [
        "a sweep ended with ZeroDivisionError; the next one follows",
        "a sweep failed (storage); the next one follows",
        "on_sweep raised RuntimeError",
    ]
    assert "access-0" not in caplog.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it_when_what_is_under_way_has_ended(sqlite_config, clock, number):
    before = signal.getsignal(number)
    gate = Gate(answer(1))
    async with open_vault(sqlite_config, refreshers={"acme": ScriptedRefresher(gate)}, clock=clock) as vault:
        await store(vault)
        clock.advance(HOUR)
        running = asyncio.create_task(RefreshWorker(vault).run())
        await gate.reached.wait()
        os.kill(os.getpid(), number)
        await asyncio.sleep(0.1)
        assert not running.done()
        gate.open.set()
        async with asyncio.timeout(10):
            await running
        assert (await stored(vault))["access_token"] == "access-1"
    assert signal.getsignal(number) is before


async def test_a_signal_ends_the_pause(vault):
    running = asyncio.create_task(RefreshWorker(vault, interval=HOUR).run())
    await asyncio.sleep(0.3)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(10):
        await running


async def test_it_ends_although_a_previous_handler_was_not_set_from_python(vault, monkeypatch):
    """A program that embeds Python may set a handler by itself. For such a handler, ``getsignal`` returns None."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    try:
        running = asyncio.create_task(RefreshWorker(vault, interval=HOUR).run())
        await asyncio.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(10):
            await running
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def test_a_stop_ends_a_long_sweep(sqlite_config, clock):
    refresher = ScriptedRefresher(*[answer(1)] * 100)
    async with open_vault(sqlite_config, refreshers={"acme": refresher}, clock=clock) as vault:
        for number in range(60):
            await store(vault, account=Account("t1", "acme", f"user-{number}"))
        clock.advance(HOUR)
        report = await vault.refresh_due(should_stop=lambda: bool(refresher.calls))
        assert report.refreshed == len(refresher.calls) == 20
        assert (await vault.refresh_due()).refreshed == 40


async def test_signals_are_left_to_the_host_where_it_says_so(vault):
    worker = RefreshWorker(vault, interval=HOUR)
    before = signal.getsignal(signal.SIGTERM)
    running = asyncio.create_task(worker.run(handle_signals=False))
    await asyncio.sleep(0.1)
    assert signal.getsignal(signal.SIGTERM) is before
    worker.stop()
    await running


@pytest.mark.parametrize("interval", [timedelta(0), -MINUTE, 60])
async def test_odd_intervals_are_refused(vault, interval):
    with pytest.raises(InvalidInputError):
        RefreshWorker(vault, interval=interval)


# The commands

REFRESHERS = """
from vault_adapters.providers import OAuth2Refresher

url = "{url}"
refreshers = {{"acme": OAuth2Refresher(url, "client", "client-secret")}}
nothing = {{}}
number = 7

def make():
    return refreshers

def broken():
    raise RuntimeError("a-secret")
"""


@pytest.fixture
def command(tmp_path, provider, sqlite_config):
    (tmp_path / "hosts_refreshers.py").write_text(REFRESHERS.format(url=provider.token_url))
    variables = {
        "DATABASE_URL": sqlite_config.database_url.reveal(),
        "ENCRYPTION_SECRET": SECRET.reveal(),
        "TOKEN_VAULT_SCRYPT_LOG2_N": "14",
    }
    return CommandLine(tmp_path, variables)


@pytest.fixture
def filled(sqlite_config):
    """Open a vault, store an account that is due, and close the vault."""

    async def fill():
        async with open_vault(sqlite_config) as vault:
            await store(vault, lifetime=timedelta(seconds=0))

    asyncio.run(fill())


WHERE = ("--refreshers", "hosts_refreshers:refreshers")


@pytest.mark.usefixtures("filled")
async def test_refresh(command, provider, sqlite_config):
    provider.answer(token_answer("access-1", "refresh-1"), token_answer("access-2", "refresh-2"))
    who = ("t1", "acme", "--identifier", "ann@example.com")
    done = await asyncio.to_thread(command, "refresh", *who, *WHERE)
    assert (done.code, done.stderr) == (0, "")
    assert "connected" in done.out
    named = {"TOKEN_VAULT_REFRESHERS": "hosts_refreshers:make"}
    done = await asyncio.to_thread(lambda: command("refresh", *who, "--json", **named))
    assert (done.code, json.loads(done.out)["state"]) == (0, "connected")
    assert "access-2" not in done.out
    async with open_vault(sqlite_config) as vault:
        assert await stored(vault) == {"access_token": "access-2", "refresh_token": "refresh-2"}


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("answered", "arguments", "code"),
    [
        (None, ("t1", "acme", *WHERE), 4),
        (error_answer("invalid_grant"), ("t1", "acme", "--identifier", "ann@example.com", *WHERE), 9),
        (error_answer("temporarily_unavailable"), ("t1", "acme", "--identifier", "ann@example.com", *WHERE), 10),
        (error_answer("invalid_client"), ("t1", "acme", "--identifier", "ann@example.com", *WHERE), 12),
        (None, ("t1", "acme"), 3),
        (None, ("t1", "acme", "--refreshers", "no spaces:please"), 2),
        (None, ("t1", "acme", "--refreshers", "hosts_refreshers"), 2),
        (None, ("t1", "acme", "--refreshers", "hosts_refreshers:absent"), 3),
        (None, ("t1", "acme", "--refreshers", "hosts_refreshers:nothing"), 4),  # an empty mapping is allowed
        (None, ("t1", "acme", "--refreshers", "hosts_refreshers:number"), 3),
        (None, ("t1", "acme", "--refreshers", "hosts_refreshers:broken"), 3),
        (None, ("t1", "acme", "--refreshers", "no_such_module:refreshers"), 3),
    ],
)
def test_refresh_says_what_is_wrong(command, provider, answered, arguments, code):
    if answered is not None:
        provider.answer(answered)
    done = command("refresh", *arguments)
    assert done.code == code
    assert done.out == ""
    assert done.stderr.startswith("token-vault: ")
    assert done.stderr.count("\n") == 1
    for quoted in ("a-secret", "no spaces", "absent", "no_such"):
        assert quoted not in done.stderr


@pytest.mark.usefixtures("filled")
def test_the_working_directory_replaces_no_module(command, provider):
    provider.answer(token_answer("access-1", "refresh-1"))
    for name in ("colorsys.py", "cryptography.py", "httpx2.py"):
        (command.folder / name).write_text("raise SystemExit('taken from the working directory')\n")
    (command.folder / "needs_the_library.py").write_text("import colorsys\nfrom hosts_refreshers import refreshers\n")
    # Unlike the installed command, `-m` puts the working directory first on the path, unless PYTHONSAFEPATH is set.
    done = command("worker", "--once", "--refreshers", "needs_the_library:refreshers", PYTHONSAFEPATH="1")
    assert (done.code, done.stderr) == (0, "")
    assert done.out.endswith("Z sweep: 1 claimed, 1 refreshed\n")


@pytest.mark.usefixtures("filled")
def test_a_file_of_the_working_directory_is_no_optional_module_of_a_library(command, provider, tmp_path):
    provider.answer(token_answer("access-1", "refresh-1"))
    library = tmp_path / "installed"
    library.mkdir()
    tries = "try:\n    import {0}\nexcept ImportError:\n    {0} = None\n"
    (library / "a_library.py").write_text(
        tries.format("brotli_of_nobody") + "def later():\n    import brotli_of_nobody\n"
    )
    planted = "import os\nopen('planted', 'a').write(os.environ['ENCRYPTION_SECRET'])\n"
    for name in ("brotli_of_nobody", "brotli", "brotlicffi", "zstandard", "socksio", "h2", "uvloop"):
        (command.folder / f"{name}.py").write_text(planted)
    (command.folder / "hosts_settings.py").write_text("import a_library\nfrom hosts_refreshers import refreshers\n")
    (command.folder / "host").mkdir()
    (command.folder / "host" / "tokens.py").write_text(
        "import a_library\n"
        "from contextlib import suppress\n"
        "with suppress(ImportError):\n"
        "    a_library.later()\n"
        "def refreshers():\n"
        "    import hosts_settings\n"
        "    return hosts_settings.refreshers\n"
    )
    path = {"PYTHONPATH": f"{command.environment()['PYTHONPATH']}:{library}", "PYTHONSAFEPATH": "1"}
    done = command("worker", "--once", "--refreshers", "host.tokens:refreshers", **path)
    assert (done.code, done.stderr) == (0, "")
    assert done.out.endswith("Z sweep: 1 claimed, 1 refreshed\n")
    assert not (command.folder / "planted").exists()


@pytest.mark.usefixtures("filled")
def test_worker_once(command, provider):
    provider.answer(token_answer("access-1", "refresh-1"))
    done = command("worker", "--once", *WHERE)
    assert (done.code, done.stderr) == (0, "")
    assert done.out.endswith("Z sweep: 1 claimed, 1 refreshed\n")
    assert command("worker", "--once", *WHERE).out.endswith("Z sweep: 0 claimed\n")
    assert command("worker", "--interval", "soon", *WHERE).code == 2


@pytest.mark.usefixtures("filled")
def test_worker_ends_on_a_signal(command, provider):
    provider.answer(token_answer("access-1", "refresh-1"))
    process = subprocess.Popen(
        [*PROGRAM, "worker", "--interval", "1s", *WHERE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=command.folder,
        env=command.environment(),
    )
    with process:
        assert process.stdout.readline().endswith("Z worker started: a sweep every 1 s\n")
        assert process.stdout.readline().endswith("sweep: 1 claimed, 1 refreshed\n")
        assert process.stdout.readline().endswith("sweep: 0 claimed\n")
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, complaints = process.communicate(timeout=20)
    assert (process.returncode, complaints) == (0, "")
    assert time.monotonic() - started < 10


@pytest.mark.usefixtures("filled")
def test_worker_on_a_terminal(command, provider):
    provider.answer(token_answer("access-1", "refresh-1"))
    done = command.on_terminal("worker", "--once", *WHERE)
    assert done.code == 0
    assert "sweep: 1 claimed, 1 refreshed" in done.out


async def test_in_a_block_it_runs_beside_the_host_and_lets_refreshes_end(sqlite_config, clock):
    """A host runs the worker in a block, which leaves signals alone. The block's end waits for a running refresh."""
    gate, before = Gate(answer(1)), signal.getsignal(signal.SIGTERM)
    async with open_vault(sqlite_config, refreshers={"acme": ScriptedRefresher(gate)}, clock=clock) as vault:
        await store(vault)
        clock.advance(HOUR)

        async def host():
            async with asyncio.timeout(20), RefreshWorker(vault, interval=HOUR):
                await gate.reached.wait()
                assert signal.getsignal(signal.SIGTERM) is before

        ending = asyncio.create_task(host())
        await gate.reached.wait()
        await asyncio.sleep(0.1)
        assert not ending.done()
        gate.open.set()
        await ending
        assert (await stored(vault))["access_token"] == "access-1"


async def test_a_worker_is_not_entered_twice(vault):
    worker = RefreshWorker(vault, interval=HOUR)
    async with worker:
        with pytest.raises(InvalidInputError, match="runs once"):
            async with worker:
                pass
