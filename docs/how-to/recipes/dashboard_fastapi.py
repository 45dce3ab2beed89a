"""A FastAPI service that shows its vault to its operators."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from vault_adapters import VaultConfig, open_vault
from vault_adapters.web import dashboard


class Login(AuthenticationBackend):
    """Your own login; here a proxy sets the header x-operator to the operator's name, whatever the client sent."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        name = conn.headers.get("x-operator")
        return (AuthCredentials(["operator"]), SimpleUser(name)) if name else None


class OperatorsOnly:
    """Answers everybody else with 404."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        allowed = "operator" in scope["auth"].scopes
        await (self.app if allowed else PlainTextResponse("Not Found", 404))(scope, receive, send)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with open_vault(VaultConfig.from_env()) as vault:
        app.state.vault = vault
        yield


app = FastAPI(lifespan=lifespan)
# Mount the pages here, because a lifespan that runs twice, as in tests, would mount the pages twice.
# The actor in the audit log is the name of request.user.
pages = dashboard(lambda: app.state.vault, actions=True)
doors = [Middleware(AuthenticationMiddleware, backend=Login()), Middleware(OperatorsOnly)]
app.mount("/ops/vault", Starlette(routes=[Mount("/", pages)], middleware=doors))
