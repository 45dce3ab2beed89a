"""A FastAPI application whose users connect accounts."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypedDict

from fastapi import FastAPI, Request
from starlette.routing import Router

from vault_adapters import TokenRefresher, TokenVault, VaultConfig, open_vault
from vault_adapters.connect import Connector
from vault_adapters.connect.starlette import routes
from vault_adapters.providers import refresher

REDIRECT_URI = os.environ["REDIRECT_URI"]  # https://app.example.com/connect/callback/{provider}


class State(TypedDict):
    vault: TokenVault
    connector: Connector


def tenant_of(request: Request) -> str | None:
    """Return the tenant of the signed-in user. Put your own sign-in here."""
    return request.headers.get("x-tenant")


def refreshers() -> Mapping[str, TokenRefresher]:
    return {"google": refresher("google", os.environ["GOOGLE_CLIENT_ID"], os.environ["GOOGLE_CLIENT_SECRET"])}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[State]:
    providers = refreshers()
    async with open_vault(VaultConfig.from_env(), refreshers=providers) as vault:
        yield {"vault": vault, "connector": Connector(vault, providers, redirect_uri=REDIRECT_URI)}


app = FastAPI(lifespan=lifespan)
# Mount the routes here, and not in the lifespan, which may run several times in a process, as in your tests.
app.mount("/connect", Router(routes(lambda request: request.state.connector, tenant=tenant_of, done="/settings")))
