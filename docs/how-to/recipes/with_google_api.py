"""A client of google-api-python-client with an account's token."""

from typing import Any

from googleapiclient.discovery import build

from vault_adapters import Account, SyncVault
from vault_adapters.clients.google import VaultCredentials


def drive_of(vault: SyncVault, account: Account, *, hosts: list[str] | None = None, **options: Any) -> Any:
    return build("drive", "v3", credentials=VaultCredentials(vault, account, hosts=hosts), **options)
