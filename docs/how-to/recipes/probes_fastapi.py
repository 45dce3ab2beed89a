"""A FastAPI service that answers the probes of Kubernetes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict

from attrs import asdict
from fastapi import FastAPI, Request, Response

from vault_adapters import TokenVault, VaultConfig, open_vault


class State(TypedDict):
    vault: TokenVault


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[State]:
    async with open_vault(VaultConfig.from_env()) as vault:
        yield {"vault": vault}


app = FastAPI(lifespan=lifespan)


@app.get("/livez")
async def alive() -> dict[str, str]:
    return {"status": "alive"}


@app.get("/readyz")
async def ready(request: Request, response: Response) -> dict[str, str | None]:
    readiness = await request.state.vault.ready(timeout=1.0)
    response.status_code = 200 if readiness.ok else 503
    return asdict(readiness)
