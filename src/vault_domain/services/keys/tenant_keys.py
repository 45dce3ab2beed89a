"""Moves a tenant's data keys to another master key: to one of its own at a key service, to another one, or back."""

import hashlib

from vault_domain.entities.errors import ConfigurationError, KeyUnavailableError, StorageError
from vault_domain.entities.key_records import DataKeyRecord, DataKeyState, DataKeyWrap
from vault_domain.entities.key_reports import TenantMasterKey, UnreadableKey
from vault_domain.ports.cipher import UnreadableError
from vault_domain.ports.data_key_wrapper import DataKeyWrapper
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.keys import DataKeyPosition, DataKeyQuery, Keys
from vault_domain.rules.key_states import RETIRED_MASTER_KEY
from vault_domain.transitions.keys import moved

_CONFIGURED = "configured"
"""Code of the event when a tenant goes back to the vault's master key."""

CHANGED_DATA_KEY = "data_key_changed"
"""Why a tenant's master key is not known: somebody has changed the wraps of its active data key."""

_PAGE = 500
# Largest number of rounds over the tenant's data keys. Another round is needed if somebody changed them meanwhile. Two
# calls for one tenant may overtake each other many times until one of them wins.
_ROUNDS = 200


class TenantKeyService:
    """Moves tenants to other master keys.

    A tenant's master key is the one that wraps its active data key: new data keys of the tenant are wrapped like the
    data key that they replace. Each data key moves in one transaction, the active one first, so a killed call leaves
    every data key usable, and the next call continues.
    """

    def __init__(self, keys: Keys, wrapper: DataKeyWrapper, sink: EventSink) -> None:
        self._keys = keys
        self._wrapper = wrapper
        self._sink = sink

    async def set(self, tenant_id: str, uri: str | None, *, actor: str | None) -> TenantMasterKey:
        """Move all data keys of a tenant; if it has none yet, make its first one.

        Args:
            tenant_id: the tenant.
            uri: names a key of a key service; None: the vault's own master key.
            actor: for the audit log.
        """
        if uri is not None:
            await self._wrapper.check_tenant_key(uri)
        # What this call has opened or moved itself. To open each data key anew in each round would take so long that
        # two calls for one tenant could overtake each other again and again.
        count, unreadable, sure = 0, set[bytes](), set[tuple[bytes, tuple[DataKeyWrap, ...]]]()
        for _ in range(_ROUNDS):
            records = await self._records(tenant_id)
            if uri is not None and not any(record.state is DataKeyState.ACTIVE for record in records):
                await self._wrapper.store_new_data_key(tenant_id, self._keys.create_data_key)
                continue
            unreadable.clear()
            waiting = 0
            for record in records:
                try:
                    if (record.key_id, record.wraps) in sure:
                        continue
                    if await self._wrapper.open_uri(record) == uri:
                        sure.add((record.key_id, record.wraps))
                        continue
                    wraps = await self._move(record, uri, actor)
                except UnreadableError:
                    unreadable.add(record.key_id)
                    continue
                waiting += 1
                if wraps is not None:
                    count += 1
                    sure.add((record.key_id, wraps))
            if not waiting:
                named = (UnreadableKey(tenant_id, key_id.hex(), 1) for key_id in sorted(unreadable))
                return TenantMasterKey(tenant_id, uri, count, tuple(named))
        raise StorageError("the tenant's data keys kept changing; run this again", retryable=True)

    async def describe(self, tenant_id: str) -> tuple[str | None, str | None]:
        """Return the URI of a tenant's own master key, and why it cannot be used; None for what there is not.

        A URI that the vault has not written is neither shown nor asked.
        """
        active = await self._keys.data_key(tenant_id, None)
        try:
            uri = None if active is None else await self._wrapper.tenant_key_uri(active)
        except UnreadableError:
            return None, CHANGED_DATA_KEY
        except (KeyUnavailableError, ConfigurationError) as error:
            return None, error.reason or error.code
        return uri, None if uri is None else await self._wrapper.tenant_key_problem(uri)

    async def _move(self, record: DataKeyRecord, uri: str | None, actor: str | None) -> tuple[DataKeyWrap, ...] | None:
        """Move a data key and return its wraps; None: somebody changed it, or the vault's master key, meanwhile."""
        code = _CONFIGURED if uri is None else hashlib.sha256(uri.encode()).hexdigest()[:32]
        try:
            wrap = await self._wrapper.move(record, uri)
            change = await self._keys.change_data_key(
                record.tenant_id,
                record.key_id,
                lambda stored, masters, now: moved(stored, masters, now, record, wrap, code, actor),
            )
        except KeyUnavailableError as error:
            if error.reason == RETIRED_MASTER_KEY:
                return None
            raise
        self._sink.publish(change.events)
        return (wrap,) if change.result is not None and change.result.wraps == (wrap,) else None

    async def _records(self, tenant_id: str) -> list[DataKeyRecord]:
        """Return the tenant's data keys that are not destroyed, the active one first."""
        records: list[DataKeyRecord] = []
        after: DataKeyPosition | None = None
        while page := await self._keys.data_keys(DataKeyQuery(tenant_id), after, _PAGE):
            records += page
            after = page[-1].tenant_id, page[-1].key_id
        return sorted(records, key=lambda record: record.state is not DataKeyState.ACTIVE)
