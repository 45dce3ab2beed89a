"""`GreenInvoiceRefresher`: exchanges an API key's id and secret for a short-lived JWT."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from vault_adapters.providers.answers import Members, read_answer
from vault_adapters.providers.endpoint import as_token_url, shown
from vault_adapters.providers.fields import credential_fields
from vault_adapters.providers.http import Incoming, Outgoing, exchange, settle
from vault_adapters.providers.oauth_errors import CONDEMNS_KEY
from vault_domain.entities.account import TokenKind
from vault_domain.entities.errors import VaultError
from vault_domain.entities.rotation_policy import Rotation
from vault_domain.entities.scrub import scrubbed_class
from vault_domain.entities.secret import Secret
from vault_domain.entities.token_set import TokenSet
from vault_domain.ports.token_refresher import RefreshRequest

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient

GREENINVOICE_TOKEN_URL = "https://api.greeninvoice.co.il/api/v1/account/token"


@scrubbed_class
@frozen(eq=False)
class GreenInvoiceRefresher:
    """Exchanges a GreenInvoice (Morning) API key: a POST of ``{"id", "secret"}`` returns ``{"token", "expires"}``.

    Store the key as ``Secret.from_fields(id=..., secret=...)``. The token is a JWT, and ``expires`` is in Unix time;
    without ``expires``, the token's ``exp`` claim is used. Status 401 means that the key is permanently invalid, and so
    do OAuth error codes that condemn a client id and secret (`CONDEMNS_KEY`).

    Source: the provider's API reference, greeninvoice.docs.apiary.io ("Account", obtain token); its sandbox is
    ``https://sandbox.d.greeninvoice.co.il/api/v1/account/token``.

    Args:
        token_url: the token endpoint; https, or http on loopback.
        client: an HTTP client, which is never closed; None opens one for each call.

    Raises:
        InvalidInputError: an argument is not valid; the message does not repeat it.
    """

    token_url: str = field(default=GREENINVOICE_TOKEN_URL, converter=as_token_url, repr=shown)
    client: HttpClient | None = field(default=None, kw_only=True, repr=False)

    @property
    def spends(self) -> TokenKind:
        """The kind of credential: an API key."""
        return TokenKind.API_KEY

    @property
    def rotation(self) -> Rotation:
        """The rotation policy: a refresh does not change the key."""
        return Rotation.non_rotating()

    def with_client(self, client: HttpClient) -> GreenInvoiceRefresher:
        """Return a copy that sends its requests through ``client``, which it never closes."""
        return evolve(self, client=client)

    async def refresh(self, request: RefreshRequest) -> TokenSet:
        """Ask the provider for a new access token; see `TokenRefresher`."""
        return settle(await self._refresh(request), request.account)

    async def _refresh(self, request: RefreshRequest) -> TokenSet | VaultError:
        outgoing = self._outgoing(request.credential)
        if isinstance(outgoing, VaultError):
            return outgoing
        answer = await exchange(self.client, outgoing, request.deadline, request.send_deadline)
        if not isinstance(answer, Incoming):
            return answer
        return read_answer(answer, dialect=_as_oauth, condemns=CONDEMNS_KEY)

    def _outgoing(self, credential: Secret) -> Outgoing | VaultError:
        fields = credential_fields(credential, "id", "secret")
        if isinstance(fields, VaultError):
            return fields
        return Outgoing(self.token_url, json.dumps(fields).encode(), {"Content-Type": "application/json"})


def _as_oauth(status: int, members: Members | None) -> Members | None:
    if status == 401:
        return {"error": "invalid_client"}
    if members is None or "token" not in members:
        return members
    return {"access_token": members["token"], "expires_at": members.get("expires")}
