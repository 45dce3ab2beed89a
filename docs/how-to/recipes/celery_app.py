"""Celery tasks in prefork workers."""

import os

from celery import Celery
from celery.signals import worker_process_shutdown

from vault_adapters import Account, VaultConfig, open_sync_vault

app = Celery("recipes", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_RESULT_BACKEND"])

# This does not open the vault yet: each worker process opens its own on its first call, after the fork.
vault = open_sync_vault(VaultConfig.from_env())


@worker_process_shutdown.connect
def close_vault(**_: object) -> None:
    """Close the vault, because Celery ends the process without calling the exit function that would close it.

    Closing waits for refreshes that are under way.
    """
    vault.close()


@app.task
def sync_repositories(tenant_id: str, identifier: str) -> str:
    token = vault.ensure_access_token(Account(tenant_id, "github", identifier))
    # Call the API with token.value.reveal() here; never return it, because Celery stores results.
    return token.info.status.value
