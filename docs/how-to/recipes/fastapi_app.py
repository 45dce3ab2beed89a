"""A FastAPI service that calls an API for its users."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, TypedDict

from fastapi import Depends, FastAPI, HTTPException, Request

from vault_adapters import Account, ReauthorizationRequiredError, TokenVault, VaultConfig, open_vault


class State(TypedDict):
    vault: TokenVault


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[State]:
    # One vault per process and event loop; leaving the block closes it.
    async with open_vault(VaultConfig.from_env()) as vault:
        yield {"vault": vault}


app = FastAPI(lifespan=lifespan)


def get_vault(request: Request) -> TokenVault:
    vault: TokenVault = request.state.vault
    return vault


@app.get("/tenants/{tenant_id}/github/{identifier}")
async def github(tenant_id: str, identifier: str, vault: Annotated[TokenVault, Depends(get_vault)]) -> dict[str, str]:
    try:
        # The identifier is that of the account that connecting returned: keep it, because one user may have several.
        token = await vault.ensure_access_token(Account(tenant_id, "github", identifier))
    except ReauthorizationRequiredError:
        raise HTTPException(409, "connect your account again") from None
    # Call the API with token.value.reveal() here; never return it.
    return {"status": token.info.status.value}
