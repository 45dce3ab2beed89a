"""Checks that a key service can encrypt and decrypt."""

import hmac
import os

from vault_adapters.crypto.envelope import KEY_ID_SIZE, KEY_SIZE
from vault_domain.entities.errors import ConfigurationError
from vault_domain.ports.cipher import UnreadableError
from vault_domain.ports.master_key import MasterKey

_CHECKED_TENANT = "token-vault-check"


async def check_round_trip(key: MasterKey, wrong: ConfigurationError) -> None:
    """Wrap and unwrap random bytes, to check the same permissions that data keys need.

    Args:
        key: the key.
        wrong: raised if other bytes come back.

    Raises:
        KeyUnavailableError: see `MasterKey`.
        ConfigurationError: see `MasterKey`, and above.
    """
    probe, probe_id = os.urandom(KEY_SIZE), os.urandom(KEY_ID_SIZE)
    try:
        returned = await key.unwrap(await key.wrap(probe, _CHECKED_TENANT, probe_id), _CHECKED_TENANT, probe_id)
    except UnreadableError:
        returned = b""
    if not hmac.compare_digest(probe, returned):
        raise wrong
