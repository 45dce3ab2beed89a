"""Lines of a pipe or a terminal: what has not come yet is waited for without holding up the event loop."""

import asyncio
import os
import threading
from contextlib import suppress

_PIECE = 64 * 1024


class PipedLines:
    """Read by `readline` like a stream; `wait` first.

    A producer may be slow, or stall. Read in the ordinary way it would stop the event loop, and with it a transaction
    in the middle, which everybody else who writes waits for.

    Args:
        descriptor: of the pipe; it stays open.
        most: how many bytes of a line without an end are waited for, and held.
    """

    def __init__(self, descriptor: int, most: int) -> None:
        self._descriptor = descriptor
        self._most = most
        self._held = bytearray()
        self._has_ended = False

    def has_line(self) -> bool:
        """Whether a line, so many bytes of one, or the end can be read without waiting."""
        return self._has_ended or b"\n" in self._held or len(self._held) >= self._most

    async def wait(self) -> None:
        """Return once that is so."""
        while not self.has_line():
            self._take(await _read_in_a_thread(self._descriptor))

    def readline(self, most: int) -> bytes:
        """Return a line with its end, or so many bytes of it; it waits for what `wait` did not, a row's second line."""
        while (end := self._held.find(b"\n", 0, most)) < 0 and len(self._held) < most and not self._has_ended:
            self._take(os.read(self._descriptor, _PIECE))
        size = end + 1 or min(most, len(self._held))
        line = bytes(self._held[:size])
        del self._held[:size]
        return line

    def _take(self, piece: bytes) -> None:
        self._held += piece
        self._has_ended = not piece


async def _read_in_a_thread(descriptor: int) -> bytes:
    """Read what there is. The thread is a daemon: one that waits for a pipe must not keep the process from ending."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()

    def settle(piece: bytes | OSError) -> None:
        if answer.done():
            return  # nobody waits any more
        if isinstance(piece, OSError):
            answer.set_exception(piece)
        else:
            answer.set_result(piece)

    def work() -> None:
        piece: bytes | OSError
        try:
            piece = os.read(descriptor, _PIECE)
        except OSError as error:
            piece = error
        with suppress(RuntimeError):  # the loop was closed
            loop.call_soon_threadsafe(settle, piece)

    threading.Thread(target=work, name="token-vault import", daemon=True).start()
    return await answer
