"""A whole FastAPI service: its users connect Google accounts, and it calls Google for them."""

import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx2
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.routing import Router

from vault_adapters import (
    Account,
    ReauthorizationRequiredError,
    RefreshWorker,
    TokenNotFoundError,
    TokenRefresher,
    TokenVault,
    VaultConfig,
    VaultError,
    as_json,
    open_vault,
)
from vault_adapters.clients.httpx2 import VaultAuth
from vault_adapters.connect import Connector
from vault_adapters.connect.starlette import routes
from vault_adapters.providers import refresher
from vault_adapters.telemetry import instrument
from vault_adapters.testing.openid import LoopbackOpenIdProvider

# The vault logs outages and refusals. Uvicorn shows its own log only, so a handler is needed.
logging.basicConfig(level=logging.WARNING)
set_meter_provider(MeterProvider([PrometheusMetricReader()]))  # once for each process


def refreshers() -> Mapping[str, TokenRefresher]:
    if issuer := os.environ.get("LOOPBACK_ISSUER"):  # to try the service out, without a client at Google
        return {"google": LoopbackOpenIdProvider(issuer, client_secret="loopback-secret").refresher("google")}
    return {"google": refresher("google", os.environ["GOOGLE_CLIENT_ID"], os.environ["GOOGLE_CLIENT_SECRET"])}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    providers = refreshers()
    async with open_vault(VaultConfig.from_env(), refreshers=providers) as vault, httpx2.AsyncClient() as http:
        instrument(vault)
        app.state.vault, app.state.http = vault, http
        app.state.connector = Connector(vault, providers, redirect_uri=os.environ["REDIRECT_URI"])
        # At the end, the worker finishes the accounts that it has taken. Only then does the vault close.
        async with RefreshWorker(vault):
            yield


def tenant_of(request: Request) -> str | None:
    """Return the tenant of the signed-in user. Put your own sign-in here."""
    if "LOOPBACK_ISSUER" in os.environ:
        return "t1"
    return request.headers.get("x-tenant")


def signed_in(request: Request) -> str:
    tenant_id = tenant_of(request)
    if tenant_id is None:
        raise HTTPException(401)
    return tenant_id


def get_vault(request: Request) -> TokenVault:
    vault: TokenVault = request.app.state.vault
    return vault


Tenant = Annotated[str, Depends(signed_in)]
Vault = Annotated[TokenVault, Depends(get_vault)]

app = FastAPI(lifespan=lifespan)
# The routes are made before the connector exists, so each request looks up the connector in `app.state`.
app.mount("/connect", Router(routes(lambda request: request.app.state.connector, tenant=tenant_of, done="/accounts")))


@app.exception_handler(VaultError)
async def vault_error(request: Request, error: VaultError) -> JSONResponse:
    if isinstance(error, (TokenNotFoundError, ReauthorizationRequiredError)):
        return JSONResponse({"detail": "connect your account", "code": error.code}, 409)
    if error.retryable:
        return JSONResponse({"detail": "try again later", "code": error.code}, 503, {"Retry-After": "5"})
    logging.getLogger(__name__).error("the vault could not answer: %s", error)
    return JSONResponse({"detail": "this does not work now", "code": error.code}, 500)


@app.get("/accounts")
async def accounts(tenant_id: Tenant, vault: Vault) -> Any:
    return [as_json(info) async for info in vault.iter_accounts(tenant_id)]


@app.get("/accounts/google/{identifier}/profile")
async def profile(request: Request, identifier: str, tenant_id: Tenant, vault: Vault) -> Any:
    url = os.environ.get("API_URL", "https://www.googleapis.com/oauth2/v3/userinfo")
    auth = VaultAuth(vault, Account(tenant_id, "google", identifier))
    answer = await request.app.state.http.get(url, auth=auth)
    if not answer.is_success:
        raise HTTPException(502, f"the API answered {answer.status_code}")
    return answer.json()


@app.delete("/tenant")
async def erase(tenant_id: Tenant, vault: Vault) -> Any:
    for account in [info.account async for info in vault.iter_accounts(tenant_id)]:
        await vault.delete_account(account, revoke=True)  # while the vault still has what a revocation needs
    return as_json(await vault.erase_tenant(tenant_id))


# The paths below are for your own network: they need no sign-in, and show how many accounts each provider has.
@app.get("/livez")
async def alive() -> dict[str, str]:
    return {"status": "alive"}


@app.get("/readyz")
async def ready(vault: Vault, response: Response) -> Any:
    readiness = await vault.ready()
    response.status_code = 200 if readiness.ok else 503
    return as_json(readiness)


@app.get("/health")
async def health(vault: Vault, response: Response) -> Any:
    report = await vault.health()
    response.status_code = 200 if report.ok else 503
    return as_json(report)


@app.get("/metrics")
def metrics() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
