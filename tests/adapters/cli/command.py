"""Runs the real command in a process of its own, with pipes or on a terminal."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

from attrs import field, frozen
from tests.support import warm

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = [sys.executable, "-m", "vault_adapters.cli"]
WARM = Path(__file__).with_name("warm_command.py")
_PATIENCE_SECONDS = 90.0
CONFIGURED = ("DATABASE_URL", "ENCRYPTION_SECRET", "TOKEN_VAULT_")


def clean_environment() -> dict[str, str]:
    """The tests' environment without anything that configures a vault or a terminal."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(CONFIGURED)}
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        kept.pop(name, None)
    return {**kept, "PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error"}


def quick_program() -> list[str]:
    """Return the beginning of a command line; where the system allows, it runs in a fork of a warm process."""
    return warm.program(WARM, clean_environment()) if warm.is_supported() else PROGRAM


@frozen
class Result:
    """The result of a run."""

    code: int
    stdout: bytes
    stderr: str = ""

    @property
    def out(self) -> str:
        return self.stdout.decode()


@frozen
class CommandLine:
    """`token-vault` with an environment and a working directory.

    Attributes:
        folder: the working directory.
        variables: the environment variables that configure it.
    """

    folder: Path
    variables: dict[str, str] = field(factory=dict)

    def __call__(self, *arguments: str, stdin: str | bytes = b"", **variables: str) -> Result:
        """Run the command with pipes, in a fork of a warm process unless a variable configures the interpreter."""
        is_fresh = any(name.startswith("PYTHON") for name in {**self.variables, **variables})
        done = subprocess.run(
            [*(PROGRAM if is_fresh else quick_program()), *arguments],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            cwd=self.folder,
            env=self.environment(**variables),
            timeout=60,
        )
        return Result(done.returncode, done.stdout, done.stderr.decode())

    def environment(self, **variables: str) -> dict[str, str]:
        return {**clean_environment(), **self.variables, **variables}

    def on_terminal(self, *arguments: str, typed: str = "", columns: int = 100, to: Path | None = None) -> Result:
        """Run the command on a terminal of its own; the result's `stdout` holds what it shows.

        This is both output streams, or only standard error if standard output goes to the file `to`.

        Whatever asks for input runs in a process of its own, because a fork of the warm process cannot open `/dev/tty`
        and gets no interrupt from the terminal.
        """
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        output = os.dup(theirs) if to is None else os.open(to, os.O_WRONLY | os.O_CREAT)
        process = subprocess.Popen(
            [*(PROGRAM if typed else quick_program()), *arguments],
            stdin=theirs,
            stdout=output,
            stderr=theirs,
            cwd=self.folder,
            env=self.environment(TERM="xterm-256color"),
            start_new_session=True,
            preexec_fn=take_terminal if typed else None,  # noqa: PLW1509 - no threads run here
        )
        os.close(theirs)
        os.close(output)
        try:
            shown = _read_all(ours, typed.encode())
        except TimeoutError:
            process.kill()
            process.wait()
            raise
        finally:
            os.close(ours)
        return Result(process.wait(timeout=60), shown)


def heed_interrupts() -> None:
    """Make interrupts end this process; a child calls this before it executes the program.

    A process that a shell starts in the background ignores interrupts, and its children inherit this. The test run may
    be such a process.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def take_terminal() -> None:
    heed_interrupts()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _read_all(terminal: int, typed: bytes) -> bytes:
    shown, typed_last = b"", b""
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        if not select.select([terminal], [], [], 1.0)[0]:
            if time.monotonic() > end:
                raise TimeoutError("the program neither writes nor ends")
            if typed_last == b"\x03":
                # If an interrupt comes between Python's check for signals and its read, Python does not notice it until
                # the next interrupt. So send another one, as a person would.
                os.write(terminal, typed_last)
            continue
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux raises EIO if the other end was closed
            return shown
        if not piece:
            return shown
        shown += piece
        if typed and shown.rstrip().endswith(b":"):  # the program asks for input
            os.write(terminal, typed)
            typed, typed_last = b"", typed
