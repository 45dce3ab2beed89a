"""A key of HashiCorp Vault's or OpenBao's Transit engine as a master key, over its HTTP API.

The interface is https://developer.hashicorp.com/vault/api-docs/secret/transit. The vault's own HTTP library is used and
not a client library, because two requests are needed, and because a request that hangs then holds no thread.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from vault_adapters.crypto.bindings import BOUND_SIZE, bound, unbound
from vault_adapters.crypto.key_http import HttpAnswer, post
from vault_adapters.crypto.service_key import ServiceKey, denied
from vault_domain.entities.errors import ConfigurationError, KeyUnavailableError
from vault_domain.entities.secret import Secret
from vault_domain.ports.cipher import UnreadableError

_URI = re.compile(r"transit:(https?://[A-Za-z0-9.\[\]:-]{1,255})/([A-Za-z0-9_./-]{1,255})/([A-Za-z0-9_.-]{1,128})\Z")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_SYMMETRIC_SIZE = 12 + BOUND_SIZE + 16
"""Length of a wrap by AES-GCM or ChaCha20-Poly1305, with nonce and tag."""

# What the engine says when the key may not be used, with the status 400. Every other 400 concerns the ciphertext.
_KEY_REFUSED = ("encryption key not found", "disallowed by policy", "key is not", "soft deleted", "soft-deleted")

Tokens = Callable[[str], tuple[Secret, str | None] | None]
"""Returns the token and the namespace for a server's address; None: there is none."""


class TransitMasterKey(ServiceKey):
    """Implements `MasterKey` with a key of a Transit engine.

    The engine gets the data key, followed by a hash of the tenant and the data key's id, because not every type of its
    keys binds a context.

    Args:
        uri: ``transit:``, the server's address, the engine's mount and the key's name, as in
            ``transit:https://vault.example:8200/transit/acme``.
        tokens: gives the token for the server's address.
        only_symmetric: whether only the engine may be able to make a wrap, as for a master key of the whole vault.

    Raises:
        ConfigurationError: the URI names no key; plain HTTP is allowed on loopback only.
    """

    _service = "transit"

    def __init__(self, uri: str, tokens: Tokens, *, only_symmetric: bool = False) -> None:
        found = _URI.match(uri)
        if found is None or ".." in uri or not _is_safe(found[1]):
            raise ConfigurationError(
                "a key of a Transit engine is named `transit:https://<host>:<port>/<mount>/<key>`",
                code="master_key_unknown",
            )
        self._address, self._mount, self._name = found.groups()
        self._tokens = tokens
        self._only_symmetric = only_symmetric
        super().__init__(uri, "transit")

    async def wrap(self, data_key: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
        """See `MasterKey`."""
        body = {"plaintext": base64.b64encode(bound(data_key, tenant_id, data_key_id)).decode()}
        del data_key
        try:
            wrapped = (await self._ask("encrypt", body, "ciphertext")).encode()
        finally:
            body.clear()  # tracebacks of errors must not hold the data key
        if self._only_symmetric and not _is_symmetric(wrapped):
            raise ConfigurationError(
                "a vault's master key in a Transit engine must be of the type aes256-gcm96 or chacha20-poly1305",
                code="transit_key_type",
            )
        return wrapped

    async def unwrap(self, wrapped: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
        """See `MasterKey`."""
        if self._only_symmetric and not _is_symmetric(wrapped):
            raise UnreadableError("size")
        answer = await self._ask("decrypt", {"ciphertext": wrapped.decode("ascii", "replace")}, "plaintext")
        held = []  # empty when an error is raised, whose traceback must not hold the data key
        try:
            held.append(base64.b64decode(answer, validate=True))
        except binascii.Error:
            held.append(b"")
        finally:
            del answer
        return unbound(held.pop(), tenant_id, data_key_id)

    async def _ask(self, operation: str, body: dict[str, str], member: str) -> str:
        try:
            found = self._tokens(self._address)
            if found is None:
                raise ConfigurationError(
                    "there is no token for the Transit engine's address in the file of key_service_tokens",
                    code="transit_token_missing",
                )
            token, namespace = found
            headers = {"X-Vault-Token": token.reveal(), "X-Vault-Request": "true"}
            if namespace is not None:
                headers["X-Vault-Namespace"] = namespace
            url = f"{self._address}/v1/{self._mount}/{operation}/{self._name}"
            outcome = await post(url, body, headers, service="transit", extra="http")
        finally:
            body, headers = {}, {}
        if isinstance(outcome, Exception):
            raise outcome
        if outcome.status != 200:
            raise _refusal(outcome)
        text = outcome.text("data", member)
        if text is None:
            raise KeyUnavailableError(reason="transit_unavailable")
        return text


def _refusal(answer: HttpAnswer) -> Exception:
    if answer.status in (401, 403, 404):
        return denied()
    if answer.status != 400:
        return KeyUnavailableError(reason="transit_throttled" if answer.status == 429 else "transit_unavailable")
    errors = answer.members.get("errors")
    told = " ".join(map(str, errors)).lower() if isinstance(errors, list) else ""
    return denied() if any(text in told for text in _KEY_REFUSED) else UnreadableError("transit_ciphertext")


def _is_symmetric(wrapped: bytes) -> bool:
    """Return whether a wrap has the length that it has under a symmetric key.

    The public half of an RSA key can make a wrap too, so a wrap under one proves nothing.
    """
    try:
        return len(base64.b64decode(wrapped.rpartition(b":")[2], validate=True)) == _SYMMETRIC_SIZE
    except binascii.Error:
        return False


def _is_safe(address: str) -> bool:
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme == "https" or parts.hostname in _LOOPBACK
