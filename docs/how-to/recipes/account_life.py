"""An account from its connection to its end, in a host without a web framework."""

import httpx2

from vault_adapters import (
    Account,
    AccountInfo,
    ConnectionState,
    DecryptionError,
    KeyUnavailableError,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    RefreshNotPersistedError,
    StorageError,
    TokenNotFoundError,
    TokenVault,
)
from vault_adapters.clients.httpx2 import VaultAuth
from vault_adapters.connect import Connector


class UnavailableError(Exception):
    """The API cannot be called now; try later."""


class NotConnectedError(Exception):
    """The user must connect the account: for the first time, or again."""


async def connect(
    connector: Connector, tenant_id: str, provider: str, session: str, account: Account | None = None
) -> str:
    """Return the URL to send the user to; ``account`` is the one to connect again, or None."""
    start = await connector.begin(tenant_id, provider, session=session, account=account)
    return start.url


async def connected(connector: Connector, provider: str, query: str, session: str) -> AccountInfo:
    """Handle the user's return to the provider's redirect URI.

    A `ConnectError` says why nothing was connected, and the user may start again.
    """
    return await connector.finish(query, session=session, provider=provider)


async def call(vault: TokenVault, account: Account, url: str, hosts: list[str] | None = None) -> httpx2.Response:
    """Call the provider's API with a token that is refreshed when it is due."""
    try:
        async with httpx2.AsyncClient(auth=VaultAuth(vault, account, hosts=hosts)) as client:
            return await client.get(url)
    except (TokenNotFoundError, ReauthorizationRequiredError) as error:
        # Nobody can mend this but the user: show a button "Connect".
        raise NotConnectedError from error
    except (KeyUnavailableError, RefreshFailedError, RefreshNotPersistedError, StorageError) as error:
        # The provider, the database or the key service is unavailable; the caller may try again later.
        raise UnavailableError from error
    except (DecryptionError, ProviderConfigurationError) as error:
        # A stored value cannot be read, the client id or secret is wrong, or there is no refresher. Users cannot help:
        # tell the operators.
        raise UnavailableError from error


async def to_connect_again(vault: TokenVault, tenant_id: str) -> list[AccountInfo]:
    """Return the accounts for which to show a button "Connect again"."""
    required = ConnectionState.REAUTHORIZATION_REQUIRED
    return [info async for info in vault.iter_accounts(tenant_id, state=required)]


async def disconnect(vault: TokenVault, account: Account) -> bool | None:
    """Delete the account's tokens, and return whether the provider confirmed the revocation."""
    deletion = await vault.delete_account(account, revoke=True)
    return deletion.revoked
