"""A key of HashiCorp Vault's or OpenBao's Transit engine as a master key, over its HTTP API.

The interface is https://developer.hashicorp.com/vault/api-docs/secret/transit. The vault's own HTTP library is used and
not a client library, because two requests are needed, and because a request that hangs then holds no thread.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import ssl
from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from vault_adapters.crypto.envelope import KEY_ID_SIZE, KEY_SIZE, Uncopied, encode_context
from vault_adapters.crypto.round_trip import check_round_trip
from vault_domain.entities.errors import ConfigurationError, KeyUnavailableError
from vault_domain.entities.secret import Secret
from vault_domain.ports.cipher import UnreadableError
from vault_domain.rules.key_states import KEY_DENIED

PROVIDER = "transit"

_PREFIX = "transit:"
_URI = re.compile(r"transit:(https?://[A-Za-z0-9.\[\]:-]{1,255})/([A-Za-z0-9_./-]{1,255})/([A-Za-z0-9_.-]{1,128})\Z")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_SECONDS = 4.0
_MOST_ANSWER = 65_536

# What the engine says when the key may not be used, with the status 400. Every other 400 concerns the ciphertext.
_KEY_REFUSED = ("encryption key not found", "disallowed by policy", "key is not", "soft deleted", "soft-deleted")

Tokens = Callable[[str], tuple[Secret, str | None] | None]
"""Returns the token and the namespace for a server's address; None: there is none."""


def is_transit_uri(uri: str) -> bool:
    """Return whether the URI of a master key names a key of a Transit engine."""
    return uri.startswith(_PREFIX)


class TransitMasterKey(Uncopied):
    """Implements `MasterKey` with a key of a Transit engine.

    The engine gets the data key, followed by a hash of the tenant and the data key's id, because not every type of its
    keys binds a context.

    Args:
        uri: ``transit:``, the server's address, the engine's mount and the key's name, as in
            ``transit:https://vault.example:8200/transit/acme``.
        tokens: gives the token for the server's address.

    Raises:
        ConfigurationError: the URI names no key; plain HTTP is allowed on loopback only.
    """

    _what = "a key"

    def __init__(self, uri: str, tokens: Tokens) -> None:
        found = _URI.match(uri)
        if found is None or ".." in uri or not _is_safe(found[1]):
            raise ConfigurationError(
                "a key of a Transit engine is named `transit:https://<host>:<port>/<mount>/<key>`",
                code="master_key_unknown",
            )
        self._address, self._mount, self._name = found.groups()
        self._tokens = tokens
        self._key_id = hashlib.sha256(b"tokenvault/v1/transit\x00" + uri.encode()).digest()[:KEY_ID_SIZE]

    @property
    def key_id(self) -> bytes:
        """The key's id, derived from the URI."""
        return self._key_id

    async def wrap(self, data_key: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
        """See `MasterKey`."""
        body = {"plaintext": base64.b64encode(data_key + _binding(tenant_id, data_key_id)).decode()}
        del data_key
        try:
            ciphertext = await self._ask("encrypt", body, "ciphertext")
        finally:
            body.clear()  # tracebacks of errors must not hold the data key
        return ciphertext.encode()

    async def unwrap(self, wrapped: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
        """See `MasterKey`."""
        answer = await self._ask("decrypt", {"ciphertext": wrapped.decode("ascii", "replace")}, "plaintext")
        try:
            plaintext = base64.b64decode(answer, validate=True)
        except binascii.Error:
            plaintext = b""
        finally:
            del answer
        data_key, binding = plaintext[:KEY_SIZE], plaintext[KEY_SIZE:]
        del plaintext
        if hmac.compare_digest(binding, _binding(tenant_id, data_key_id)):
            return data_key
        del data_key
        raise UnreadableError("binding")

    async def check(self) -> None:
        """Wrap and unwrap random bytes, to check the same permissions that data keys need."""
        wrong = ConfigurationError(
            "the key service did not return the data that it encrypted", code="transit_wrong_key"
        )
        await check_round_trip(self, wrong)

    def __repr__(self) -> str:
        return f"TransitMasterKey(key_id={self._key_id.hex()})"

    async def _ask(self, operation: str, body: dict[str, str], member: str) -> str:
        outcome = await self._send(operation, body, member)
        body = {}
        if isinstance(outcome, Exception):
            # Raise here, because an error of the HTTP library would keep frames that hold the request or the answer.
            raise outcome
        return outcome[0]

    async def _send(self, operation: str, body: dict[str, str], member: str) -> list[str] | Exception:
        try:
            import httpx2
        except ImportError:
            return ConfigurationError(
                "a Transit engine needs httpx2: install `token-vault[http]`", code="missing_extra"
            )
        found = self._tokens(self._address)
        if found is None:
            return ConfigurationError(
                "there is no token for the Transit engine's address in the file of key_service_tokens",
                code="transit_token_missing",
            )
        token, namespace = found
        headers = {"X-Vault-Token": token.reveal(), "X-Vault-Request": "true"}
        if namespace is not None:
            headers["X-Vault-Namespace"] = namespace
        url = f"{self._address}/v1/{self._mount}/{operation}/{self._name}"
        try:
            async with (
                httpx2.AsyncClient(timeout=_SECONDS, follow_redirects=False, verify=_trusted()) as client,
                client.stream("POST", url, json=body, headers=headers) as response,
            ):
                content = b""
                async for part in response.aiter_bytes():
                    content += part
                    if len(content) > _MOST_ANSWER:
                        return KeyUnavailableError(reason="transit_unavailable")
            return _read(response.status_code, content, member)
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError):
            return KeyUnavailableError(reason="transit_unavailable")


@cache
def _trusted() -> ssl.SSLContext:
    """Return one context for all requests, because making one takes many milliseconds."""
    return ssl.create_default_context()


def _read(status: int, content: bytes, member: str) -> list[str] | Exception:
    """Return the member of an answer, in a list, whose items asyncio's debug mode does not log; or the error."""
    answer = _parsed(content)
    if status == 200:
        data = answer.get("data")
        value = data.get(member) if isinstance(data, dict) else None
        return [value] if isinstance(value, str) else KeyUnavailableError(reason="transit_unavailable")
    if status in (401, 403, 404):
        return ConfigurationError("the key service does not allow the use of the master key", code=KEY_DENIED)
    if status != 400:
        return KeyUnavailableError(reason="transit_throttled" if status == 429 else "transit_unavailable")
    errors = answer.get("errors")
    told = " ".join(map(str, errors)).lower() if isinstance(errors, list) else ""
    if any(text in told for text in _KEY_REFUSED):
        return ConfigurationError("the key service does not allow the use of the master key", code=KEY_DENIED)
    return UnreadableError("transit_ciphertext")


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _binding(tenant_id: str, data_key_id: bytes) -> bytes:
    return hashlib.sha256(encode_context("dek", tenant_id, data_key_id.hex())).digest()


def _is_safe(address: str) -> bool:
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme == "https" or parts.hostname in _LOOPBACK
