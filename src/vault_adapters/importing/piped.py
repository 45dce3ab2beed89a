"""Reads lines from a pipe or a terminal without blocking the event loop."""

import asyncio
import os
import threading
from contextlib import suppress

_PIECE = 64 * 1024


class PipedLines:
    """A stream of lines; await `wait` before each `readline`.

    An ordinary read from a slow producer would block the event loop. A running transaction of the import could not end
    meanwhile, so this transaction would block all other writers.

    Args:
        descriptor: file descriptor of the pipe; it stays open.
        most: when this number of bytes is buffered, do not wait any longer for a line's end.
    """

    def __init__(self, descriptor: int, most: int) -> None:
        self._descriptor = descriptor
        self._most = most
        self._held = bytearray()
        self._has_ended = False
        self._is_skipping = False

    def has_line(self) -> bool:
        """Return whether `readline` returns without waiting, because a line, ``most`` bytes or the end has arrived."""
        return self._has_ended or b"\n" in self._held or len(self._held) >= self._most

    async def wait(self) -> None:
        """Wait until `has_line` is True."""
        while not self.has_line():
            self._take(await _read_in_a_thread(self._descriptor))

    def readline(self, most: int) -> bytes:
        """Return a line with its end, or ``most`` bytes of the line; block until these bytes have arrived.

        At the end of the stream, return what is left.
        """
        while (end := self._held.find(b"\n", 0, most)) < 0 and len(self._held) < most and not self._has_ended:
            self._take(os.read(self._descriptor, _PIECE))
        size = end + 1 or min(most, len(self._held))
        line = bytes(self._held[:size])
        del self._held[:size]
        return line

    def skip_rest(self) -> None:
        """Drop the rest of the current line, of which `readline` has returned a part; drop it as it arrives."""
        self._is_skipping = True
        self._take_away()

    def _take(self, piece: bytes) -> None:
        self._held += piece
        self._has_ended = not piece
        if self._is_skipping:
            self._take_away()

    def _take_away(self) -> None:
        """Drop what is held of the line to skip."""
        end = self._held.find(b"\n")
        self._is_skipping = end < 0
        del self._held[: end + 1 or len(self._held)]


async def _read_in_a_thread(descriptor: int) -> bytes:
    """Wait for bytes in a thread and return them. The thread is a daemon, so that a silent pipe cannot delay the exit.

    The bytes travel in a list, and not as a future's result or a callback's argument, because asyncio's debug mode logs
    both.
    """
    loop = asyncio.get_running_loop()
    is_read: asyncio.Future[None] = loop.create_future()
    pieces: list[bytes] = []

    def settle(failure: OSError | None) -> None:
        if is_read.done():
            return  # the waiting task was cancelled
        if failure is not None:
            is_read.set_exception(failure)
        else:
            is_read.set_result(None)

    def work() -> None:
        failure: OSError | None = None
        try:
            pieces.append(os.read(descriptor, _PIECE))
        except OSError as error:
            failure = error
        with suppress(RuntimeError):  # the loop was closed
            loop.call_soon_threadsafe(settle, failure)

    threading.Thread(target=work, name="token-vault import", daemon=True).start()
    await is_read
    return pieces[0]
