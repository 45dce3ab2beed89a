"""Faults at awaits: an ambush lets some calls of ports pass, and then strikes the process that makes the next one."""

import asyncio

from tests.simulation.loop import PROCESS, Life


class Ambush:
    """Counts points, one before and one after each call of a port, and strikes at one of them.

    Attributes:
        is_set: whether an ambush is set; read before each call, so it must be cheap.
    """

    def __init__(self, loop):
        self._loop, self.is_set = loop, False
        self._left, self._strike = 0, None

    def set(self, calls, strike):
        """Call ``strike`` with the process that passes the last of the next ``calls`` points."""
        self.is_set, self._left, self._strike = True, calls, strike

    async def around(self, call):
        """Run a call of a port between two points."""
        await self.point()
        try:
            return await call()
        finally:
            await self.point()

    async def point(self):
        """Pass a point: a process that is killed here never continues, and a stopped one continues later."""
        process = PROCESS.get()
        if not self.is_set or process is None:
            return
        self._left -= 1
        if self._left <= 0:
            self.is_set = False
            self._strike(process)
        if process.life is Life.DEAD:
            await self._loop.create_future()
        elif process.life is Life.FROZEN:
            await asyncio.sleep(0)
