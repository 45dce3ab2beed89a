"""A pipe whose producer is slow: nobody else waits for it, and an interrupt ends the command at once."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from tests.adapters.cli.command import heed_interrupts
from tests.adapters.importing.conftest import json_lines, plain_row

from vault_adapters.importing.lines import read_lines
from vault_adapters.importing.piped import PipedLines

pytestmark = pytest.mark.real_scrypt


@contextmanager
def importing(token_vault):
    """Run an import that reads from a pipe."""
    command = [sys.executable, "-m", "vault_adapters.cli", "import", "--format", "tokens", "-", "--json"]
    process = subprocess.Popen(
        command,
        cwd=token_vault.folder,
        env=token_vault.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=heed_interrupts,  # noqa: PLW1509 - it only sets a signal's handler, which needs no lock
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def feed(process, rows):
    process.stdin.write(json_lines(*rows))
    process.stdin.flush()


def stored_by(token_vault, identifier):
    """Wait until a row is stored; return false if that takes too long."""
    for _ in range(200):
        if token_vault("get", "t1", "google", "refresh_token", "--identifier", identifier).code == 0:
            return True
        time.sleep(0.05)
    return False


def test_a_producer_that_stalls_holds_nobody_up(token_vault):
    with importing(token_vault) as process:
        feed(process, [plain_row(str(number), "v") for number in range(1192)])
        assert stored_by(token_vault, "999")  # the last row of the first batch; the second batch is incomplete
        started = time.monotonic()
        assert token_vault("store", "other", "p", "api_key", stdin="v").code == 0
        assert time.monotonic() - started < 20  # SQLite would wait 30 seconds for an open write transaction
        feed(process, [plain_row("last", "v")])
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert b'"imported": 1193' in out


def test_one_interrupt_ends_it(token_vault):
    with importing(token_vault) as process:
        feed(process, [plain_row(str(number), "v") for number in range(1100)])
        assert stored_by(token_vault, "999")
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert time.monotonic() - started < 15  # closing a vault waits up to 20 seconds for unfinished work
        assert process.stderr.read() == b""


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield PipedLines(reading, 300_000), writing
    os.close(reading)


async def test_lines_come_as_they_were_written(pipe):
    lines, writing = pipe
    written = [b"one\n", b"\n", b"x" * 200_000 + b"\n", b"no end"]

    def write():
        for piece in written:
            os.write(writing, piece)
        os.close(writing)

    thread = threading.Thread(target=write)
    thread.start()
    found = []
    for _ in written:
        await lines.wait()
        found.append(lines.readline(300_000))
    thread.join()
    assert found == written
    await lines.wait()
    assert lines.readline(10) == b""


async def test_debug_mode_logs_no_piece(pipe, caplog):
    """asyncio's debug mode logs slow callbacks with their arguments, and futures with their results."""
    lines, writing = pipe
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    try:
        waiting = asyncio.create_task(lines.wait())
        await asyncio.sleep(0.01)
        os.write(writing, b"a token of a dump\n")
        await waiting
    finally:
        loop.set_debug(False)
        os.close(writing)
    assert lines.readline(100) == b"a token of a dump\n"
    assert caplog.records
    assert "a token" not in caplog.text


async def test_a_long_line_comes_in_pieces(pipe):
    lines, writing = pipe
    os.write(writing, b"abcdefgh\nij")
    os.close(writing)
    await lines.wait()
    assert [lines.readline(3) for _ in range(6)] == [b"abc", b"def", b"gh\n", b"ij", b"", b""]


async def test_a_line_without_an_end_is_not_held_for_ever(pipe):
    lines, writing = pipe
    stop = threading.Event()

    def write():
        while not stop.is_set():
            os.write(writing, b"x" * 60_000)

    thread = threading.Thread(target=write)
    thread.start()
    await lines.wait()
    assert lines.readline(300_000) == b"x" * 300_000
    assert len(lines._held) < 100_000
    stop.set()
    os.set_blocking(lines._descriptor, False)
    while thread.is_alive():
        try:
            os.read(lines._descriptor, 1_000_000)
        except BlockingIOError:
            await asyncio.sleep(0.01)
    os.close(writing)


def test_a_closed_standard_input_is_an_empty_one(token_vault):
    command = f"{sys.executable} -m vault_adapters.cli import --format tokens - --json <&-"
    done = subprocess.run(
        ["bash", "-c", command], cwd=token_vault.folder, env=token_vault.environment(), capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b'"imported": 0' in done.stdout


async def test_the_rest_of_a_line_that_is_too_long_holds_nobody_up(monkeypatch):
    """The producer writes more than the limit and stalls; the reader waits for the rest where others can run."""
    monkeypatch.setattr("vault_adapters.importing.lines.MOST_BYTES", 1000)
    reading, writing = os.pipe()
    lines = PipedLines(reading, 1001)
    found = read_lines(lines)
    os.write(writing, b"x" * 1200)
    await lines.wait()
    failures = []
    thread = threading.Thread(target=lambda: failures.append(next(found)), daemon=True)  # a blocked one ends no test
    thread.start()
    thread.join(5)
    assert [failure.code for failure in failures] == ["line_too_long"]
    os.write(writing, b"still the same line")
    waiting = asyncio.create_task(lines.wait())
    await asyncio.sleep(0.1)
    assert not waiting.done()
    os.write(writing, b" ends\nthe next\n")
    await asyncio.wait_for(waiting, 5)
    assert next(found).text == "the next\n"
    os.close(writing)
    await lines.wait()
    assert list(found) == []
    os.close(reading)
