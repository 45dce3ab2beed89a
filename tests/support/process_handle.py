"""One child process as its parent sees it."""

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import frozen

from .fork_server import ForkedProcess


class ProcessFailedError(AssertionError):
    """A child failed or was too slow; the message carries its stderr."""

    def __init__(self, title: str, reason: str, stderr: str) -> None:
        super().__init__(f"{title}: {reason}; its stderr:\n{stderr[-8000:]}")


@frozen
class ProcessResult:
    """How a child ended; `returncode` is negative after a signal, `value` is None if the child wrote no value."""

    returncode: int
    value: Any
    stdout: str
    stderr: str


class ProcessHandle:
    """A started child, which waits at the barrier until `go`."""

    def __init__(
        self,
        title: str,
        process: "ForkedProcess | subprocess.Popen[bytes]",
        files: Mapping[str, Path],
        go_pipe: int,
        started_pipe: int,
    ) -> None:
        self.title = title
        self.killed = False
        self._process = process
        self._files = files
        self._go_pipe = go_pipe
        self._started_pipe = started_pipe

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def stdout(self) -> str:
        """What the child has printed so far."""
        return self._files["stdout"].read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What the child has written to stderr so far."""
        return self._files["stderr"].read_text(errors="replace")

    def wait_until_started(self, deadline: float) -> None:
        """Wait until the child has reached the barrier; `deadline` is a time of `time.monotonic`."""
        ready, _, _ = select.select([self._started_pipe], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise ProcessFailedError(self.title, "did not start up in time", self.stderr)
        if os.read(self._started_pipe, 1) == b"":
            self._process.wait()
            raise ProcessFailedError(self.title, "ended before the barrier", self.stderr)

    def go(self) -> None:
        """Release the child."""
        with suppress(BrokenPipeError):
            os.write(self._go_pipe, b"g")

    def wait_for_output(self, text: str, timeout: float = 120.0) -> None:
        """Wait until the child's stdout contains `text`."""
        deadline = time.monotonic() + timeout
        while text not in self.stdout:
            ended = self._process.poll() is not None
            if text in self.stdout:
                return
            if ended or time.monotonic() > deadline:
                raise ProcessFailedError(self.title, f"never printed {text!r}", self.stderr)
            time.sleep(0.002)

    def kill(self) -> None:
        """End the child as `kill -9` does, and wait until it is gone."""
        self.killed = True
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Stop the child where it is, as a suspended machine would."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused child go on."""
        self._process.send_signal(signal.SIGCONT)

    def wait(self, timeout: float) -> ProcessResult:
        """Wait for the child's end; raise, with its stderr, if it takes longer than `timeout` seconds."""
        try:
            returncode = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ProcessFailedError(self.title, f"still ran after {timeout:.1f} s", self.stderr) from None
        value = None
        with suppress(FileNotFoundError):
            value = json.loads(self._files["value"].read_text())
        return ProcessResult(returncode, value, self.stdout, self.stderr)

    def close(self) -> None:
        """Kill the child if it still runs, and free the pipes."""
        if self._process.poll() is None:
            self.kill()
        os.close(self._go_pipe)
        os.close(self._started_pipe)
