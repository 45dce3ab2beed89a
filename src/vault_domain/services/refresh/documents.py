"""Seals the documents of providers, each for its issuer, so that nobody else's text can take a document's place."""

from __future__ import annotations

import logging
from hashlib import sha256

from vault_domain.entities.account import TokenKey, TokenKind, stored_key
from vault_domain.entities.errors import VaultError
from vault_domain.entities.secret import Secret
from vault_domain.entities.text import AUDIT_TENANT
from vault_domain.ports.cipher import Cipher, UnreadableError
from vault_domain.ports.documents import Documents

_log = logging.getLogger(__name__)


class SealedDocuments:
    """Implements `DocumentKeeper`.

    The documents are sealed under the data keys of the tenant that no host can name; these are never destroyed.
    """

    def __init__(self, documents: Documents, cipher: Cipher) -> None:
        self._documents = documents
        self._cipher = cipher

    async def load(self, issuer: str) -> str | None:
        """Return the text that was kept for an issuer; None if there is none that is genuine."""
        name = sha256(issuer.encode()).digest()
        try:
            sealed = await self._documents.get(name)
            if sealed is None:
                return None
            return (await self._cipher.open(_key(name), sealed)).reveal()
        except (UnreadableError, VaultError) as error:
            _log.warning("a provider's document cannot be read from the database (%s)", _reason(error))
            return None

    async def keep(self, issuer: str, text: str) -> None:
        """Keep a text for an issuer."""
        name = sha256(issuer.encode()).digest()
        try:
            [sealed] = await self._cipher.seal([(_key(name), Secret(text))])
            await self._documents.put(name, sealed)
        except VaultError as error:
            _log.warning("a provider's document cannot be kept in the database (%s)", _reason(error))


def _key(name: bytes) -> TokenKey:
    """Return the context under which a document is sealed."""
    return stored_key(AUDIT_TENANT, "openid", TokenKind.WEBHOOK_SECRET, name.hex())


def _reason(error: UnreadableError | VaultError) -> str:
    return error.reason or str(getattr(error, "code", ""))
