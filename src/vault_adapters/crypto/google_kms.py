"""A symmetric key of Google Cloud KMS as a master key, over its REST API with the credentials of google-auth.

The interface is https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys. Of
Google's libraries, google-auth gets the access tokens. google-cloud-kms is not used: two requests are needed, and it
brings gRPC, which does not survive a fork, and twice the memory and time to load.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from vault_adapters.crypto.calling import Calls
from vault_adapters.crypto.crc32c import crc32c
from vault_adapters.crypto.envelope import KEY_SIZE, encode_context
from vault_adapters.crypto.key_http import HttpAnswer, post
from vault_adapters.crypto.service_key import Entries, ServiceKey, denied, refusal, without_credentials
from vault_domain.entities.errors import ConfigurationError, KeyUnavailableError
from vault_domain.ports.cipher import UnreadableError

_URI = re.compile(
    r"gcp-kms:((projects/[a-z0-9:.-]{1,64})/locations/[a-z0-9-]{1,63}/keyRings/[A-Za-z0-9_-]{1,63}"
    r"/cryptoKeys/[A-Za-z0-9_-]{1,63})\Z"
)
_SERVICE = "https://cloudkms.googleapis.com"
_ENDPOINT = re.compile(r"(https://[A-Za-z0-9.-]{1,255}|http://(127\.0\.0\.1|localhost))(:[0-9]{1,5})?\Z")
_SCOPE = "https://www.googleapis.com/auth/cloudkms"
_SECONDS, _TOKEN_SECONDS, _AT_ONCE = 8.0, 3.0, 2
_MOST_WRAPPED = 8192


class GoogleMasterKey(ServiceKey):
    """Implements `MasterKey` with a symmetric key of Google Cloud KMS.

    The additional authenticated data, which the audit logs of Google do not show, is the tenant and the data key's id.
    Every request has the checksums of its parts, and an answer without matching checksums is refused.

    Args:
        uri: ``gcp-kms:`` and the name of a key, as in ``gcp-kms:projects/p/locations/l/keyRings/r/cryptoKeys/k``.
        entries: gives ``credentials``, a file, and the ``endpoint``, an address, for ``gcp-kms:projects/p``. Without an
            entry, google-auth's default credentials are used, and Google's address.

    Raises:
        ConfigurationError: the URI names no key.
    """

    _service = "gcp"

    def __init__(self, uri: str, entries: Entries) -> None:
        found = _URI.match(uri)
        if found is None:
            raise ConfigurationError(
                "a key of Google Cloud KMS is named"
                " `gcp-kms:projects/<project>/locations/<location>/keyRings/<ring>/cryptoKeys/<key>`",
                code="master_key_unknown",
            )
        self._name, self._project = found.groups()
        self._entries = entries
        super().__init__(uri, "gcp-kms")
        self._calls = Calls(_AT_ONCE, _SECONDS, "gcp_unavailable", _of_google_auth)

    async def wrap(self, data_key: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
        """See `MasterKey`."""
        body = {"plaintext": _text(data_key), "plaintextCrc32c": str(crc32c(data_key))}
        del data_key
        try:
            answer = await self._ask("encrypt", body, tenant_id, data_key_id)
        finally:
            body.clear()  # tracebacks of errors must not hold the data key
        wrapped = _checked(answer, "ciphertext")
        verified = ("verifiedPlaintextCrc32c", "verifiedAdditionalAuthenticatedDataCrc32c")
        if not all(answer.members.get(name) is True for name in verified) or not self._is_own(answer.text("name")):
            raise KeyUnavailableError(reason="gcp_corrupted")
        return wrapped

    async def unwrap(self, wrapped: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
        """See `MasterKey`."""
        if not 0 < len(wrapped) <= _MOST_WRAPPED:
            raise UnreadableError("size")
        body = {"ciphertext": _text(wrapped), "ciphertextCrc32c": str(crc32c(wrapped))}
        data_key = _checked(await self._ask("decrypt", body, tenant_id, data_key_id), "plaintext")
        if len(data_key) == KEY_SIZE:
            return data_key
        del data_key
        raise UnreadableError("size")

    def _is_own(self, version: str | None) -> bool:
        return version is not None and version.startswith(f"{self._name}/cryptoKeyVersions/")

    async def _ask(self, operation: str, body: dict[str, str], tenant_id: str, data_key_id: bytes) -> HttpAnswer:
        context = encode_context("dek", tenant_id, data_key_id.hex())
        sent = {
            **body,
            "additionalAuthenticatedData": _text(context),
            "additionalAuthenticatedDataCrc32c": str(crc32c(context)),
        }
        try:
            entry = self._entries(self._project_name()) or {}
            file, endpoint = entry.get("credentials"), entry.get("endpoint", _SERVICE)
            if not isinstance(endpoint, str) or not _ENDPOINT.match(endpoint):
                raise ConfigurationError("the endpoint of the key service is not valid", code="gcp_endpoint")
            token = await self._calls.run(partial(_token, file if isinstance(file, str) else None))
            headers, token = {"Authorization": f"Bearer {token.decode()}"}, b""
            outcome = await post(f"{endpoint}/v1/{self._name}:{operation}", sent, headers, service="gcp", extra="gcp")
        finally:
            body, sent, headers = {}, {}, {}
        if isinstance(outcome, Exception):
            raise outcome
        if outcome.status != 200:
            raise _refusal(outcome, operation)
        return outcome

    def _project_name(self) -> str:
        return f"gcp-kms:{self._project}"


@lru_cache(256)
def _credentials(file: str | None, changed: int | None) -> Any:
    """Return the credentials of a file, or google-auth's default ones; all keys share them and their tokens.

    Args:
        file: the file.
        changed: when it was changed, so that a new one is read.
    """
    import google.auth

    if file is None:
        return google.auth.default(scopes=[_SCOPE])[0]
    from google.oauth2.service_account import Credentials

    return Credentials.from_service_account_file(file, scopes=[_SCOPE])  # type: ignore[no-untyped-call]


def _token(file: str | None) -> bytes:
    """Return an access token; it runs in a thread, because google-auth may ask a server for it."""
    from google.auth.transport.requests import Request

    credentials = _credentials(file, None if file is None else Path(file).stat().st_mtime_ns)
    if not credentials.valid:
        credentials.refresh(partial(Request(), timeout=_TOKEN_SECONDS))
    return str(credentials.token).encode()


def _of_google_auth(error: Exception) -> Exception:
    if isinstance(error, ImportError):
        return ConfigurationError(
            "Google Cloud KMS needs google-auth: install `token-vault[gcp]`", code="missing_extra"
        )
    if type(error).__name__ == "TransportError" or getattr(error, "retryable", False):
        return KeyUnavailableError(reason="gcp_unavailable")
    return without_credentials("gcp")


def _refusal(answer: HttpAnswer, operation: str) -> Exception:
    status = answer.text("error", "status")
    if answer.status in (403, 404) or status == "FAILED_PRECONDITION":
        return denied()  # a version that is disabled or destroyed fails so too
    return refusal(answer.status, "gcp", unwraps=operation == "decrypt")


def _checked(answer: HttpAnswer, member: str) -> bytes:
    """Return the bytes of a member whose checksum is right.

    Raises:
        KeyUnavailableError: it is missing or was changed on its way; another try may succeed.
    """
    found, told = answer.text(member), answer.text(f"{member}Crc32c")
    try:
        content = base64.b64decode(found or "", validate=True)
    except binascii.Error:
        content = b""
    finally:
        del answer, found
    if content and told == str(crc32c(content)):
        return content
    del content
    raise KeyUnavailableError(reason="gcp_corrupted")


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
