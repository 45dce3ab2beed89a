"""A Slack app whose installations the vault keeps, and whose tokens it rotates."""

from collections.abc import Callable
from typing import Any

from slack_bolt import App
from slack_bolt.oauth.oauth_settings import OAuthSettings
from slack_sdk import WebClient
from slack_sdk.oauth import OAuthStateStore

from vault_adapters import SyncVault, VaultConfig, open_sync_vault
from vault_adapters.clients.slack import VaultInstallationStore
from vault_adapters.providers import refresher

SCOPES = ["chat:write"]


def open_vault_for_slack(config: VaultConfig, credentials: tuple[str, str]) -> SyncVault:
    return open_sync_vault(config, refreshers={name: refresher(name, *credentials) for name in ("slack", "slack-user")})


def app_of(
    vault: SyncVault,
    credentials: tuple[str, str],
    state_store: OAuthStateStore,
    tenant_of: Callable[[str | None, str | None], str | None],
    client: WebClient,
    **options: Any,
) -> App:
    store = VaultInstallationStore(vault, tenant_of=tenant_of)
    oauth = OAuthSettings(
        client_id=credentials[0],
        client_secret=credentials[1],
        scopes=SCOPES,
        installation_store=store,
        state_store=state_store,
    )
    client.retry_handlers.append(store.rejection_handler)
    app = App(client=client, installation_store=store, oauth_settings=oauth, **options)
    app.enable_token_revocation_listeners()  # without it, Bolt deletes no installation
    return app
