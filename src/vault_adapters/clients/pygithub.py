"""Bearer tokens for PyGithub."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from vault_adapters.clients.access import misuse, value_of
from vault_adapters.clients.extras import missing
from vault_adapters.clients.hosts import Hosts, place_of
from vault_domain import ConfigurationError

try:
    from github.Auth import Auth
    from github.Requester import Requester, WithRequester
except ModuleNotFoundError as error:
    raise missing(error, "pygithub") from None

if TYPE_CHECKING:
    from vault_adapters.clients.access import SyncAccessTokens
    from vault_domain.entities.account import Account
    from vault_domain.entities.token import Token


class VaultAuth(Auth, WithRequester["VaultAuth"]):
    """Authenticates PyGithub with an account's access token: ``Github(auth=VaultAuth(vault, account))``.

    If GitHub answers 401 to a request, this class reports the token to the vault as rejected and sends the request once
    more with the token that the vault then returns. For this report, the vault refreshes at most once. Uploads of files
    are not sent again.

    PyGithub sends the token to GitHub's hosts, or to the host of ``base_url``. Only if this host is one of ``hosts``,
    else one of the hosts of the provider's profile, is the token sent.

    A request raises the errors of the vault's `ensure_access_token` and `report_rejected`, and

    - `ConfigurationError` with the code ``host_not_allowed``, or ``hosts_unknown`` if nothing names the hosts;
    - `VaultError` with the code ``token_not_sendable`` or ``token_needs_proof``.

    Args:
        vault: a `SyncVault`.
        account: the account whose token is sent.
        hosts: the hosts that may get the token; None: the ``api_hosts`` of the provider's profile.

    Raises:
        InvalidInputError: an argument is not valid.
    """

    def __init__(self, vault: SyncAccessTokens, account: Account, *, hosts: Collection[str] | None = None) -> None:
        refusal = misuse(vault, account, hosts)
        if refusal is not None:
            del vault, account, hosts  # tracebacks must not hold them
            raise refusal
        super().__init__()
        self._vault = vault
        self._account = account
        self._hosts = Hosts(hosts)
        self._sent = threading.local()  # the token of this thread's last request

    @property
    def token_type(self) -> str:
        """The scheme of the header."""
        return self._header().partition(" ")[0]

    @property
    def token(self) -> str:
        """The plaintext access token."""
        return self._header().partition(" ")[2]

    def authentication(self, headers: dict[str, Any]) -> None:
        """Put the token into the headers of a request; see PyGithub."""
        headers["Authorization"] = self._header()

    def withRequester(self, requester: Requester) -> VaultAuth:  # noqa: N802  # PyGithub's name
        """Notice the answers of a requester; PyGithub calls this method.

        Raises:
            ConfigurationError: this object already serves another ``base_url`` (``host_not_allowed``), so it could not
                tell where a request goes.
        """
        known = self.requester
        if known is not None and known.base_url != requester.base_url:
            raise ConfigurationError(
                "each base_url needs a VaultAuth of its own", code="host_not_allowed", account=self._account
            )
        super().withRequester(requester)
        send = requester.requestJson

        def send_again_if_rejected(*arguments: Any, **options: Any) -> Any:
            return self._send(send, arguments, options)

        requester.requestJson = send_again_if_rejected  # type: ignore[method-assign]
        return self

    def _send(self, send: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        answer = send(*arguments, **options)
        if answer[0] != 401:
            return answer
        self._vault.report_rejected(self._sent.token)
        return send(*arguments, **options)

    def _header(self) -> str:
        place = place_of(self.requester.base_url)
        if self._hosts.named is not None:
            self._hosts.check(place, self._account)  # before the vault is asked for a token
        token: Token = self._vault.ensure_access_token(self._account)
        if self._hosts.named is None:
            self._hosts.check(place, self._account, self._vault.api_hosts(token))
        self._sent.token = token
        return value_of(self._vault.api_header(token), token)
