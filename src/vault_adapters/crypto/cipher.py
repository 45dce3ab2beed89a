"""`AesGcmCipher`: encrypts values in AES-256-GCM envelopes under the tenants' data keys."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vault_adapters.crypto.context import ContextEncoder, beside
from vault_adapters.crypto.fetching import fetch_keys
from vault_adapters.crypto.openings import opening_of
from vault_adapters.crypto.resealing import reseal
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.errors import DecryptionError
from vault_domain.entities.secret import decoded_secret
from vault_domain.entities.token import SealedToken
from vault_domain.ports.cipher import NO_ACTIVE_KEY, UnreadableError
from vault_domain.rules.key_states import RESURRECTED_KEY

if TYPE_CHECKING:
    from vault_adapters.crypto.envelope import EnvelopeKey
    from vault_adapters.crypto.keyring import Keyring
    from vault_domain.entities.account import TokenKey
    from vault_domain.entities.secret import Secret
    from vault_domain.ports.cipher import Opening, Sealer
    from vault_domain.ports.event_sink import EventSink

_log = logging.getLogger(__name__)

_SEALED_AT_ONCE = 256
"""Number of values to process before yielding to the event loop; about a millisecond of work."""


class AesGcmCipher:
    """Implements `Cipher` on the event loop, because a thread would cost more than the encryption of a token.

    Args:
        keyring: the tenants' data keys.
        sink: gets an event when sealing is refused because the state of a data key was set back; None: no event.
    """

    def __init__(self, keyring: Keyring, sink: EventSink | None = None) -> None:
        self._keyring = keyring
        self._sink = sink
        self._contexts = ContextEncoder()

    async def seal(
        self, values: Sequence[tuple[TokenKey, Secret]], extras: Sequence[Secret | None] = ()
    ) -> list[SealedToken]:
        """See `Cipher`.

        Raises:
            DecryptionError: the wrap of a tenant's active data key was changed and can no longer be decrypted, or the
                state of this data key was set back.
        """
        seal = await self.ensure_sealer({key.tenant_id for key, _ in values})
        sealed = []
        for number, (key, secret) in enumerate(values, 1):
            sealed.append(seal(key, secret, extras[number - 1] if extras else None))
            if number % _SEALED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return sealed

    async def ensure_sealer(self, tenant_ids: Iterable[str]) -> Sealer:
        """See `Cipher`.

        Raises:
            DecryptionError: the wrap of a tenant's active data key was changed and can no longer be decrypted, or the
                state of this data key was set back.
        """
        data_keys = await self._ensure_active_keys(set(tenant_ids))

        def seal(key: TokenKey, secret: Secret, extra: Secret | None = None) -> SealedToken:
            return self._seal(data_keys[key.tenant_id], key, secret, extra)

        return seal

    async def sealer(self, tenant_id: str) -> Sealer:
        """See `Cipher`. The returned function does no I/O, so it works during outages of store and key service.

        Raises:
            DecryptionError: the wrap of the tenant's active data key was changed and can no longer be decrypted, or the
                state of this data key was set back.
            UnreadableError: the tenant has no active data key.
        """
        data_key = await self._undamaged(tenant_id, self._keyring.find_active_key(tenant_id))

        def seal(key: TokenKey, secret: Secret, extra: Secret | None = None) -> SealedToken:
            if key.tenant_id != tenant_id:
                raise ValueError("a sealer serves one tenant")
            return self._seal(data_key, key, secret, extra)

        return seal

    def open_at_hand(self, key: TokenKey, sealed: SealedToken) -> Secret | None:
        """See `Cipher`."""
        held = self._keyring.get_held_key(key.tenant_id, sealed.data_key_id)
        plaintext = None if held is None else held.open_or_none(sealed.blob, self._contexts.encode(key))
        return None if plaintext is None else decoded_secret(plaintext)

    async def open(self, key: TokenKey, sealed: SealedToken) -> Secret:
        """See `Cipher`."""
        key_id = sealed.data_key_id
        opener = self._keyring.get_held_key(key.tenant_id, key_id) or await self._keyring.find_key(
            key.tenant_id, key_id
        )
        return _opened(opener, sealed.blob, self._contexts.encode(key))

    async def confirm(self, tenant_id: str, data_key_id: bytes) -> None:
        """See `Cipher`."""
        await self._keyring.confirm(tenant_id, data_key_id)

    def opening(self, key: TokenKey, sealed: SealedToken) -> Opening | None:
        """See `Cipher`."""
        return opening_of(self._keyring, key.tenant_id, sealed, self._contexts.encode(key))

    async def open_extra(self, key: TokenKey, sealed: SealedToken) -> Secret:
        """See `Cipher`."""
        key_id = sealed.data_key_id
        opener = self._keyring.get_held_key(key.tenant_id, key_id) or await self._keyring.find_key(
            key.tenant_id, key_id
        )
        return _opened(opener, sealed.extra or b"", beside(self._contexts.encode(key), sealed.blob))

    async def reseal(self, values: Sequence[tuple[TokenKey, SealedToken]]) -> list[SealedToken | UnreadableError]:
        """See `Cipher`."""
        return await reseal(self._keyring, self._contexts, values)

    def forget_active(self, tenant_ids: Iterable[str]) -> None:
        """See `Cipher`."""
        self._keyring.forget_active(tenant_ids)

    def forget_tenant(self, tenant_id: str) -> None:
        """Drop all cached keys of an erased tenant."""
        self._keyring.forget_tenant(tenant_id)

    async def key_problems(self, tenant_ids: Iterable[str]) -> Mapping[str, str]:
        """See `Cipher`."""
        return await self._keyring.key_problems(tenant_ids)

    async def check(self) -> None:
        """See `Cipher`."""
        master_key = await self._keyring.find_active_master_key()
        await master_key.check()

    def _seal(self, data_key: EnvelopeKey, key: TokenKey, secret: Secret, extra: Secret | None = None) -> SealedToken:
        context = self._contexts.encode(key)
        blob = data_key.seal(secret.reveal().encode(), context)
        if extra is None:
            return SealedToken(data_key.key_id, blob)
        return SealedToken(data_key.key_id, blob, data_key.seal(extra.reveal().encode(), beside(context, blob)))

    async def _ensure_active_keys(self, tenant_ids: set[str]) -> dict[str, EnvelopeKey]:
        if len(tenant_ids) == 1:
            [tenant_id] = tenant_ids
            return {tenant_id: await self._undamaged(tenant_id, self._keyring.ensure_active_key(tenant_id))}
        return await fetch_keys(tenant_ids, lambda wish: self._undamaged(wish, self._keyring.ensure_active_key(wish)))

    async def _undamaged(self, tenant_id: str, finding: Awaitable[EnvelopeKey]) -> EnvelopeKey:
        """Return a tenant's active data key.

        Raises:
            DecryptionError: the wrap of the key was changed and can no longer be decrypted, or the key's state was set
                back.
            UnreadableError: the tenant has no active data key.
        """
        try:
            return await finding
        except UnreadableError as error:
            if error.reason == NO_ACTIVE_KEY:
                raise
            reason = error.reason
        _log.warning("a tenant's data key cannot be used: %s", reason)
        if reason == RESURRECTED_KEY and self._sink is not None:
            now = datetime.now(UTC)  # reading a data key does not give the store's time
            self._sink.publish([AuditEvent(AuditAction.DECRYPTION_FAILED, now, tenant_id=tenant_id, code=reason)])
        # Raise outside of the handler, so that this error does not refer to the caught one.
        raise DecryptionError("the tenant's data key cannot be used")


def _opened(opener: EnvelopeKey, blob: bytes, context: bytes) -> Secret:
    """Return the text of an envelope; `EnvelopeKey.open` refuses an envelope that names another data key."""
    secret = decoded_secret(opener.open(blob, context))
    if secret is None:
        raise UnreadableError("encoding")
    return secret
