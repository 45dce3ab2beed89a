"""Stops a refresh between two of its steps."""

import asyncio

from tests.support.changes import name_of


class Steps:
    """Stops a refresh at one of its steps, for as long as the test needs to do something else."""

    def __init__(self, place):
        self._place = place
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    async def at(self, place):
        if place == self._place and not self.reached.is_set():
            self.reached.set()
            await self.go_on.wait()


class SteppedPort:
    """A port of a store, with a step before and after each of its methods, and each change of an account."""

    def __init__(self, port, steps):
        self._port, self._steps = port, steps

    def __getattr__(self, method):
        call = getattr(self._port, method)

        async def stepped(*args, **kwargs):
            name = name_of(method, args)
            await self._steps.at(f"before {name}")
            result = await call(*args, **kwargs)
            await self._steps.at(f"after {name}")
            return result

        return stepped


class SteppedStore:
    def __init__(self, store, steps):
        self._store = store
        self.accounts = SteppedPort(store.accounts, steps)
        self.clients = SteppedPort(store.clients, steps)

    def __getattr__(self, name):
        return getattr(self._store, name)
