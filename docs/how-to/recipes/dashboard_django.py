"""The `asgi.py` of a Django project that shows its vault to its staff."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, cast

from django.conf import settings
from django.contrib.auth import aget_user
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, parse_cookie
from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from vault_adapters import TokenVault, VaultConfig, open_vault
from vault_adapters.web import dashboard

django_application = cast("ASGIApp", get_asgi_application())
opened: list[TokenVault] = []

pages = dashboard(
    lambda: opened[0],
    actions=lambda request: request.scope["user"].is_superuser,
    actor=lambda request: request.scope["user"].get_username(),
)


async def user_of(scope: Scope) -> Any:
    """Return the user of Django's session."""
    header = b"; ".join(value for name, value in scope["headers"] if name == b"cookie")
    cookies = parse_cookie(header.decode("latin-1"))
    request = HttpRequest()
    engine = import_module(settings.SESSION_ENGINE)
    request.session = engine.SessionStore(cookies.get(settings.SESSION_COOKIE_NAME))
    return await aget_user(request)


async def staff_only(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve the dashboard to staff, and send everybody else to Django's login."""
    user = await user_of(scope)
    if user.is_active and user.is_staff:
        await pages({**scope, "user": user}, receive, send)
    else:
        await RedirectResponse("/admin/login/", 303)(scope, receive, send)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with open_vault(VaultConfig.from_env()) as vault:
        opened[:] = [vault]
        yield


application = Starlette(lifespan=lifespan, routes=[Mount("/ops/vault", staff_only), Mount("/", django_application)])
