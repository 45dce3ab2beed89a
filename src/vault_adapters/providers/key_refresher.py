"""`KeyRefresher`: the base of refreshers that spend an account's own API key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from attrs import evolve

from vault_adapters.providers.http import settle
from vault_domain.entities.account import TokenKind
from vault_domain.entities.errors import VaultError
from vault_domain.entities.rotation_policy import Rotation
from vault_domain.entities.token_set import TokenSet
from vault_domain.ports.token_refresher import RefreshRequest

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient


class KeyRefresher:
    """Base of refreshers that exchange an API key for an access token.

    A subclass is an attrs class with the field ``client``.
    """

    __slots__ = ()

    @property
    def spends(self) -> TokenKind:
        """The kind of credential, which is an API key."""
        return TokenKind.API_KEY

    @property
    def rotation(self) -> Rotation:
        """The rotation policy: a refresh does not change the API key."""
        return Rotation.non_rotating()

    def with_client(self, client: HttpClient) -> Self:
        """Return a copy that sends its requests through ``client``, which it never closes."""
        return evolve(self, client=client)  # type: ignore[misc]  # subclasses are attrs classes

    async def refresh(self, request: RefreshRequest) -> TokenSet:
        """Ask the provider for a new access token; see `TokenRefresher`."""
        return settle(await self._refresh(request), request.account)

    async def _refresh(self, request: RefreshRequest) -> TokenSet | VaultError:
        """Return the token set or the error.

        This method does not raise the error, because the error's traceback would keep frames that hold secrets.
        """
        raise NotImplementedError
