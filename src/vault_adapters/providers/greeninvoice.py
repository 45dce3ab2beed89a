"""`GreenInvoiceRefresher`: exchanges an API key's id and secret for a short-lived JWT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from vault_adapters.providers.endpoint import as_token_url, shown
from vault_adapters.providers.http import Incoming, exchange
from vault_adapters.providers.key_refresher import KeyRefresher
from vault_adapters.providers.oauth_errors import CONDEMNS_KEY
from vault_adapters.providers.profiles import packaged_profile
from vault_adapters.providers.shaped_answers import read_shaped
from vault_adapters.providers.shaped_requests import keyed
from vault_domain.entities.errors import VaultError
from vault_domain.entities.scrub import scrubbed_class
from vault_domain.entities.token_set import TokenSet
from vault_domain.ports.token_refresher import RefreshRequest

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient

_PROFILE = packaged_profile("greeninvoice")

GREENINVOICE_TOKEN_URL = _PROFILE.url("token_url", {}) or ""


@scrubbed_class
@frozen(eq=False)
class GreenInvoiceRefresher(KeyRefresher):
    """Exchanges a GreenInvoice (Morning) API key: a POST of ``{"id", "secret"}`` returns ``{"token", "expires"}``.

    Store the key as ``Secret.from_fields(id=..., secret=...)``. The token is a JWT, and ``expires`` is in Unix time;
    without ``expires``, the token's ``exp`` claim is used. The status 401 means that the key is permanently invalid,
    and so do the OAuth error codes that condemn a client id and secret (`CONDEMNS_KEY`).

    The profile ``greeninvoice`` names the sources, and the facts that are not verified. The sandbox is
    ``https://sandbox.d.greeninvoice.co.il/api/v1/account/token``.

    Args:
        token_url: the token endpoint; https, or http on loopback.
        client: an HTTP client, which the refresher never closes. None: the HTTP client of the vault; if there is no
            vault, a new HTTP client for each call.

    Raises:
        InvalidInputError: an argument is not valid; the message does not repeat it.
    """

    token_url: str = field(default=GREENINVOICE_TOKEN_URL, converter=as_token_url, repr=shown)
    client: HttpClient | None = field(default=None, kw_only=True, repr=False)

    async def _refresh(self, request: RefreshRequest) -> TokenSet | VaultError:
        outgoing = keyed(_PROFILE, self.token_url, {}, request.credential, "client_secret_post")
        if isinstance(outgoing, VaultError):
            return outgoing
        answer = await exchange(self.client, outgoing, request.deadline, request.send_deadline)
        return read_shaped(answer, _PROFILE, CONDEMNS_KEY) if isinstance(answer, Incoming) else answer
