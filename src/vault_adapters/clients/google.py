"""Credentials for google-auth, which Google's client libraries use."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vault_adapters.clients.access import check_sendable, misuse
from vault_adapters.clients.extras import missing
from vault_adapters.clients.hosts import Hosts, place_of

try:
    from google.auth.credentials import Credentials
except ModuleNotFoundError as error:
    raise missing(error, "google") from None

if TYPE_CHECKING:
    from vault_adapters.clients.access import SyncAccessTokens
    from vault_domain.entities.account import Account
    from vault_domain.entities.token import Token


class VaultCredentials(Credentials):
    """Credentials for google-auth that take their tokens from the vault.

    Every request asks the vault for the token, and the vault refreshes it if it is due. If an API answers 401,
    google-auth calls `refresh`, which reports the token as rejected. The vault then refreshes at most once.

    Only https requests to the account's hosts get the token; a request to another host is refused and not sent. The
    hosts are those of ``hosts``, else those of the provider's profile. A loopback host may also use http. It may
    use any port if ``hosts`` or the profile names it without a port.

    A request raises the errors of the vault's `ensure_access_token` and `report_rejected`, and

    - `ConfigurationError` with the code ``host_not_allowed``, or ``hosts_unknown`` if nothing names the hosts;
    - `VaultError` with the code ``token_not_sendable`` if a header cannot carry the token, or ``token_needs_proof`` if
      the token is bound to a key, as with DPoP.

    Args:
        vault: a `SyncVault`.
        account: the account whose token is sent.
        hosts: the hosts that may get the token. ``["*.googleapis.com"]`` stands for all hosts below
            ``googleapis.com``; ``:8443`` at the end names a port other than 443. None: the ``api_hosts`` of the
            provider's profile.

    Attributes:
        token: the plaintext access token, as google-auth requires; None before the first use.
        expiry: the token's expiry in naive UTC, as google-auth requires; None if no expiry is known.

    Raises:
        InvalidInputError: an argument is not valid.
    """

    def __init__(self, vault: SyncAccessTokens, account: Account, *, hosts: Collection[str] | None = None) -> None:
        refusal = misuse(vault, account, hosts)
        if refusal is not None:
            del vault, account, hosts  # tracebacks must not hold them
            raise refusal
        super().__init__()  # type: ignore[no-untyped-call]  # google-auth has no annotations here
        self._vault = vault
        self._account = account
        self._hosts = Hosts(hosts)
        self._held: Token | None = None

    def refresh(self, request: Any) -> None:
        """Get a usable token from the vault.

        If a token is held and has not expired, this method reports the token as rejected, because the
        transports of google-auth refresh such a token only after a rejection.

        Args:
            request: google-auth's transport; not used, because the vault calls the provider itself.
        """
        held = self._held
        if held is None or _is_expired(held):
            self._hold(self._vault.ensure_access_token(self._account))
        else:
            self._hold(self._vault.report_rejected(held))

    def before_request(self, request: Any, method: str, url: str, headers: dict[str, str]) -> None:
        """Put the token into the headers of a request; see google-auth."""
        place = place_of(url)
        if self._hosts.named is not None:
            self._hosts.check(place, self._account)  # before the vault is asked for a token
        token = self._vault.ensure_access_token(self._account)
        if self._hosts.named is None:
            self._hosts.check(place, self._account, self._vault.api_hosts(token))
        self._hold(token)
        self.apply(headers)  # type: ignore[no-untyped-call]

    def _hold(self, token: Token) -> None:
        check_sendable(token, token.value)
        expires_at = token.info.expires_at
        self._held = token
        self.token = token.value.reveal()
        self.expiry = None if expires_at is None else expires_at.astimezone(UTC).replace(tzinfo=None)


def _is_expired(token: Token) -> bool:
    expires_at = token.info.expires_at
    return expires_at is not None and expires_at <= datetime.now(UTC)
