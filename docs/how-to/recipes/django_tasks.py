"""Celery tasks of a Django project: one calls an API and retries if a retry may help, the other runs a sweep."""

from datetime import timedelta
from typing import Any

import django_project
import requests
from celery import shared_task
from celery.signals import worker_process_shutdown

from vault_adapters import Account, ReauthorizationRequiredError, TokenNotFoundError, VaultError
from vault_adapters.clients.requests import VaultAuth

USERINFO = "https://www.googleapis.com/oauth2/v3/userinfo"


@worker_process_shutdown.connect
def close_vault(**_: object) -> None:
    """Close the vault, because Celery ends the process without calling the exit function that would close it.

    Closing waits for refreshes that are under way.
    """
    django_project.vault.close()


@shared_task(bind=True, max_retries=8)
def read_profile(self: Any, tenant_id: str, identifier: str) -> str:
    account = Account(tenant_id, "google", identifier)
    auth = VaultAuth(django_project.vault, account, hosts=["www.googleapis.com"])
    try:
        answer = requests.get(USERINFO, auth=auth, timeout=30)
    except (TokenNotFoundError, ReauthorizationRequiredError):
        return "connect again"  # a retry is of no use: only the user can help
    except VaultError as error:
        if not error.retryable:
            raise
        # The provider or the database is unavailable.
        wait = getattr(error, "retry_after", None) or timedelta(seconds=2**self.request.retries)
        raise self.retry(exc=error, countdown=wait.total_seconds()) from None
    return f"{answer.status_code}"  # never return a token: Celery stores results


@shared_task
def refresh_due() -> str:
    report = django_project.vault.refresh_due()
    return f"{report.refreshed} of {report.claimed}"


# `expires` drops the runs that piled up while no worker was running.
BEAT_SCHEDULE = {"refresh": {"task": "django_tasks.refresh_due", "schedule": 60.0, "options": {"expires": 60}}}
