"""TokenRefresher: asks one provider for a new access token."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Protocol, runtime_checkable

from attrs import frozen

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.extra import NO_EXTRA
from vault_domain.entities.rotation_policy import Rotation
from vault_domain.entities.secret import Secret
from vault_domain.entities.text import as_duration
from vault_domain.entities.token_set import TokenSet
from vault_domain.entities.unread_answer import UnreadAnswer


@frozen
class RefreshRequest:
    """The input of a refresher.

    Attributes:
        account: the account to refresh; a refresher may choose its OAuth client by it.
        credential: the credential to present to the provider.
        kind: the credential's kind; for a refresh, always the refresher's `spends`.
        scopes: the scopes of the stored access token; empty if unknown.
        deadline: longest time that the whole call may take. It includes the time after the vault's callers have given
            up, because a late answer is stored too.
        send_deadline: longest time until the request has left; None: only ``deadline`` counts. A refresher that has
            sent nothing by then raises `RefreshFailedError`, without ``outcome_unknown``.
        extra: the extra members of the stored access token, such as ``instance_url``, the URL of the account's API.
    """

    account: Account
    credential: Secret
    kind: TokenKind
    scopes: tuple[str, ...]
    deadline: timedelta
    send_deadline: timedelta | None = None
    extra: Mapping[str, str] = NO_EXTRA


class TokenRefresher(Protocol):
    """Calls the provider once; it neither retries nor stores."""

    @property
    def rotation(self) -> Rotation:
        """The rotation policy: what a refresh does to the credential."""

    @property
    def spends(self) -> TokenKind:
        """The kind of credential that the refresher presents to the provider."""

    async def refresh(self, request: RefreshRequest) -> TokenSet:
        """Ask the provider for a new access token and return its answer.

        Raises:
            ReauthorizationRequiredError: the provider rejects the credential for good (``invalid_grant``).
            ProviderConfigurationError: the provider rejects this client or request; the credential is not known to be
                at fault. See the error's ``refused``.
            RefreshFailedError: the refresh failed this time; see its ``outcome_unknown`` and ``retry_after``.

        Any other error counts as an unknown outcome. An error's ``reason`` is stored if it is a registered OAuth error
        code or one of `vault_domain.entities.causes.PROVIDER_CAUSES`.
        """

    # Optional attributes of a refresher:
    # - `old_token_dies`: True if a refresh ends the old access token at once. During an attempt, `ensure_access_token`
    #   does not return it.
    # - `revocation_scope`: a `RevocationScope`; USER_AND_CLIENT if the provider ends all grants of the user for this
    #   client when one token is revoked.
    # - `request_limit`: a `RequestLimit`; all processes together send no more token requests than it allows.
    # - `concurrency`: the largest number of requests that one process has open at the provider.
    # - `api_header`: the `ApiHeader` in which API requests carry the token; without it, `Authorization: Bearer`.
    # - `is_static`: True if the provider's API keys do not expire. `ensure_access_token` returns an account's API key,
    #   and nothing is refreshed.
    # Further optional attributes, each a timedelta or None:
    # - `default_lifetime`: the lifetime of access tokens whose expiry the provider does not tell.
    # - `idle_lifetime`: the time after which a refresh token lapses if it is not used. Sweeps refresh it before then.


def times_of(refreshers: Mapping[str, TokenRefresher], name: str) -> dict[str, timedelta]:
    """Return the value of an optional attribute, such as `default_lifetime`, for each provider whose refresher has it.

    Raises:
        InvalidInputError: an attribute is no positive duration of at most 100 years.
    """
    given = {provider: getattr(refresher, name, None) for provider, refresher in refreshers.items()}
    return {provider: as_duration(value, name, positive=True) for provider, value in given.items() if value is not None}


@runtime_checkable
class TokenRevoker(Protocol):
    """Optional protocol of a refresher that can also revoke tokens (RFC 7009)."""

    async def revoke(self, request: RefreshRequest) -> bool | None:
        """Ask the provider to revoke the credential; never raises.

        Returns:
            Whether the provider confirmed; None if it has no revocation endpoint.
        """


@runtime_checkable
class AnswerReader(Protocol):
    """Optional protocol of a refresher that can read an answer again that it could not read before."""

    def read_again(self, answer: UnreadAnswer) -> TokenSet | None:
        """Return the tokens of a kept answer; None if it still cannot be read."""


@runtime_checkable
class ClientNamer(Protocol):
    """Optional protocol of a refresher that names its OAuth client.

    With it, the vault notices that a credential was issued to another client than the one that is configured now, so
    that a wrong client id condemns no credential.
    """

    def client_id_of(self, account: Account | None) -> str | None:
        """Return the id of the client that `refresh` presents for an account, or None to name no client.

        For the account None, return the id of the client that all accounts share; None if the client depends on the
        account. The vault logs an error if this method raises, or returns something other than text, such as a
        coroutine. It then goes on as if None was returned.
        """


@runtime_checkable
class EndpointNamer(Protocol):
    """Optional protocol of a refresher whose accounts have different token endpoints, such as instances of their own.

    With it, a pause concerns the accounts of one endpoint only.
    """

    async def token_url_of(self, account: Account, extra: Mapping[str, str]) -> str | None:
        """Return the token endpoint's URL for an account whose access token has these extra members.

        None: all accounts share the endpoint, or the account's is not known now.
        """


@runtime_checkable
class ExtraJudge(Protocol):
    """Optional protocol of a refresher that refuses extra members which would decide where secrets go."""

    async def refusal_of(self, account: Account, extra: Mapping[str, str]) -> str | None:
        """Return why an account must not have these extra members, without their texts; None if it may.

        It is asked before they are stored. If it fails, they are stored, because they are checked again at each use.
        """


@runtime_checkable
class HostNamer(Protocol):
    """Optional protocol of a refresher that knows to which hosts its access tokens may be sent."""

    async def hosts_of(self, account: Account, extra: Mapping[str, str]) -> Iterable[str]:
        """Return the hosts for an account whose access token has these extra members; an empty tuple if none is known.

        Each is a name in lower case, such as ``api.example.com``. ``*.example.com`` stands for all hosts below
        ``example.com``, and ``api.example.com:8443`` for a port other than 443. A ``ConfigurationError`` that this
        method raises reaches the caller; any other error is logged, and counts as an empty tuple.
        """
