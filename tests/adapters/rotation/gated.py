"""A store of which each call stops before and after it, so that a test can do something else there."""

import inspect


class Gate:
    """Counts the moments between a vault's calls of its store, and does something at one of them.

    Args:
        at: at which moment, from 0; None: only count.
        act: what to do there, a coroutine function.
    """

    def __init__(self, at=None, act=None):
        self.at = at
        self.act = act
        self.moments = 0
        self.names = []
        self._busy = False

    async def pass_by(self, name):
        if self._busy:
            return
        moment, self.moments = self.moments, self.moments + 1
        self.names.append(name)
        if moment == self.at:
            self._busy = True
            try:
                await self.act()
            finally:
                self._busy = False


class GatedPort:
    """One port of a store, real but for the gate."""

    def __init__(self, port, gates):
        self._port = port
        self._gates = gates

    def __getattr__(self, name):
        member = getattr(self._port, name)
        if not inspect.iscoroutinefunction(member):
            return member

        async def gated(*args, **kwargs):
            await self._gates.gate.pass_by(f"before {name}")
            result = await member(*args, **kwargs)
            await self._gates.gate.pass_by(f"after {name}")
            return result

        return gated


class GatedStore:
    """A real store behind a gate that can be exchanged.

    Args:
        store: open.

    Attributes:
        passed: how many moments the latest `run` passed.
    """

    def __init__(self, store):
        self.passed = 0
        self.gate = Gate()
        for name in ("tokens", "accounts", "keys", "audit", "refreshes", "key_rotation", "eraser", "imports"):
            setattr(self, name, GatedPort(getattr(store, name), self))

    async def moments_of(self, work):
        """Return how many moments ``work`` passes when nothing happens at any."""
        self.gate = Gate()
        await work()
        return self.gate.moments

    async def run(self, at, act, work):
        """Do ``work`` and, at one of its moments, ``act``; return what the work gave."""
        self.gate = gate = Gate(at, act)
        try:
            return await work()
        finally:
            self.gate, self.passed = Gate(), gate.moments
            assert gate.at < gate.moments, "the moment never came"
