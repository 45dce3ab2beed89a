"""`Handshake`: what the callback must know of the authorization request; it travels sealed in the ``state``."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from vault_adapters.providers.dpop import new_key
from vault_domain.entities.secret import Secret

_SEED_BYTES = 32


@frozen
class Handshake:
    """One request for authorization.

    Attributes:
        provider: the provider's name.
        seed: the secret from which the PKCE verifier, the nonce and the account's key are derived.
        reconnected: the identifier of the account to connect again, or None for any account.
        scopes: the requested scopes. An answer that names no scopes grants all of these (RFC 6749 section 5.1).
        variables: the values of the profile's variables for this account.
    """

    provider: str
    seed: str = field(repr=False)
    reconnected: str | None = None
    scopes: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(factory=dict)

    @property
    def proof_key(self) -> Secret:
        """The private key for an account that this request connects with DPoP. The browser sees it only sealed."""
        return new_key(f"proof key\0{self.seed}".encode())

    @property
    def verifier(self) -> str:
        """The PKCE code verifier (RFC 7636): 43 characters."""
        return self._derived("verifier")

    @property
    def nonce(self) -> str:
        """The nonce of OpenID Connect. It shows nothing of the verifier."""
        return self._derived("nonce")

    def encoded(self) -> Secret:
        """Return the handshake as a short text, because some providers limit the length of a state."""
        parts: list[Any] = [self.provider, self.seed, self.reconnected, " ".join(self.scopes), dict(self.variables)]
        while not parts[-1]:
            parts.pop()
        return Secret(json.dumps(parts, separators=(",", ":"), ensure_ascii=False))

    def _derived(self, purpose: str) -> str:
        digest = hashlib.sha256(f"{purpose}\0{self.seed}".encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def new_seed() -> str:
    """Return a random seed of 256 bits."""
    return base64.urlsafe_b64encode(secrets.token_bytes(_SEED_BYTES)).decode().rstrip("=")


def decoded(content: Secret) -> Handshake:
    """Return the handshake that `Handshake.encoded` encoded.

    ``content`` is not checked, because it comes from an authentic state.
    """
    parts = json.loads(content.reveal())
    provider, seed, reconnected, scopes, variables = parts + [None] * (5 - len(parts))
    return Handshake(provider, seed, reconnected, tuple((scopes or "").split()), variables or {})


def bound_to(session: str, redirect_uri: str) -> str:
    """Return the text that a state is bound to: the user's session and the address that the user comes back to."""
    return json.dumps(["connect", redirect_uri, session])
