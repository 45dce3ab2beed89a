"""Sealing many values anew: their keys are fetched first and several at once, then nothing is waited for."""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence

from vault_adapters.crypto.envelope import EnvelopeKey
from vault_adapters.crypto.fetching import fetch_keys
from vault_adapters.crypto.keyring import Keyring
from vault_adapters.crypto.place import PlaceEncoder
from vault_domain.account import TokenKey
from vault_domain.ports.cipher import UnreadableError
from vault_domain.token import SealedToken

_log = logging.getLogger(__name__)

_RESEALED_AT_ONCE = 128
"""About a millisecond of work; then other tasks get a turn."""

_Sealed = tuple[TokenKey, SealedToken]


async def reseal(
    keyring: Keyring, places: PlaceEncoder, values: Sequence[_Sealed]
) -> list[SealedToken | UnreadableError]:
    """See `Cipher.reseal`."""
    wanted = {(key.tenant_id, sealed.data_key_id) for key, sealed in values}
    openers = await fetch_keys(wanted, lambda wish: keyring.key(*wish))
    sealers = await fetch_keys({key.tenant_id for key, _ in values}, keyring.present_key)
    refused: Counter[str] = Counter()
    resealed: list[SealedToken | UnreadableError] = []
    for number, (key, sealed) in enumerate(values, 1):
        opener, sealer = openers[key.tenant_id, sealed.data_key_id], sealers[key.tenant_id]
        done = _resealed(opener, sealer, sealed.blob, places.encode(key))
        if isinstance(done, UnreadableError):
            refused[done.reason] += 1
        resealed.append(done)
        if number % _RESEALED_AT_ONCE == 0:
            await asyncio.sleep(0)
    for reason, count in refused.items():
        _log.error("%d values could not be sealed anew: %s", count, reason)
    return resealed


def _resealed(
    opener: EnvelopeKey | UnreadableError, sealer: EnvelopeKey | UnreadableError, blob: bytes, place: bytes
) -> SealedToken | UnreadableError:
    if isinstance(opener, UnreadableError):
        return opener
    if isinstance(sealer, UnreadableError):
        return sealer
    try:
        # The opener refuses an envelope that names another key than the row does.
        return SealedToken(sealer.key_id, sealer.seal(opener.open(blob, place), place))
    except UnreadableError as error:
        return UnreadableError(error.reason)  # without the frames of the one that was raised
