"""Stops a refresh between two of its steps."""

import asyncio


class Steps:
    """Stops a refresh at one of its steps, for as long as the test needs to do something else."""

    def __init__(self, place):
        self._place = place
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    async def at(self, place):
        if place == self._place and not self.reached.is_set():
            self.reached.set()
            await self.go_on.wait()


class SteppedLedger:
    """One of the store's own ledgers, with a step before and after each of its methods."""

    def __init__(self, ledger, steps):
        self._ledger, self._steps = ledger, steps

    def __getattr__(self, name):
        method = getattr(self._ledger, name)

        async def stepped(*args, **kwargs):
            await self._steps.at(f"before {name}")
            result = await method(*args, **kwargs)
            await self._steps.at(f"after {name}")
            return result

        return stepped


class SteppedStore:
    def __init__(self, store, steps):
        self._store = store
        self.refreshes = SteppedLedger(store.refreshes, steps)
        self.clients = SteppedLedger(store.clients, steps)

    def __getattr__(self, name):
        return getattr(self._store, name)
