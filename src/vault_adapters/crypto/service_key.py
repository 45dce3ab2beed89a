"""What the master keys of all key services have in common."""

from __future__ import annotations

import hashlib
import hmac
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from vault_adapters.crypto.envelope import KEY_ID_SIZE, KEY_SIZE, Uncopied
from vault_domain.entities.errors import ConfigurationError, KeyUnavailableError
from vault_domain.ports.cipher import UnreadableError
from vault_domain.rules.key_states import KEY_DENIED

Entries = Callable[[str], dict[str, object] | None]
"""Returns what the file of `Tuning.key_service_tokens` says about a service; None: nothing."""

_CHECKED_TENANT = "token-vault-check"


class ServiceKey(Uncopied, ABC):
    """Base of the master keys that stay in a key service; a subclass wraps and unwraps.

    Args:
        uri: names the key; the key's id is derived from it.
        label: what the id is derived with beside the URI.
    """

    _what = "a key"
    _service: ClassVar[str]
    """How the codes of errors begin."""
    _holder: ClassVar[str] = "key service"

    def __init__(self, uri: str, label: str) -> None:
        self._key_id = hashlib.sha256(b"tokenvault/v1/%b\x00" % label.encode() + uri.encode()).digest()[:KEY_ID_SIZE]

    @property
    def key_id(self) -> bytes:
        """The key's id, derived from the URI."""
        return self._key_id

    @abstractmethod
    async def wrap(self, data_key: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
        """See `MasterKey`."""

    @abstractmethod
    async def unwrap(self, wrapped: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
        """See `MasterKey`."""

    async def check(self) -> None:
        """Wrap and unwrap random bytes, to check the same permissions that data keys need.

        Raises:
            KeyUnavailableError: see `MasterKey`.
            ConfigurationError: see `MasterKey`; also if other bytes come back.
        """
        probe, probe_id = os.urandom(KEY_SIZE), os.urandom(KEY_ID_SIZE)
        try:
            returned = await self.unwrap(await self.wrap(probe, _CHECKED_TENANT, probe_id), _CHECKED_TENANT, probe_id)
        except UnreadableError:
            returned = b""
        if not hmac.compare_digest(probe, returned):
            raise ConfigurationError(
                f"the {self._holder} did not return the data that it encrypted", code=f"{self._service}_wrong_key"
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(key_id={self._key_id.hex()})"


def denied(holder: str = "key service") -> ConfigurationError:
    """Return the error for a key that this process may not use, or that is disabled or gone."""
    return ConfigurationError(f"the {holder} does not allow the use of the master key", code=KEY_DENIED)


def without_credentials(service: str) -> ConfigurationError:
    """Return the error for credentials that are missing or refused; ``service``: how the code begins."""
    return ConfigurationError(
        "the key service does not accept the credentials of this process, or there are none",
        code=f"{service}_credentials",
    )


def refusal(status: int, service: str, *, unwraps: bool) -> Exception:
    """Return the error for an HTTP status that does not deny the key.

    Args:
        status: the status.
        service: how the error's code begins.
        unwraps: whether the request was one to unwrap, so that a 400 concerns the wrap.
    """
    if status == 401:
        return without_credentials(service)
    if status == 429:
        return KeyUnavailableError(reason=f"{service}_throttled")
    if status != 400:
        return KeyUnavailableError(reason=f"{service}_unavailable")
    if unwraps:
        return UnreadableError(f"{service}_ciphertext")
    return ConfigurationError("the key service does not accept requests for this master key", code=f"{service}_request")
