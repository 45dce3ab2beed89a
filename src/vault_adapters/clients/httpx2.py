"""Access tokens for httpx2."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from vault_adapters.clients.access import misuse
from vault_adapters.clients.bearer_flow import BearerFlow
from vault_adapters.clients.extras import missing
from vault_adapters.clients.hosts import Hosts, Place

try:
    import httpx2
except ModuleNotFoundError as error:
    raise missing(error, "http") from None

if TYPE_CHECKING:
    from vault_adapters.clients.access import AccessTokens, SyncAccessTokens
    from vault_domain.entities.account import Account


class VaultAuth(BearerFlow[httpx2.Request, httpx2.Response], httpx2.Auth):
    """Authenticates the requests of an httpx2 client with an account's access token.

    - If a response rejects the token, this class reports the rejection to the vault and sends the request once more
      with the token that the vault then returns. For this report, the vault refreshes at most once.
    - A token that is bound to the account's key (DPoP, RFC 9449) is sent with a proof for each request, and once more
      if the server wants its nonce in the proof.
    - A request with a streamed body is not sent again: this class only reports the rejection, and the caller gets the
      first response.
    - Only https requests to the account's hosts get the token; a request to another host is refused and not sent. The
      hosts are those of ``hosts``, else those of the provider's profile. A loopback host may also use http. It may
      use any port if ``hosts`` or the profile names it without a port.
    - Only the request's origin gets the token: httpx2 removes the token's header when a redirect leads to another
      origin.

    Args:
        vault: a `TokenVault` with `httpx2.AsyncClient`, a `SyncVault` with `httpx2.Client`.
        account: the account whose token is sent.
        hosts: the hosts that may get the token, such as ``["api.example.com", "*.example.org"]``. ``*.example.org``
            stands for all hosts below ``example.org``, and ``api.example.com:8443`` has a port other than 443. None:
            the ``api_hosts`` of the provider's profile.
        rejected: function that returns whether a response rejects the token. The function sees status and headers
            only, because the body has not been read yet. None: a response with status 401 rejects the token, or with an
            error that the provider's profile names; for this, short JSON is read.

    A request raises the errors of the vault's `ensure_access_token` and `report_rejected`, and

    - `ConsentRequiredError` if the API asks the user for more: with the status 403 for scopes (RFC 6750), or with 401,
      also after a refresh, for claims (Microsoft) or for a new sign-in (RFC 9470);
    - `ConfigurationError` with the code ``host_not_allowed``, or ``hosts_unknown`` if nothing names the hosts;
    - `VaultError` with the code ``token_not_sendable`` if a header cannot carry the token, or ``token_needs_proof`` if
      the token is bound to a key that the vault does not have;
    - `RuntimeError` if one of client and vault is async and the other is sync.

    Raises:
        InvalidInputError: an argument is not valid.
    """

    def __init__(
        self,
        vault: AccessTokens | SyncAccessTokens,
        account: Account,
        *,
        hosts: Collection[str] | None = None,
        rejected: Callable[[httpx2.Response], bool] | None = None,
    ) -> None:
        refusal = misuse(vault, account, hosts)
        if refusal is not None:
            del vault, account, hosts  # tracebacks must not hold them
            raise refusal
        super().__init__(vault, account, Hosts(hosts), rejected, _is_replayable, _place)


def _is_replayable(request: httpx2.Request) -> bool:
    # Only a body in memory can be sent again, because the first try uses up generators, files and multipart streams.
    return isinstance(request.stream, httpx2.ByteStream)


def _place(request: httpx2.Request) -> Place:
    url = request.url
    return Place(url.scheme, url.raw_host.decode("ascii").strip("[]"), url.port)
