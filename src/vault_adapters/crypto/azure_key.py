"""A key of Azure Key Vault or of a Managed HSM as a master key, with Microsoft's libraries.

The interface is https://learn.microsoft.com/rest/api/keyvault/keys/wrap-key. `KeyClient` sends the requests and answers
the service's challenge. Its `CryptographyClient` is not used: it wraps with a public key that it has read once, so it
would still wrap under a key that is disabled since.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import partial
from typing import Any

from vault_adapters.crypto.bindings import bound, unbound
from vault_adapters.crypto.calling import Calls
from vault_adapters.crypto.service_key import Entries, ServiceKey, denied, refusal, without_credentials
from vault_domain.entities.errors import ConfigurationError, KeyUnavailableError, VaultError
from vault_domain.ports.cipher import UnreadableError

_URI = re.compile(r"azure-kv:(https://[a-z0-9.-]{1,255}(?::[0-9]{1,5})?)/keys/([A-Za-z0-9-]{1,127})(;alg=A256KW)?\Z")
_VERSION = re.compile(r"[A-Za-z0-9-]{1,64}\Z")
_SECONDS, _CONNECT_SECONDS, _READ_SECONDS, _RETRIES, _AT_ONCE = 8.0, 2, 4, 1, 2
_MOST_WRAPPED = 1024


class AzureMasterKey(ServiceKey):
    """Implements `MasterKey` with a key of Azure Key Vault or of a Managed HSM.

    Neither way of wrapping binds a context, so the service gets the data key followed by a hash of tenant and data key
    id. The version of the key is stored before each wrap; a new version is used for new wraps.

    Args:
        uri: ``azure-kv:``, the vault's address and the key's name, as in
            ``azure-kv:https://acme.vault.azure.net/keys/tokens``. RSA keys wrap by RSA-OAEP-256. With ``;alg=A256KW``
            at the end, it is an AES key of a Managed HSM.
        entries: gives ``tenant_id``, ``client_id`` and ``client_secret`` for the vault's address; without an entry,
            `DefaultAzureCredential` has them.

    Raises:
        ConfigurationError: the URI names no key.
    """

    _service = "azure"

    def __init__(self, uri: str, entries: Entries) -> None:
        found = _URI.match(uri)
        if found is None:
            raise ConfigurationError(
                "a key of Azure Key Vault is named `azure-kv:https://<vault>/keys/<key>`,"
                " with `;alg=A256KW` if it is an AES key",
                code="master_key_unknown",
            )
        self._address, self._name, symmetric = found.groups()
        self._algorithm = "RSA-OAEP-256" if symmetric is None else "A256KW"
        self._entries = entries
        super().__init__(uri, "azure-kv")
        self._calls = Calls(_AT_ONCE, _SECONDS, "azure_unavailable", _translated)
        self._client: tuple[dict[str, object] | None, Any] | None = None

    @property
    def is_symmetric(self) -> bool:
        """Whether only the key service can make a wrap; the public half of an RSA key can make one too."""
        return self._algorithm == "A256KW"

    async def wrap(self, data_key: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
        """See `MasterKey`."""
        held = [bound(data_key, tenant_id, data_key_id)]
        del data_key
        try:
            return await self._calls.run(lambda: self._wrap(held[0]))
        finally:
            held.clear()  # tracebacks of errors must not hold the data key

    async def unwrap(self, wrapped: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
        """See `MasterKey`."""
        version, _, value = wrapped.partition(b"\x00")
        named = version.decode("ascii", "replace")
        if len(wrapped) > _MOST_WRAPPED or not value or not _VERSION.match(named):
            raise UnreadableError("size")
        return unbound(await self._calls.run(partial(self._unwrap, named, value)), tenant_id, data_key_id)

    def _wrap(self, plaintext: bytes) -> bytes:
        version, value = self._send("wrapkey", "", plaintext)
        return version.encode() + b"\x00" + value

    def _unwrap(self, version: str, value: bytes) -> bytes:
        told, plaintext = self._send("unwrapkey", f"/{version}", value)
        if told != version:
            raise KeyUnavailableError(reason="azure_corrupted")
        return plaintext

    def _send(self, operation: str, version: str, content: bytes) -> tuple[str, bytes]:
        """Ask the service; return the version of the key that it used, and the result."""
        from azure.core.rest import HttpRequest

        value = base64.urlsafe_b64encode(content).rstrip(b"=").decode()
        body = {"alg": self._algorithm, "value": value}
        request = HttpRequest("POST", f"/keys/{self._name}{version}/{operation}", json=body)
        response = self._connected().send_request(request)
        if response.status_code != 200:
            raise _refusal(response.status_code, operation)
        found = response.json()
        used = str(found["kid"]).removeprefix(f"{self._address}/keys/{self._name}/")
        if not _VERSION.match(used):
            raise KeyUnavailableError(reason="azure_corrupted")
        value = str(found["value"])
        return used, base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)

    def _connected(self) -> Any:
        entry = self._entries(self._address)
        if self._client is None or self._client[0] != entry:
            from azure.keyvault.keys import KeyClient

            client = KeyClient(
                self._address,
                _credential(entry),
                connection_timeout=_CONNECT_SECONDS,
                read_timeout=_READ_SECONDS,
                retry_total=_RETRIES,
            )
            self._client = entry, client
        return self._client[1]


def _credential(entry: dict[str, object] | None) -> Any:
    from azure.identity import ClientSecretCredential, DefaultAzureCredential

    if entry is None:
        return DefaultAzureCredential()
    named = [entry.get(name) for name in ("tenant_id", "client_id", "client_secret")]
    if not all(isinstance(value, str) and value for value in named):
        raise without_credentials("azure")
    return ClientSecretCredential(*map(str, named))


def _refusal(status: int, operation: str) -> Exception:
    if status in (403, 404, 409):  # not allowed, disabled or expired; gone; being deleted
        return denied()
    return refusal(status, "azure", unwraps=operation == "unwrapkey")


def _translated(error: Exception) -> Exception:
    if isinstance(error, VaultError | UnreadableError):
        return error.with_traceback(None)
    if isinstance(error, ImportError):
        return ConfigurationError("Azure Key Vault needs `token-vault[azure]`", code="missing_extra")
    if isinstance(error, KeyError | binascii.Error):
        return KeyUnavailableError(reason="azure_corrupted")
    # Azure's libraries raise a ValueError for a challenge that does not belong to the vault's address.
    if type(error).__name__ in ("ClientAuthenticationError", "CredentialUnavailableError", "ValueError"):
        return without_credentials("azure")
    return KeyUnavailableError(reason="azure_unavailable")
