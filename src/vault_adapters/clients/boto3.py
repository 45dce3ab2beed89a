"""Bearer tokens for boto3 and botocore."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from vault_adapters.clients.access import check_sendable, misuse
from vault_adapters.clients.extras import missing
from vault_adapters.clients.hosts import Hosts, place_of

try:
    from botocore.tokens import FrozenAuthToken  # type: ignore[import-untyped]
except ModuleNotFoundError as error:
    raise missing(error, "aws") from None

if TYPE_CHECKING:
    from vault_adapters.clients.access import SyncAccessTokens
    from vault_domain.entities.account import Account
    from vault_domain.entities.token import Token

_REPORTED = "token_vault_reported"


class VaultTokenProvider:
    """A token provider of botocore, for services that take bearer tokens, such as CodeCatalyst and Bedrock.

    ``VaultTokenProvider(vault, account, hosts=["*.amazonaws.com"]).register(session)`` gives the tokens to all clients
    that are made of a session of botocore afterwards; ``boto3.Session(botocore_session=session)`` makes a session of
    boto3 of it.

    If a service answers 401, this class reports the token to the vault as rejected and has the request sent once more
    with the token that the vault then returns. For this report, the vault refreshes at most once.

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

    METHOD = "token-vault"
    """botocore's name of this provider."""

    def __init__(self, vault: SyncAccessTokens, account: Account, *, hosts: Collection[str] | None = None) -> None:
        refusal = misuse(vault, account, hosts)
        if refusal is not None:
            del vault, account, hosts  # tracebacks must not hold them
            raise refusal
        self._vault = vault
        self._account = account
        self._hosts = Hosts(hosts)
        self._own = threading.local()  # this thread's last token, and the one that its last request carried

    def register(self, session: Any) -> None:
        """Give the tokens to the clients that are made of a session of botocore from now on."""
        session.register_component("token_provider", self)
        session.register("before-send", self._check)
        session.register("needs-retry", self._answered)

    def load_token(self, **_: Any) -> VaultTokenProvider:
        """Return what gives the token of each request; see botocore."""
        return self

    def get_frozen_token(self) -> FrozenAuthToken:
        """Return the plaintext access token and its expiry; see botocore."""
        token = self._vault.ensure_access_token(self._account)
        self._own.token = token
        return FrozenAuthToken(check_sendable(token, token.value).reveal(), token.info.expires_at)

    def _check(self, request: Any, **_: Any) -> None:
        """Refuse a request with the token to a host that may not get it; note whether the request carries the token."""
        token: Token | None = getattr(self._own, "token", None)
        if token is None or _credentials(request) != f"Bearer {token.value.reveal()}":
            self._own.sent = None  # another client of the session signs its requests
            return
        told = () if self._hosts.named is not None else self._vault.api_hosts(token)
        self._hosts.check(place_of(request.url), self._account, told)
        self._own.sent = token

    def _answered(self, response: Any, request_dict: dict[str, Any], **_: Any) -> float | None:
        """Return the seconds until the request is sent again, or None: botocore decides."""
        token: Token | None = getattr(self._own, "sent", None)
        if token is None or response is None or response[0].status_code != 401:
            return None
        call = request_dict["context"]  # all attempts of one call share it
        if call.get(_REPORTED):
            return None  # the next token was rejected too
        call[_REPORTED] = True
        self._vault.report_rejected(token)
        return 0


def _credentials(request: Any) -> str:
    sent = request.headers.get("Authorization", "")
    return sent.decode("latin-1") if isinstance(sent, bytes) else str(sent)
