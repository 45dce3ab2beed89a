"""A FastAPI application whose users connect accounts."""

import os
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from starlette.routing import Router

from vault_adapters import VaultConfig, open_vault
from vault_adapters.connect import Connector
from vault_adapters.connect.starlette import routes
from vault_adapters.providers import refresher

REDIRECT_URI = os.environ["REDIRECT_URI"]  # https://app.example.com/connect/callback


def tenant_of(request: Request) -> str | None:
    """Return the tenant of the signed-in user; your own sign-in stands here."""
    return request.headers.get("x-tenant")


def refreshers():
    return {"google": refresher("google", os.environ["GOOGLE_CLIENT_ID"], os.environ["GOOGLE_CLIENT_SECRET"])}


@asynccontextmanager
async def lifespan(app: FastAPI):
    providers = refreshers()
    async with open_vault(VaultConfig.from_env(), refreshers=providers) as vault:
        connector = Connector(vault, providers, redirect_uri=REDIRECT_URI)
        app.mount("/connect", Router(routes(connector, tenant=tenant_of, done="/settings")))
        yield


app = FastAPI(lifespan=lifespan)
