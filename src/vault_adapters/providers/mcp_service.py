"""`McpServiceRefresher`: gets tokens for a service of its own, without a user (RFC 6749 section 4.4, RFC 7523)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, cast

from attrs import evolve, field, frozen

from vault_adapters.providers.answers import read_answer
from vault_adapters.providers.assertions import Proof, proof_of
from vault_adapters.providers.client_auth import AuthMethod, signed_form
from vault_adapters.providers.endpoint import as_chosen_endpoint
from vault_adapters.providers.fields import credential_fields
from vault_adapters.providers.http import Incoming, exchange
from vault_adapters.providers.key_refresher import KeyRefresher
from vault_adapters.providers.mcp import hosts_at
from vault_adapters.providers.oauth_errors import CONDEMNS_KEY
from vault_adapters.providers.signing_key import SigningKey
from vault_domain.entities.account import Account
from vault_domain.entities.errors import InvalidInputError, ProviderConfigurationError, VaultError
from vault_domain.entities.scrub import scrubbed_class
from vault_domain.entities.secret import Secret
from vault_domain.entities.token_set import TokenSet
from vault_domain.ports.token_refresher import RefreshRequest

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient

SERVICE = "mcp_service"
"""Name of the provider of accounts that a service has of its own; see `McpConnector.connect_service`."""

_OPTIONAL = ("client_secret", "private_key", "resource", "scope")


@scrubbed_class
@frozen(eq=False)
class McpServiceRefresher(KeyRefresher):
    """Gets tokens with the credentials of a service: ``refreshers={"mcp_service": McpServiceRefresher()}``.

    Args:
        private_addresses: whether requests may go to private addresses, and to loopback by http.
        client: an HTTP client, which the refresher never closes. None: the HTTP client of the vault.
    """

    private_addresses: bool = field(default=False, kw_only=True)
    client: HttpClient | None = field(default=None, kw_only=True, repr=False)

    async def hosts_of(self, account: Account, extra: Mapping[str, str]) -> Iterable[str]:
        """Return the server's host; see `HostNamer`."""
        return hosts_at(account)

    async def _refresh(self, request: RefreshRequest) -> TokenSet | VaultError:
        fields = credential_fields(
            request.credential, "client_id", "auth_method", "issuer", "token_url", optional=_OPTIONAL
        )
        if isinstance(fields, VaultError):
            return fields
        try:
            url = as_chosen_endpoint(fields["token_url"], "token_url", private=self.private_addresses)
            key = SigningKey.from_pem(fields["private_key"]) if "private_key" in fields else None
        except InvalidInputError as error:
            return ProviderConfigurationError(str(error), refused=False)
        proof = await proof_of(key, fields["client_id"], fields["issuer"], request.deadline, request.send_deadline)
        if not isinstance(proof, Proof):
            return proof
        form: dict[str, str] = {name: fields[name] for name in ("resource", "scope") if name in fields}
        form["grant_type"] = "client_credentials"
        outgoing = signed_form(
            url,
            {**form, **proof.members},
            client_id=fields["client_id"],
            client_secret=Secret(fields["client_secret"]) if "client_secret" in fields else None,
            auth_method=cast("AuthMethod", fields["auth_method"]),
        )
        outgoing = evolve(outgoing, public=not self.private_addresses)
        answer = await exchange(self.client, outgoing, proof.deadline, proof.send_deadline)
        return read_answer(answer, condemns=CONDEMNS_KEY) if isinstance(answer, Incoming) else answer
