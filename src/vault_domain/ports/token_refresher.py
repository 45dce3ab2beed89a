"""TokenRefresher: asks one provider for a new access token."""

from datetime import timedelta
from typing import Protocol, runtime_checkable

from attrs import frozen

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.rotation_policy import Rotation
from vault_domain.entities.secret import Secret
from vault_domain.entities.token_set import TokenSet


@frozen
class RefreshRequest:
    """What a refresher is given.

    Attributes:
        account: whose token; a refresher may choose its OAuth client by it.
        credential: what is spent, of the kind that the refresher names.
        kind: the credential's kind.
        scopes: those of the stored access token; empty where unknown.
        deadline: the time left for the whole call.
    """

    account: Account
    credential: Secret
    kind: TokenKind
    scopes: tuple[str, ...]
    deadline: timedelta


class TokenRefresher(Protocol):
    """Calls the provider once; it neither retries nor stores."""

    @property
    def rotation(self) -> Rotation:
        """What a refresh does to the credential."""

    @property
    def spends(self) -> TokenKind:
        """The kind of credential that it is given."""

    async def refresh(self, request: RefreshRequest) -> TokenSet:
        """Return what the provider answered.

        Raises:
            ReauthorizationRequiredError: the provider says that the credential is dead (``invalid_grant``).
            ProviderConfigurationError: it refuses this client or this request; no credential is at fault.
            RefreshFailedError: not now; see its ``outcome_unknown`` and ``retry_after``.

        Any other error counts as an unknown outcome. An error's ``reason`` is stored where it is a registered OAuth
        error code.
        """


@runtime_checkable
class TokenRevoker(Protocol):
    """An optional ability of a refresher: RFC 7009."""

    async def revoke(self, request: RefreshRequest) -> bool | None:
        """Ask the provider to revoke the credential.

        Returns:
            Whether it confirmed; None where it has no endpoint for that. It raises nothing.
        """
