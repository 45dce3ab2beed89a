"""Documents: what providers publish about themselves, kept so that it serves while a provider is down."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from vault_domain.entities.token import SealedToken


class Documents(Protocol):
    """Keeps sealed documents by name. They belong to no tenant, and no list, count or export shows them."""

    async def get(self, name: bytes) -> SealedToken | None:
        """Return the document with a name of 32 bytes; None if there is none."""

    async def put(self, name: bytes, sealed: SealedToken) -> None:
        """Keep a document in place of the one with its name, if there is one."""


class DocumentKeeper(Protocol):
    """Keeps the last good document of each issuer. An error of the database or of a key is logged and not raised."""

    async def load(self, issuer: str) -> str | None:
        """Return the text that was kept for an issuer; None if there is none that is genuine."""

    async def keep(self, issuer: str, text: str) -> None:
        """Keep a text of at most 64 KiB for an issuer."""


@runtime_checkable
class DocumentUser(Protocol):
    """Optional protocol of a refresher that needs documents of its provider."""

    def kept_by(self, keeper: DocumentKeeper) -> AbstractContextManager[None]:
        """Use a keeper until the block ends; it may be called on the event loop on which this method is called."""
