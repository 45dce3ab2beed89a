"""Django views, sync and async, over one vault per process."""

from asgiref.sync import sync_to_async
from django.http import HttpRequest, JsonResponse

from vault_adapters import Account, TokenNotFoundError, VaultConfig, open_sync_vault

# The vault opens on its first call. So it is safe to import this module before the server forks.
vault = open_sync_vault(VaultConfig.from_env())


def connection(request: HttpRequest, tenant_id: str, identifier: str) -> JsonResponse:
    account = vault.get_account(Account(tenant_id, "github", identifier))
    return JsonResponse({"state": account.state if account else "not_connected"})


async def repositories(request: HttpRequest, tenant_id: str, identifier: str) -> JsonResponse:
    # Django has no hook for opening an async vault, so the sync vault runs in a thread, off the event loop.
    try:
        token = await sync_to_async(vault.ensure_access_token)(Account(tenant_id, "github", identifier))
    except TokenNotFoundError:
        return JsonResponse({"error": "not connected"}, status=404)
    return JsonResponse({"status": token.info.status})
