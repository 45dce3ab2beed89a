"""A store that lets a test act before and after each of its calls."""

import inspect


class Gate:
    """Counts the moments before and after each call that a vault makes to its store, and acts at one of them.

    Args:
        at: number of the moment to act at, from 0; None only counts.
        act: coroutine function that is called at that moment.
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
    """A port of a real store, with the gate before and after each method."""

    def __init__(self, port, gates):
        self._port = port
        self._gates = gates

    def __getattr__(self, name):
        member = getattr(self._port, name)
        if not inspect.iscoroutinefunction(member) and name != "get":  # `get` returns a future
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
        store: the open store.

    Attributes:
        passed: number of moments in the latest `run`.
    """

    def __init__(self, store):
        self.passed = 0
        self.gate = Gate()
        for name in ("accounts", "pages", "keys", "audit", "clients", "upkeep"):
            setattr(self, name, GatedPort(getattr(store, name), self))

    async def moments_of(self, work):
        """Return how many moments ``work`` passes; the gate only counts them."""
        self.gate = Gate()
        await work()
        return self.gate.moments

    async def run(self, at, act, work):
        """Run ``work``, call ``act`` at moment ``at``, and return the work's result."""
        self.gate = gate = Gate(at, act)
        try:
            return await work()
        finally:
            self.gate, self.passed = Gate(), gate.moments
            assert gate.at < gate.moments, "the moment never came"
