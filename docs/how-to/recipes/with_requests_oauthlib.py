"""A session of requests-oauthlib with an account's token. It holds no token of its own, so only the vault refreshes."""

from requests_oauthlib import OAuth2Session

from vault_adapters import Account, SyncVault
from vault_adapters.clients.requests import VaultAuth


def session_of(vault: SyncVault, account: Account, *, hosts: list[str] | None = None) -> OAuth2Session:
    session = OAuth2Session()  # no auto_refresh_url and no token_updater
    session.auth = VaultAuth(vault, account, hosts=hosts)
    return session
