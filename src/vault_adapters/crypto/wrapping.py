"""`Wrapping`: wraps and unwraps data keys under the vault's master keys and the tenants' own master keys."""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextlib import suppress

from attrs import evolve

from vault_adapters.crypto import tenant_wrap
from vault_adapters.crypto.envelope import KEY_SIZE
from vault_adapters.crypto.tenant_keys import DENIALS, TenantKeys
from vault_domain.entities.errors import ConfigurationError, KeyUnavailableError
from vault_domain.entities.key_records import DataKeyRecord, DataKeyWrap
from vault_domain.ports.cipher import UnreadableError
from vault_domain.ports.master_key import MasterKey, MasterKeys
from vault_domain.rules.key_states import KEY_DENIED

_AT_ONCE = 8
"""Largest number of concurrent calls to the vault's master key. A tenant's own master key has a limit of its own."""


class Wrapping:
    """Wraps data keys; for a tenant with a master key of its own, under that one inside the vault's master key.

    What the vault's master key wraps is here called the outer key: it is the data key itself, or the key that seals the
    wrap under the tenant's own master key. A rotation of the vault's master key only wraps the outer key again, so it
    does not need the tenants' own master keys.

    Args:
        master_keys: the vault's master keys that this process can use.
        tenant_keys: the tenants' own master keys.
    """

    def __init__(self, master_keys: MasterKeys, tenant_keys: TenantKeys) -> None:
        self._master_keys = master_keys
        self._tenant_keys = tenant_keys
        # Limit concurrent calls, because the master key may be in a key service, which may throttle.
        self._asking = asyncio.Semaphore(_AT_ONCE)
        self.unwraps = 0
        """How many data keys were unwrapped."""

    async def check(self, uri: str) -> None:
        """Return normally if a tenant's own master key can wrap and unwrap now.

        Raises:
            KeyUnavailableError, ConfigurationError: see `GuardedKey.check`; ConfigurationError also if the URI names no
                key of a key service.
        """
        await self._tenant_keys.get(uri).check()

    async def problem(self, uri: str) -> str | None:
        """Return why a tenant's own master key cannot be used now; None if it can."""
        try:
            await self.check(uri)
        except KeyUnavailableError as error:
            return error.reason
        except ConfigurationError as error:
            return KEY_DENIED if error.code in DENIALS else error.code
        return None

    async def wrap(self, data_key: bytes, place: tuple[str, bytes], master: MasterKey, uri: str | None) -> DataKeyWrap:
        """Wrap a data key.

        Args:
            data_key: the data key.
            place: its tenant and its id.
            master: the vault's master key that is active now.
            uri: names the tenant's own master key; None: the tenant has none.
        """
        tenant_id, key_id = place
        try:
            if uri is None:
                async with self._asking:
                    return DataKeyWrap(master.key_id, await master.wrap(data_key, tenant_id, key_id))
            inner = await self._tenant_keys.get(uri).wrap(data_key, tenant_id, key_id)
        finally:
            del data_key  # tracebacks of errors must not hold the key
        outer_key = os.urandom(KEY_SIZE)
        try:
            sealed = tenant_wrap.sealed(inner, outer_key, uri, tenant_id, key_id)
            async with self._asking:
                outer = await master.wrap(outer_key, tenant_id, tenant_wrap.outer_id(key_id))
        finally:
            del outer_key
        return DataKeyWrap(master.key_id, tenant_wrap.TenantWrap(uri, outer, sealed).packed())

    async def unwrap(self, record: DataKeyRecord) -> bytes:
        """Return a data key.

        Raises:
            UnreadableError: a wrap was changed.
            KeyUnavailableError, ConfigurationError: no wrap can be unwrapped now.
        """
        self.unwraps += 1
        self._refuse_in_pause(record)
        wrap, outer_key = await self._outer(record)
        parts = tenant_wrap.parsed(wrap.wrapped)
        if parts is None:
            return outer_key
        tenant_id, key_id = record.tenant_id, record.key_id
        try:
            try:
                inner = tenant_wrap.opened(parts, outer_key, tenant_id, key_id)
            finally:
                del outer_key
            return await self._tenant_keys.get(parts.uri).unwrap(inner, tenant_id, key_id)
        except UnreadableError as error:
            failure = UnreadableError(f"data_key_{error.reason}")
        raise failure

    async def authentic_uri(self, record: DataKeyRecord) -> str | None:
        """Return the URI of the tenant's own master key that wraps a data key, without asking that key; None: no own.

        Raises:
            UnreadableError: a wrap or the URI was changed.
            KeyUnavailableError, ConfigurationError: the vault's master key cannot be used now.
        """
        uri = tenant_wrap.key_uri(record)
        if uri is None:
            return None
        wrap, outer_key = await self._outer(record)
        parts = tenant_wrap.parsed(wrap.wrapped)
        try:
            if parts is not None:
                tenant_wrap.opened(parts, outer_key, record.tenant_id, record.key_id)
        except UnreadableError as error:
            failure = UnreadableError(f"data_key_{error.reason}")
        else:
            return uri
        finally:
            del outer_key
        raise failure

    def _refuse_in_pause(self, record: DataKeyRecord) -> None:
        """Raise the error of a tenant's own master key that has failed just now, before anybody is asked.

        So readers of a tenant whose key is dead take no turns at the vault's master key, which others need. The URI is
        not authentic here: whoever changes it gets an error in either case.
        """
        with suppress(UnreadableError):  # told by what follows
            uri = tenant_wrap.key_uri(record)
            if uri is not None:
                self._tenant_keys.refuse_in_pause(uri)

    async def move(self, record: DataKeyRecord, master: MasterKey, uri: str | None) -> DataKeyWrap:
        """Return a new wrap of a data key, under another master key of its tenant.

        Raises:
            UnreadableError, KeyUnavailableError, ConfigurationError: see `unwrap` and `wrap`.
        """
        return await self.wrap(await self.unwrap(record), (record.tenant_id, record.key_id), master, uri)

    async def make_missing_wrap(self, record: DataKeyRecord, target: MasterKey) -> DataKeyWrap:
        """Return a wrap of a data key under another master key of the vault.

        Raises:
            UnreadableError, KeyUnavailableError, ConfigurationError: see `unwrap`.
        """
        wrap, outer_key = await self._outer(record)
        tenant_id, parts = record.tenant_id, tenant_wrap.parsed(wrap.wrapped)
        bound = record.key_id if parts is None else tenant_wrap.outer_id(record.key_id)
        try:
            async with self._asking:
                outer = await target.wrap(outer_key, tenant_id, bound)
        finally:
            del outer_key
        return DataKeyWrap(target.key_id, outer if parts is None else evolve(parts, outer=outer).packed())

    async def wraps_agree(self, record: DataKeyRecord) -> bool:
        """Return whether the wraps under this process's master keys hold the same data key; False without such a wrap.

        Raises:
            KeyUnavailableError, ConfigurationError: a master key cannot be used now.
        """
        digests = set()
        for wrap in record.wraps:
            if wrap.master_key_id not in self._master_keys.opened:
                continue
            try:
                parts = tenant_wrap.parsed(wrap.wrapped)
                outer_key = await self._unwrap_outer(wrap, record)
            except UnreadableError:
                return False
            digest = hashlib.sha256(outer_key)
            del outer_key
            if parts is not None:
                digest.update(b"\x00" + parts.uri.encode() + b"\x00" + parts.inner)
            digests.add(digest.digest())
        return len(digests) == 1

    async def _outer(self, record: DataKeyRecord) -> tuple[DataKeyWrap, bytes]:
        """Return the wrap that could be unwrapped, and its outer key."""
        wraps = {wrap.master_key_id: wrap for wrap in record.wraps}
        failure: Exception = KeyUnavailableError(
            "the data key has no wrap under this process's master keys", reason="unknown_master_key", retryable=False
        )
        for master in self._master_keys:
            wrap = wraps.get(master.key_id)
            if wrap is None:
                continue
            try:
                return wrap, await self._unwrap_outer(wrap, record)
            except (KeyUnavailableError, ConfigurationError) as error:
                failure = error  # try the next wrap, because during a rotation another master key may be available
            except UnreadableError as error:
                failure = UnreadableError(f"data_key_{error.reason}")
                break
        raise failure

    async def _unwrap_outer(self, wrap: DataKeyWrap, record: DataKeyRecord) -> bytes:
        master, parts = self._master_keys.opened[wrap.master_key_id], tenant_wrap.parsed(wrap.wrapped)
        wrapped, bound = (wrap.wrapped, record.key_id)
        if parts is not None:
            wrapped, bound = parts.outer, tenant_wrap.outer_id(record.key_id)
        async with self._asking:
            return await master.unwrap(wrapped, record.tenant_id, bound)
