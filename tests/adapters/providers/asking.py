"""Calls a refresher as the vault does."""

from datetime import timedelta

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.errors import VaultError
from vault_domain.entities.secret import Secret
from vault_domain.ports.token_refresher import RefreshRequest

ACCOUNT = Account("tenant", "acme", "ann@example.com")


def request_for(refresher, credential="refresh-1", *, deadline=5.0, send_deadline=None, scopes=()):
    secret = credential if isinstance(credential, Secret) else Secret(credential)
    send_deadline = None if send_deadline is None else timedelta(seconds=send_deadline)
    return RefreshRequest(ACCOUNT, secret, refresher.spends, scopes, timedelta(seconds=deadline), send_deadline)


async def refreshed(refresher, credential="refresh-1", **options):
    """Return the token set."""
    return await refresher.refresh(request_for(refresher, credential, **options))


async def failure(refresher, credential="refresh-1", **options):
    """Return the error that a refresh raises."""
    try:
        await refresher.refresh(request_for(refresher, credential, **options))
    except VaultError as error:
        return error
    raise AssertionError("the refresh did not fail")


def revocation_of(credential, kind=TokenKind.REFRESH_TOKEN, *, deadline=5.0):
    return RefreshRequest(ACCOUNT, Secret(credential), kind, (), timedelta(seconds=deadline))
