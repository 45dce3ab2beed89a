"""Seals many values again: first fetches all data keys, several at once, and then opens and seals without I/O."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Sequence

from vault_adapters.crypto.context import ContextEncoder, beside
from vault_adapters.crypto.envelope import EnvelopeKey
from vault_adapters.crypto.fetching import fetch_keys
from vault_adapters.crypto.keyring import Keyring
from vault_domain.entities.account import TokenKey
from vault_domain.entities.errors import KeyUnavailableError, VaultError
from vault_domain.entities.token import SealedToken
from vault_domain.ports.cipher import UnreadableError
from vault_domain.rules.key_states import OF_ONE_TENANT

_log = logging.getLogger(__name__)

_RESEALED_AT_ONCE = 128
"""Number of values to process before yielding to the event loop; about a millisecond of work."""

# Error codes of a key service that concern only one wrap, so other data keys may still be unwrapped.
_OF_ONE_KEY = frozenset({"kms_wrong_key"})

_Sealed = tuple[TokenKey, SealedToken]


async def reseal(
    keyring: Keyring, contexts: ContextEncoder, values: Sequence[_Sealed]
) -> list[SealedToken | UnreadableError]:
    """See `Cipher.reseal`."""
    wanted = {(key.tenant_id, sealed.data_key_id) for key, sealed in values}
    openers = await fetch_keys(wanted, lambda wish: _had(keyring.find_key(*wish)))
    sealers = await fetch_keys({key.tenant_id for key, _ in values}, lambda wish: _had(keyring.find_active_key(wish)))
    refused: Counter[str] = Counter()
    resealed: list[SealedToken | UnreadableError] = []
    for number, (key, sealed) in enumerate(values, 1):
        opener, sealer = openers[key.tenant_id, sealed.data_key_id], sealers[key.tenant_id]
        done = _resealed(opener, sealer, sealed, contexts.encode(key))
        if isinstance(done, UnreadableError):
            refused[done.reason] += 1
        resealed.append(done)
        if number % _RESEALED_AT_ONCE == 0:
            await asyncio.sleep(0)
    for reason, count in refused.items():
        _log.error("%d values could not be sealed again: %s", count, reason)
    return resealed


async def _had(fetching: Awaitable[EnvelopeKey]) -> EnvelopeKey | UnreadableError:
    """Return a key, or an error if this process can never unwrap it.

    Raises:
        VaultError: the key cannot be unwrapped now.
    """
    try:
        return await fetching
    except UnreadableError as error:
        return error
    except VaultError as error:
        if isinstance(error, KeyUnavailableError) and (not error.retryable or error.reason in OF_ONE_TENANT):
            return UnreadableError(error.reason or error.code)
        if error.code in _OF_ONE_KEY:
            return UnreadableError(error.reason or error.code)
        raise


def _resealed(
    opener: EnvelopeKey | UnreadableError, sealer: EnvelopeKey | UnreadableError, sealed: SealedToken, context: bytes
) -> SealedToken | UnreadableError:
    if isinstance(opener, UnreadableError):
        return opener
    if isinstance(sealer, UnreadableError):
        return sealer
    try:
        # The opener refuses an envelope that does not name the row's data key.
        blob = sealer.seal(opener.open(sealed.blob, context), context)
        if sealed.extra is None:
            return SealedToken(sealer.key_id, blob)
        extra = opener.open(sealed.extra, beside(context, sealed.blob))
        return SealedToken(sealer.key_id, blob, sealer.seal(extra, beside(context, blob)))
    except UnreadableError as error:
        return UnreadableError(error.reason)  # a new error, without the frames of the caught one
