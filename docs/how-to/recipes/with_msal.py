"""Microsoft's msal, whose token cache the vault keeps, one record for each user."""

from msal import ConfidentialClientApplication

from vault_adapters import SyncVault
from vault_adapters.clients.msal import VaultTokenCache


def application_of(
    vault: SyncVault, tenant_id: str, user: str, client: tuple[str, str], authority: str, **options: object
) -> ConfidentialClientApplication:
    cache = VaultTokenCache(vault, tenant_id, user)
    return ConfidentialClientApplication(
        client[0], client_credential=client[1], authority=authority, token_cache=cache, **options
    )
