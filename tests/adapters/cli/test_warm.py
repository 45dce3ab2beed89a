"""A run in a fork of the warm process behaves like a run in a new process."""

import os
import signal
import subprocess
import time

import pytest
from tests.adapters.cli.command import PROGRAM, quick_program
from tests.support import warm

pytestmark = pytest.mark.skipif(not warm.is_supported(), reason="the system has no process descriptors")


@pytest.mark.parametrize("arguments", [("--version",), ("heath",), ("generate-secret", "--help"), ("list", "t1")])
def test_it_says_and_ends_with_the_same(bare, arguments):
    done = [
        subprocess.run([*program, *arguments], cwd=bare.folder, env=bare.environment(), capture_output=True, timeout=60)
        for program in (quick_program(), PROGRAM)
    ]
    assert (done[0].returncode, done[0].stdout, done[0].stderr) == (done[1].returncode, done[1].stdout, done[1].stderr)


def test_it_ends_with_whoever_waits_for_it(token_vault):
    reading, writing = os.pipe()
    with (
        open(writing, "wb"),
        subprocess.Popen(
            [*quick_program(), "store", "t1", "google", "api_key"],
            stdin=reading,
            stdout=subprocess.PIPE,
            cwd=token_vault.folder,
            env=token_vault.environment(),
        ) as client,
    ):
        os.close(reading)
        time.sleep(0.3)
        client.send_signal(signal.SIGKILL)
        assert client.stdout.read() == b""  # no process holds the pipe's other end any more
    assert token_vault("get", "t1", "google", "api_key").code == 4
