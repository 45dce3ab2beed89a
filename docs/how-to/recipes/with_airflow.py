"""A secrets backend of Airflow that gives tasks the access tokens of accounts. It writes nothing.

airflow.cfg:

    [secrets]
    backend = with_airflow.VaultSecretsBackend
    backend_kwargs = {"accounts": {"acme_github": ["tenant-1", "github", "42"]}}
"""

import json
import os
from functools import cache
from typing import Any

from airflow.sdk.bases.secrets_backend import BaseSecretsBackend

from vault_adapters import (
    Account,
    ReauthorizationRequiredError,
    SyncVault,
    TokenNotFoundError,
    TokenRefresher,
    VaultConfig,
    open_sync_vault,
)

REFRESHERS: dict[str, TokenRefresher] = {}  # fill it as your other processes do


@cache
def vault_of(process: int) -> SyncVault:
    """Return the vault of a process; Airflow forks, and a vault must not be shared across a fork."""
    return open_sync_vault(VaultConfig.from_env(), refreshers=REFRESHERS)


class VaultSecretsBackend(BaseSecretsBackend):
    def __init__(self, accounts: dict[str, list[str]], **options: Any) -> None:
        super().__init__()
        self.accounts = {conn_id: Account(*names) for conn_id, names in accounts.items()}

    def get_conn_value(self, conn_id: str, team_name: str | None = None) -> str | None:
        account = self.accounts.get(conn_id)
        if account is None:
            return None  # Airflow asks its next backend
        try:
            token = vault_of(os.getpid()).ensure_access_token(account)
        except (TokenNotFoundError, ReauthorizationRequiredError):
            return None
        return json.dumps({"conn_type": "http", "password": token.value.reveal(), "extra": dict(token.extra)})

    def get_variable(self, key: str, team_name: str | None = None) -> None:
        return None
