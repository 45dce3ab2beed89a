"""`dashboard`: makes the application with the pages for operators."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from vault_adapters.web.acting import Acting
from vault_adapters.web.connecting import finish
from vault_adapters.web.pages import Pages
from vault_adapters.web.reading import Problem
from vault_adapters.web.safety import SafeHeaders
from vault_adapters.web.site import STATIC, ConnectorLike, Hook, Site, content
from vault_domain import InvalidInputError, StorageError, TokenVault, VaultError

_STATUS = {403: "Not allowed", 404: "Not found", 405: "Not allowed"}


def dashboard(
    vault: TokenVault | Callable[[], TokenVault],
    *,
    connector: ConnectorLike | None = None,
    actions: bool | Hook = False,
    actor: Hook | None = None,
    session: Hook | None = None,
) -> ASGIApp:
    """Return an ASGI application that shows operators the state of a vault. It shows no secret.

    Mount it behind the host's own login, because it has none: anybody who reaches it sees all tenants. It keeps counts
    and earlier answers of the vault in memory, so make one application for each vault, not one for each request.

    Args:
        vault: the vault, or a function that returns it, for a host that opens the vault after it has made its routes.
        connector: a `Connector`, which connects accounts again; None: accounts cannot be reconnected here. Its redirect
            URI may be the page ``connected`` of this application:
            ``https://ops.example.com/vault/connected/{provider}``.
        actions: whether operators may refresh, reconnect, revive and delete accounts, or a function of the request
            that returns this, such as ``lambda request: request.user.is_admin``.
        actor: a function of the request that returns the actor for the audit log. If there is no function, or it
            returns None, the actor is the ``display_name`` of Starlette's ``request.user`` if this user is
            authenticated, else ``dashboard``.
        session: a function of the request that returns the text to give to the connector as ``session``; the text must
            not be empty. A host needs this function if its own page calls `Connector.finish`, because that call must
            give the same text. None: the dashboard keeps a random text in a cookie.

    Each of these functions may be async, except the one that returns the vault.
    """
    site = Site(vault, connector, actions, actor, session)
    pages, acting = Pages(site), Acting(site)
    routes = [
        Route("/", pages.overview),
        Route("/accounts", pages.accounts),
        Route("/account", pages.account),
        Route("/expiring", pages.expiring),
        Route("/audit", pages.audit),
        Route("/keys", pages.keys),
        Route("/ask/{action}", acting.ask),
        Route("/act/{action}", acting.act, methods=["POST"]),
        Route("/connected", partial(finish, site)),
        Route("/connected/{provider}", partial(finish, site)),
        Route("/static/{edition}/{name}", _Static(site.edition).serve),
    ]
    handlers = {HTTPException: _Errors(site).http, VaultError: _Errors(site).vault}
    return SafeHeaders(Starlette(routes=routes, exception_handlers=handlers))  # type: ignore[arg-type]


class _Static:
    """Serves the style sheet and the icon. Browsers may keep these files, because a changed file has another path."""

    def __init__(self, edition: str) -> None:
        self._edition = edition
        self._files = {name: content(name) for name in STATIC}

    async def serve(self, request: Request) -> Response:
        """Return a static file."""
        name = request.path_params["name"]
        if request.path_params["edition"] != self._edition or name not in self._files:
            raise HTTPException(404)
        lasting = {"Cache-Control": "private, max-age=31536000, immutable"}
        return Response(self._files[name], headers=lasting, media_type=STATIC[name])


class _Errors:
    """Shows errors as pages."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def http(self, request: Request, error: HTTPException) -> Response:
        """Show that no page answers this request."""
        title = _STATUS.get(error.status_code, "Not done")
        return await self._show(request, error.status_code, title, "There is no page here for this request.", None)

    async def vault(self, request: Request, error: VaultError) -> Response:
        """Show an error of the vault; the error's message repeats no input."""
        if isinstance(error, InvalidInputError):
            return await self._show(request, 400, "Not understood", f"{error}.", None)
        status = 503 if isinstance(error, StorageError) else 409
        return await self._show(request, status, "Not done", "The vault could not do this.", Problem.of(error))

    async def _show(self, request: Request, status: int, title: str, message: str, problem: Problem | None) -> Response:
        return await self._site.render(
            request, "error.html", status=status, title=title, message=message, problem=problem, trouble=None
        )
