"""Runs `token-vault` in forks of a process that has already imported it, so that a run takes no time for imports.

This module is a script, so the first entry of `sys.path` is this folder. Each run replaces this entry with its own
folder, because the program must not import modules of the tests. A run's standard streams, arguments, environment and
folder come over a socket from `warm_client.py`; its exit code goes back the same way.
"""

import atexit
import gc
import marshal
import os
import select
import signal
import socket
import sys
import threading
import time
from importlib import import_module
from typing import Any, NoReturn

import vault_adapters.cli.__main__
from vault_adapters.cli.__main__ import main
from vault_adapters.cli.application import build

# Modules that a command imports only when it needs them; `build()` names the modules of all commands.
_LATER = (
    *("aiosqlite", "anyio._backends._asyncio", "cyclopts.help", "docstring_parser", "psycopg_pool"),
    *("rich.console", "rich.markdown", "rich.progress", "rich.table"),
    *("vault_adapters.cli.plain", "vault_adapters.stores.postgres.store"),
)
_MOST_BYTES = 1 << 20
_KILLED = 128


def _serve(address: str) -> None:
    """Take runs until the pipe on standard input ends; return only in the process of a run."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the server does not wait for its supervisors
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(address)
        listening.listen(64)
        os.write(1, b"ready")
        while True:
            ready, _, _ = select.select([listening, 0], [], [])
            if 0 in ready:
                os.unlink(address)
                os._exit(0)
            connection, _ = listening.accept()
            with connection:
                if os.fork() == 0:
                    _supervise(connection)
                    return


def _supervise(connection: socket.socket) -> None:
    """Start the program and send its exit code to the client; return only in the program's process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, streams, _, _ = socket.recv_fds(connection, _MOST_BYTES, 3)
    program = os.fork()
    if program == 0:
        _become(marshal.loads(message), streams)  # written by our own client
        return
    for stream in (*streams, 0, 1, 2):
        os.close(stream)
    ready, _, _ = select.select([connection, os.pidfd_open(program)], [], [])
    if connection in ready:  # the client has ended, so nobody waits for the program
        os.kill(program, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
    if connection not in ready:
        connection.send(bytes([code if code >= 0 else _KILLED - code]))
    os._exit(0)


def _become(run: dict[str, Any], streams: list[int]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(run["folder"])
    os.environ.clear()
    os.environ.update(run["environment"])
    time.tzset()
    sys.path[0] = run["folder"]  # as `python -m` has it
    sys.argv = [vault_adapters.cli.__main__.__file__, *run["arguments"]]


def _end_without_clearing(code: int) -> NoReturn:
    """End as an interpreter does, but do not clear the modules, because that copies the memory of the server."""
    threading._shutdown()  # type: ignore[attr-defined] # waits for threads
    atexit._run_exitfuncs()
    gc.collect()  # warns of what the program has left open
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    application = build()
    for name in application:
        application[name]  # loads the module of a command
    for module in _LATER:
        import_module(module)
    # A garbage collection in a run would write to each object, and so copy its memory. So all objects are frozen.
    gc.collect()
    gc.freeze()
    _serve(sys.argv[1])
    _end_without_clearing(main())
