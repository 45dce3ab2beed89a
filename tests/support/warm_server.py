"""Runs a Python program in forks of a process that has already imported it, so that a run takes no time for imports.

The program's file calls `serve` after its imports, and then does what a run does. A run's standard streams, arguments,
environment and folder come over a socket from `warm_client.py`; its exit code goes back the same way.
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
from typing import Any, NoReturn

from tests.support.scrypt import derive_as_the_parent

_MOST_BYTES = 1 << 20
_KILLED = 128


def serve(address: str, program: str) -> None:
    """Take runs until the pipe on standard input ends; return only in the process of a run.

    Args:
        address: path of the socket.
        program: what `sys.argv` of a run begins with.
    """
    # A garbage collection in a run would write to each object, and so copy its memory. So all objects are frozen.
    gc.collect()
    gc.freeze()
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
                    _supervise(connection, program)
                    return


def _supervise(connection: socket.socket, program: str) -> None:
    """Start the program and send its exit code to the client; return only in the program's process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, streams, _, _ = socket.recv_fds(connection, _MOST_BYTES, 3)
    process = os.fork()
    if process == 0:
        _become(program, marshal.loads(message), streams)  # written by our own client
        return
    for stream in (*streams, 0, 1, 2):
        os.close(stream)
    ready, _, _ = select.select([connection, os.pidfd_open(process)], [], [])
    if connection in ready:  # the client has ended, so nobody waits for the program
        os.kill(process, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if connection not in ready:
        connection.send(bytes([code if code >= 0 else _KILLED - code]))
    os._exit(0)


def _become(program: str, run: dict[str, Any], streams: list[int]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(run["folder"])
    os.environ.clear()
    os.environ.update(run["environment"])
    derive_as_the_parent()
    time.tzset()
    sys.argv = [program, *run["arguments"]]


def end_without_clearing(code: int) -> NoReturn:
    """End as an interpreter does, but do not clear the modules, because that copies the memory of the server."""
    threading._shutdown()  # type: ignore[attr-defined] # waits for threads
    atexit._run_exitfuncs()
    gc.collect()  # warns of what the program has left open
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
