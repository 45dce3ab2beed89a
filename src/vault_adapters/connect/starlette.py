"""The routes by which users connect their accounts, for Starlette and FastAPI.

They need ``token-vault[connect,starlette]``.

    app.mount("/connect", Router(routes(lambda request: request.state.connector, tenant=tenant_of)))

Then a form that posts to ``/connect/google`` sends the user to Google, and ``/connect/callback/google`` must be the
redirect URI there.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from vault_adapters.connect.connector import Connector
from vault_adapters.connect.pages import (
    HEADERS,
    NOBODY,
    PAGE_HEADERS,
    Cookie,
    Pages,
    log_failure,
    require_local,
    status_of,
    text_of,
)
from vault_adapters.connect.settling import sparing
from vault_domain.entities.account import AccountInfo
from vault_domain.entities.errors import VaultError
from vault_domain.entities.scrub import foreign

Of: TypeAlias = Callable[[Request], Any]


def routes(
    connector: Connector | Callable[[Request], Connector],
    *,
    tenant: Of,
    session: Of | None = None,
    done: str = "/",
    connected: Callable[[Request, AccountInfo], Response | Awaitable[Response | None] | None] | None = None,
    failed: Callable[[Request, VaultError], Response | Awaitable[Response]] | None = None,
    challenge: Of | None = None,
) -> list[Route]:
    """Return the routes ``/callback``, ``/callback/{provider}`` and ``/{provider}``.

    A POST to ``/{provider}`` begins a connection, and a GET shows a page with one button that sends this POST.
    ``/{provider}`` takes two optional query parameters: ``next``, the path of the page to show afterwards, and
    ``account``, the identifier of the account to connect again.

    Args:
        connector: the connector, or a function that takes the request and returns the connector. A host that opens its
            vault after it has made its routes passes a function. The connector's redirect URI must be the address of
            ``/callback/{provider}``, or for a connector with one provider, of ``/callback``.
        tenant: returns the tenant id of the signed-in user, or None if nobody is signed in (the answer is then 401); it
            may be a coroutine function.
        session: returns a text that only the user's session has, or None. In any case, a cookie binds each connection
            to the browser that began it. This text also binds the connection to the user's session, so that the user
            cannot finish the connection after signing out.
        done: the path of the page to show afterwards, unless ``next`` names another.
        connected: called with each connected account; a response that it returns replaces the redirection, and
            gets the headers ``no-store`` and ``no-referrer``, because the callback's address holds the code.
        failed: returns the page for an error. Without this function, the page is a line of plain text.
        challenge: returns the `ConsentRequiredError` that the user is about to answer, or None; it may be a coroutine
            function. Keep the error's ``scopes``, ``parameters`` and ``account`` in the user's session when an API
            raises it. It is asked for when a connection begins; one of another account's provider is ignored.

    Raises:
        InvalidInputError: ``done`` is not a path of this site, or ``connector`` is neither a `Connector` nor a
            function.
    """
    pages_of = _pages_of(connector, done)

    async def fail(request: Request, error: VaultError) -> Response:
        error.__traceback__ = foreign(error.__traceback__)  # the host may send it to an error tracker
        log_failure(error)
        if failed is None:
            return PlainTextResponse(text_of(error), status_of(error), HEADERS)
        return _with_headers(await _value(failed(request, error)))

    async def begin(request: Request) -> Response:
        owner = await _value(tenant(request))
        if owner is None:
            return _nobody()
        try:
            provider = request.path_params["provider"]
            if request.method == "GET":
                return HTMLResponse(pages_of(request).ask(provider), headers=PAGE_HEADERS)
            own_session = await _text(session, request)
            asked = None if challenge is None else await _value(challenge(request))
            path, query = request.url.path, request.query_params
            to = await pages_of(request).begin(path, owner, provider, query, own_session, request.headers, asked)
        except VaultError as error:
            return await fail(request, error)
        return _with_cookie(RedirectResponse(to.url, 303, HEADERS), to.cookie)

    async def callback(request: Request) -> Response:
        owner = await _value(tenant(request))
        if owner is None:
            return _nobody()
        try:
            own_session = await _text(session, request)
            called, query = request.path_params.get("provider"), request.url.query
            info, to = await pages_of(request).finish(called, owner, query, request.cookies, own_session)
        except VaultError as error:
            return await fail(request, error)
        own = None if connected is None else await _value(connected(request, info))
        return _with_cookie(_with_headers(own or RedirectResponse(to.url, 303)), to.cookie)

    return [
        _route("/callback", "GET", view=callback, name="connect-callback"),
        _route("/callback/{provider}", "GET", view=callback, name="connect-callback"),
        _route("/{provider}", "GET", "POST", view=begin, name="connect-begin"),
    ]


def _pages_of(connector: Connector | Callable[[Request], Connector], done: str) -> Callable[[Request], Pages]:
    if callable(connector):
        of = connector
        require_local(done)
        latest: list[Pages] = []

        def pages_of(request: Request) -> Pages:
            found = of(request)
            if not latest or latest[0].connector is not found:
                latest[:] = [Pages(found, done)]
            return latest[0]

        return pages_of
    pages = Pages(connector, done)
    return lambda _: pages


async def _value(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


async def _text(session: Of | None, request: Request) -> str:
    return "" if session is None else str(await _value(session(request)) or "")


def _route(path: str, *methods: str, view: Callable[[Request], Coroutine[Any, Any, Response]], name: str) -> Route:
    """Return a route without HEAD, because a preview of a link must not use up a state or a code."""
    route = Route(path, sparing(view), methods=list(methods), name=name)
    route.methods = set(methods)
    return route


def _nobody() -> Response:
    return PlainTextResponse(NOBODY, 401, HEADERS)


def _with_headers(response: Response) -> Response:
    response.headers.update(HEADERS)
    return response


def _with_cookie(response: Response, cookie: Cookie) -> Response:
    response.set_cookie(**cookie.settings)
    return response
