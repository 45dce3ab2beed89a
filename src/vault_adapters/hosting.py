"""Gives the ports for a call inside a transaction of the host; few hosts need it, so it is loaded when one does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vault_adapters.crypto.cipher import AesGcmCipher
from vault_adapters.crypto.keyring import Keyring
from vault_adapters.crypto.keyring_beside import KeyringBeside
from vault_adapters.crypto.tenant_keys import TenantKeys
from vault_adapters.runtime.host_connections import opened, unfit_store
from vault_adapters.stores.batching import own_loop
from vault_adapters.stores.port import HostedStore, Store
from vault_domain.entities.causes import CLOSED
from vault_domain.entities.errors import StorageError
from vault_domain.memory.answers import Answers
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.keys import Keys
from vault_domain.ports.master_key import MasterKeys
from vault_domain.ports.tasks import Tasks
from vault_domain.services.tokens.hosting import HostAccounts, HostPorts, UncommittedEvents
from vault_domain.services.tokens.reading import RowReader


@asynccontextmanager
async def cipher_beside(
    keyring: Keyring, master_keys: MasterKeys, tenant_keys: TenantKeys, sink: EventSink, keys: Keys
) -> AsyncIterator[AesGcmCipher]:
    """Give a cipher for one call on a connection of the host, over the data keys that this connection sees."""
    beside = KeyringBeside(keyring, keys, master_keys, tenant_keys)
    try:
        yield AesGcmCipher(beside, sink)
    finally:
        await beside.aclose()


@asynccontextmanager
async def host_ports(
    connection: object,
    *,
    loop: asyncio.AbstractEventLoop,
    closed: asyncio.Event,
    store: Store,
    sealing: tuple[Keyring, MasterKeys, TenantKeys, EventSink],
    held: Answers,
    reader: RowReader,
    tasks: Tasks,
) -> AsyncIterator[HostPorts]:
    """Give the ports for one call inside the transaction of a host's connection.

    Args:
        connection: the host's connection.
        loop: the event loop on which the vault was opened.
        closed: is set when the vault is closed.
        store: the store.
        sealing: what a cipher for the data keys on the host's connection is made of.
        held: the waiting answers of providers, which hear of the events before the host's commit.
        reader: remembers rows for this process's other callers.
        tasks: makes ids.

    Raises:
        HostTransactionError: this store or this connection cannot be used.
        ConfigurationError: another event loop runs, or this is a forked child.
        StorageError: the vault is closed.
    """
    own_loop(loop)
    if closed.is_set():
        raise StorageError("the vault is closed", reason=CLOSED)
    if not isinstance(store, HostedStore):
        raise unfit_store("this store cannot write on a host's connection")
    async with store.on(await opened(connection)) as host, cipher_beside(*sealing, host.keys) as own:
        accounts = HostAccounts(host.accounts, reader, tasks.new_id)
        yield HostPorts(accounts, own, UncommittedEvents(held))
