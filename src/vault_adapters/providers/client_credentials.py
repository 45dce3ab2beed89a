"""`ClientCredentialsRefresher`: exchanges a stored client id and secret for an access token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from vault_adapters.providers.answers import read_answer
from vault_adapters.providers.client_auth import AuthMethod, as_secret_method, signed_form
from vault_adapters.providers.endpoint import as_parameters, as_token_url, shown
from vault_adapters.providers.fields import credential_fields
from vault_adapters.providers.http import Incoming, Outgoing, exchange
from vault_adapters.providers.key_refresher import KeyRefresher
from vault_adapters.providers.oauth_errors import CONDEMNS_KEY
from vault_domain.entities.errors import VaultError
from vault_domain.entities.scrub import scrubbed_class
from vault_domain.entities.secret import Secret
from vault_domain.entities.text import as_scopes
from vault_domain.entities.token_set import TokenSet
from vault_domain.ports.token_refresher import RefreshRequest

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient


@scrubbed_class
@frozen(eq=False)
class ClientCredentialsRefresher(KeyRefresher):
    """Exchanges an API key (a ``client_id`` with its ``client_secret``) for an access token (RFC 6749, section 4.4).

    Store the key as ``Secret.from_fields(client_id=..., client_secret=...)``. The answers ``invalid_client`` and
    ``unauthorized_client`` raise `ReauthorizationRequiredError`, because they refuse the account's own key.

    Args:
        token_url: the token endpoint; https, or http on loopback.
        auth_method: ``client_secret_basic`` or ``client_secret_post``.
        scopes: the scopes to request; None requests the provider's default.
        extra: further form parameters, such as ``{"audience": "..."}``.
        client: an HTTP client, which the refresher never closes. None: the HTTP client of the vault; if there is no
            vault, a new HTTP client for each call.

    Raises:
        InvalidInputError: an argument is not valid; the message does not repeat it.
    """

    token_url: str = field(converter=as_token_url, repr=shown)
    auth_method: AuthMethod = field(default="client_secret_basic", converter=as_secret_method, kw_only=True)
    scopes: tuple[str, ...] = field(default=None, converter=as_scopes, kw_only=True)
    extra: dict[str, str] = field(default=None, converter=as_parameters, kw_only=True, repr=False)
    client: HttpClient | None = field(default=None, kw_only=True, repr=False)

    async def _refresh(self, request: RefreshRequest) -> TokenSet | VaultError:
        outgoing = self._outgoing(request.credential)
        if isinstance(outgoing, VaultError):
            return outgoing
        answer = await exchange(self.client, outgoing, request.deadline, request.send_deadline)
        return read_answer(answer, condemns=CONDEMNS_KEY) if isinstance(answer, Incoming) else answer

    def _outgoing(self, credential: Secret) -> Outgoing | VaultError:
        fields = credential_fields(credential, "client_id", "client_secret")
        if isinstance(fields, VaultError):
            return fields
        form = {**self.extra, "grant_type": "client_credentials"}
        if self.scopes:
            form["scope"] = " ".join(self.scopes)
        return signed_form(
            self.token_url,
            form,
            client_id=fields["client_id"],
            client_secret=Secret(fields["client_secret"]),
            auth_method=self.auth_method,
        )
