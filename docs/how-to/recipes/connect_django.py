"""The URLs of a Django project whose users connect accounts; it runs under WSGI and ASGI."""

import os

from django.http import HttpRequest
from django.urls import include, path

from vault_adapters import TokenRefresher, VaultConfig, open_sync_vault
from vault_adapters.connect import Connector
from vault_adapters.connect.django import urls
from vault_adapters.providers import refresher

REDIRECT_URI = os.environ["REDIRECT_URI"]  # https://app.example.com/connect/callback/{provider}


def refreshers() -> dict[str, TokenRefresher]:
    return {"google": refresher("google", os.environ["GOOGLE_CLIENT_ID"], os.environ["GOOGLE_CLIENT_SECRET"])}


def tenant_of(request: HttpRequest) -> str | None:
    """Return the tenant of the signed-in user. Put your own sign-in here."""
    return request.headers.get("x-tenant")


providers = refreshers()
vault = open_sync_vault(VaultConfig.from_env(), refreshers=providers)  # it opens at its first call
connector = Connector(vault, providers, redirect_uri=REDIRECT_URI)

urlpatterns = [path("connect/", include(urls(connector, tenant=tenant_of, done="/settings")))]
