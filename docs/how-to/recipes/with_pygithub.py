"""A client of PyGithub with an account's token."""

from typing import Any

from github import Github

from vault_adapters import Account, SyncVault
from vault_adapters.clients.pygithub import VaultAuth


def github_of(vault: SyncVault, account: Account, *, hosts: list[str] | None = None, **options: Any) -> Github:
    return Github(auth=VaultAuth(vault, account, hosts=hosts), **options)
