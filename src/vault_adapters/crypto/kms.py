"""AWS KMS as a master key: the key stays in the service, which encrypts and decrypts the data keys."""

from __future__ import annotations

import threading
from typing import Any

from vault_adapters.crypto.calling import Calls
from vault_adapters.crypto.envelope import KEY_SIZE
from vault_adapters.crypto.kms_client import connect, hide_bodies
from vault_adapters.crypto.kms_errors import translated
from vault_adapters.crypto.service_key import ServiceKey
from vault_domain.entities.errors import ConfigurationError
from vault_domain.ports.cipher import UnreadableError

_PREFIX = "aws-kms:"
_AT_ONCE = 10
_SECONDS = 30.0
"""Longer than botocore's own limits of time, so that its retries are not cut off."""
_MAX_WRAPPED = 6144


class KmsMasterKey(ServiceKey):
    """Implements `MasterKey` with a symmetric key of AWS KMS.

    The encryption context, which CloudTrail shows, holds only the tenant and the data key's id.

    Args:
        uri: ``aws-kms:`` and a key id, key ARN, alias name or alias ARN.
        client: a boto3 KMS client; None creates one at the first call, with boto3's usual configuration, and with the
            region of the ARN if the URI has an ARN.

    Raises:
        ConfigurationError: the URI names no key.
    """

    _service = "kms"

    def __init__(self, uri: str, client: Any = None) -> None:
        self._key_name = uri.removeprefix(_PREFIX)
        if not uri.startswith(_PREFIX) or not self._key_name:
            raise ConfigurationError("a KMS key is named `aws-kms:<key id, alias or ARN>`", code="master_key_unknown")
        super().__init__(uri, "kms")
        self._client = client
        self._connecting = threading.Lock()
        self._calls = Calls(_AT_ONCE, _SECONDS, "kms_unavailable", translated)
        if client is not None:
            hide_bodies(client)

    async def wrap(self, data_key: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
        """See `MasterKey`."""
        request = self._request(tenant_id, data_key_id, Plaintext=data_key)
        del data_key
        try:
            return await self._call("encrypt", request, "CiphertextBlob")
        finally:
            request.clear()  # tracebacks of errors must not hold the data key

    async def unwrap(self, wrapped: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
        """See `MasterKey`."""
        if not 0 < len(wrapped) <= _MAX_WRAPPED:
            raise UnreadableError("size")
        data_key = await self._call(
            "decrypt", self._request(tenant_id, data_key_id, CiphertextBlob=wrapped), "Plaintext"
        )
        if len(data_key) == KEY_SIZE:
            return data_key
        del data_key
        raise UnreadableError("size")

    def _request(self, tenant_id: str, data_key_id: bytes, **text: bytes) -> dict[str, Any]:
        bound = {"tenant": tenant_id, "data_key": data_key_id.hex()}
        return {"KeyId": self._key_name, "EncryptionContext": bound, **text}

    async def _call(self, operation: str, request: dict[str, Any], member: str) -> bytes:
        return await self._calls.run(lambda: bytes(getattr(self._connected(), operation)(**request)[member]))

    def _connected(self) -> Any:
        with self._connecting:
            if self._client is None:
                self._client = connect(self._key_name)
                hide_bodies(self._client)
            return self._client
