"""Runs the contract suite over `SyncVault`, and calls each method from a thread that runs no event loop."""

import functools
import inspect
from contextlib import asynccontextmanager

import anyio.to_thread
import pytest
from tests.contract.stores import check_sqlite_idle, open_sqlite

from vault_adapters.composition import open_vault_over
from vault_adapters.sync.vault import sync_vault_over
from vault_adapters.testing.contract import FacadeContract
from vault_adapters.testing.contract.fixtures import CONFIG
from vault_adapters.testing.contract.sharing import SharingCases
from vault_domain.facade.keys import VaultKeys
from vault_domain.facade.vault import TokenVault


class AsyncAgain:
    """A `SyncVault` that can be awaited, so that the same cases run over it."""

    def __init__(self, vault, face=TokenVault):
        self._vault = vault
        self._face = face

    @property
    def keys(self):
        return AsyncAgain(self._vault.keys, VaultKeys)

    def __getattr__(self, name):
        method = getattr(self._vault, name)
        if inspect.iscoroutinefunction(getattr(self._face, name)):
            return functools.partial(_in_a_thread, method)
        if name.startswith("iter_"):
            return functools.partial(_walk_in_a_thread, method)
        return lambda *args, **kwargs: AsyncAgain(method(*args, **kwargs))


async def _in_a_thread(method, *args, **kwargs):
    return await anyio.to_thread.run_sync(functools.partial(method, *args, **kwargs), abandon_on_cancel=True)


async def _walk_in_a_thread(method, *args, **kwargs):
    for item in await _in_a_thread(lambda: list(method(*args, **kwargs))):
        yield item


class TestSyncVault(FacadeContract, SharingCases):
    @pytest.fixture
    def open_store(self, tmp_path, clock):
        self.reopen = functools.partial(open_sqlite(tmp_path / "vault.db"), clock)
        return open_sqlite(tmp_path / "vault.db")

    async def check_idle(self, store):
        await check_sqlite_idle(store)

    @asynccontextmanager
    async def vault_over(self, store, config=CONFIG, *, on_event=None):
        """Open another store on the same file, on the facade's own event loop."""

        @asynccontextmanager
        async def opener():
            async with self.reopen() as own, open_vault_over(own, config, on_event=on_event) as vault:
                yield vault

        sync_vault = sync_vault_over(opener)
        await _in_a_thread(sync_vault.open)
        try:
            yield AsyncAgain(sync_vault)
        finally:
            await _in_a_thread(sync_vault.close)
