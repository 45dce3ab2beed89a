"""Makes the error for a caller who gets no token, from the decision of `vault_domain.rules.refresh`."""

from datetime import timedelta
from math import ceil

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.causes import (
    CLOCK_SKEW,
    DPOP_REQUIRED,
    HTTP_404,
    LOGIN_RESTRICTED,
    REDIRECT,
    SUSPENDED,
    UNREADABLE_ANSWER,
    VARIABLE_REFUSED,
)
from vault_domain.entities.clients import CLIENT_REASONS, ClientRecord
from vault_domain.entities.errors import (
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    StorageError,
    TokenNotFoundError,
    VaultError,
)
from vault_domain.ports.pages import AccountQuery, Pages
from vault_domain.rules.refresh import BackOff, NoRefresher, NothingStored, Reauthorize
from vault_domain.rules.refusals import LONGEST_BACKOFF

OTHER_IDENTIFIER = "other_identifier"
_UNTIL_ALLOWED = frozenset({CLOCK_SKEW, DPOP_REQUIRED, LOGIN_RESTRICTED, SUSPENDED, VARIABLE_REFUSED})
_UNTIL_CONFIGURED = (CLIENT_REASONS - {UNREADABLE_ANSWER}) | {HTTP_404, REDIRECT, "invalid_scope"} | _UNTIL_ALLOWED
"""Reasons of failures that are no definite refusals, and yet last until somebody changes a configuration."""

_VARIABLE = "nothing was sent, because a value that is stored with the account is refused by its profile or by the host"
_KEY_ENDED = "the API key was rejected or has expired; its operator must store another one, no user can help"


def unconfigured(account: Account, reason: str | None) -> ProviderConfigurationError:
    """Return the error for a failure that lasts until a configuration changes; it says if nothing was sent."""
    if reason == VARIABLE_REFUSED:
        return ProviderConfigurationError(_VARIABLE, account=account, reason=reason, refused=False)
    return ProviderConfigurationError(account=account, reason=reason)


def ended(account: Account, spent: TokenKind | None, reason: str | None) -> ReauthorizationRequiredError:
    """Return the error for a credential that has ended; ``spent`` is its kind, and says who must act."""
    if spent is TokenKind.API_KEY:
        return ReauthorizationRequiredError(_KEY_ENDED, code="key_rejected", account=account, reason=reason)
    return ReauthorizationRequiredError(account=account, reason=reason)


async def not_found(account: Account, pages: Pages) -> TokenNotFoundError:
    """Return the error for an account without tokens; it says whether the tenant has others of this provider."""
    try:
        found, _ = await pages.accounts(AccountQuery(account.tenant_id, account.provider), limit=2, after=None)
    except StorageError:
        found = []
    if all(each.account == account for each in found):
        return TokenNotFoundError(account=account)
    return TokenNotFoundError(
        "no such token, but this tenant has accounts of this provider under other identifiers: pass the account that"
        " connecting returned, or list the tenant's accounts",
        account=account,
        reason=OTHER_IDENTIFIER,
    )


def refusal_of(
    decision: BackOff | Reauthorize | NoRefresher | NothingStored, account: Account, spent: TokenKind | None = None
) -> VaultError:
    """Return the error to raise for a decision that gives the caller no token; ``spent`` is the credential's kind."""
    if isinstance(decision, BackOff) and (decision.refused or decision.reason in _UNTIL_CONFIGURED):
        # This error has no `retry_after`, because nobody knows when a retry helps.
        return unconfigured(account, decision.reason)
    if isinstance(decision, BackOff):
        return RefreshFailedError(
            account=account, reason=decision.reason, retry_after=min(decision.retry_after, LONGEST_BACKOFF)
        )
    if isinstance(decision, Reauthorize):
        return ended(account, spent, decision.reason)
    if isinstance(decision, NoRefresher):
        return ProviderConfigurationError("no refresher is configured for the provider", account=account, refused=False)
    return TokenNotFoundError(account=account)


def paused(record: ClientRecord, account: Account, left: timedelta) -> ProviderConfigurationError:
    """Return the error for an account that the pause of its client holds back; nothing was sent to the provider.

    Args:
        record: the pause.
        account: the account.
        left: time until a refresh of this account may probe the client.
    """
    since = f" since {record.opened_at:%Y-%m-%d %H:%M:%S} UTC" if record.opened_at is not None else ""
    message = f"nothing was sent, because the client is paused{since}; sweeps probe it, and this account may probe in"
    return ProviderConfigurationError(
        f"{message} {ceil(left.total_seconds())} s", account=account, reason=record.scope.reason, refused=False
    )
