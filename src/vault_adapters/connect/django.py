"""The URL patterns by which users connect their accounts, for Django; they need ``token-vault[connect,django]``.

    urlpatterns = [path("connect/", include(urls(connector, tenant=tenant_of)))]

Then a form that posts to ``/connect/google`` sends the user to Google, and ``/connect/callback/google`` must be the
redirect URI there. The views are asynchronous. Under WSGI, Django runs each view on an event loop of its own. A
`TokenVault` works on one event loop only, so give the connector a `SyncVault` under WSGI.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from asgiref.sync import sync_to_async
from django.http import (  # type: ignore[import-untyped]
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.middleware.csrf import get_token  # type: ignore[import-untyped]
from django.urls import URLPattern, path  # type: ignore[import-untyped]

from vault_adapters.connect.connector import Connector
from vault_adapters.connect.pages import HEADERS, NOBODY, PAGE_HEADERS, Cookie, Pages, log_failure, status_of, text_of
from vault_adapters.connect.settling import sparing
from vault_domain.entities.account import AccountInfo
from vault_domain.entities.errors import VaultError
from vault_domain.entities.scrub import foreign

Of: TypeAlias = Callable[[HttpRequest], Any]
View: TypeAlias = Callable[..., Awaitable[HttpResponse]]


def urls(
    connector: Connector,
    *,
    tenant: Of,
    session: Of | None = None,
    done: str = "/",
    connected: Callable[[HttpRequest, AccountInfo], HttpResponse | Awaitable[HttpResponse | None] | None] | None = None,
    failed: Callable[[HttpRequest, VaultError], HttpResponse | Awaitable[HttpResponse]] | None = None,
    challenge: Of | None = None,
) -> list[URLPattern]:
    """Return the patterns ``callback``, ``callback/<provider>`` and ``<provider>``, for `django.urls.include`.

    A POST to ``<provider>`` begins a connection, and a GET shows a page with one button that sends this POST.
    ``<provider>`` takes two optional query parameters: ``next``, the path of the page to show afterwards, and
    ``account``, the identifier of the account to connect again.

    Args:
        connector: the connector; its redirect URI must be the address of ``callback/{provider}``, or for a connector
            with one provider, of ``callback``.
        tenant: returns the tenant id of the signed-in user, or None if nobody is signed in (the answer is then 401); it
            may be a coroutine function. A plain function runs on Django's thread, so it may use the database.
        session: returns a text that only the user's session has, such as ``request.session.session_key``, or None. In
            any case, a cookie binds each connection to the browser that began it. This text also binds the connection
            to the user's session.
        done: the path of the page to show afterwards, unless ``next`` names another.
        connected: called with each connected account; a response that it returns replaces the redirection, and
            gets the headers ``no-store`` and ``no-referrer``, because the callback's address holds the code.
        failed: returns the page for an error. Without this function, the page is a line of plain text.
        challenge: returns the `ConsentRequiredError` that the user is about to answer, or None; it may be a coroutine
            function. Keep the error's ``scopes``, ``parameters`` and ``account`` in the user's session when an API
            raises it. It is asked for when a connection begins; one of another account's provider is ignored.

    Raises:
        InvalidInputError: ``done`` is not a path of this site, or ``connector`` is not a `Connector`.
    """
    pages = Pages(connector, done)

    async def fail(request: HttpRequest, error: VaultError) -> HttpResponse:
        error.__traceback__ = foreign(error.__traceback__)  # the host may send it to an error tracker
        log_failure(error)
        if failed is None:
            return _text(text_of(error), status_of(error))
        return _with_headers(await _value(failed, request, error))

    async def begin(request: HttpRequest, provider: str) -> HttpResponse:
        owner = await _value(tenant, request)
        if owner is None:
            return _text(NOBODY, 401)
        try:
            if request.method == "GET":
                page = pages.ask(provider, ("csrfmiddlewaretoken", get_token(request)))
                return HttpResponse(page, headers=PAGE_HEADERS)
            own_session = await _session(session, request)
            asked = None if challenge is None else await _value(challenge, request)
            query = request.GET.dict()
            to = await pages.begin(request.path, owner, provider, query, own_session, request.headers, asked)
        except VaultError as error:
            return await fail(request, error)
        return _with_cookie(_redirect(to.url), to.cookie)

    async def callback(request: HttpRequest, provider: str | None = None) -> HttpResponse:
        owner = await _value(tenant, request)
        if owner is None:
            return _text(NOBODY, 401)
        query, cookies = request.META.get("QUERY_STRING", ""), request.COOKIES
        try:
            info, to = await pages.finish(provider, owner, query, cookies, await _session(session, request))
        except VaultError as error:
            return await fail(request, error)
        own = None if connected is None else await _value(connected, request, info)
        return _with_cookie(_with_headers(own) if own else _redirect(to.url), to.cookie)

    return [
        path("callback", _for("GET", view=callback), name="connect-callback"),
        path("callback/<str:provider>", _for("GET", view=callback), name="connect-callback"),
        path("<str:provider>", _for("GET", "POST", view=begin), name="connect-begin"),
    ]


def _for(*methods: str, view: View) -> View:
    """Return a view for these methods only; Django 4.2 has no decorator for asynchronous views."""

    @sparing
    async def checked(request: HttpRequest, **arguments: str) -> HttpResponse:
        if request.method not in methods:
            return HttpResponseNotAllowed(methods)
        return await view(request, **arguments)

    return checked


async def _value(function: Callable[..., Any], *arguments: Any) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(*arguments)
    found = await sync_to_async(function)(*arguments)
    return await found if inspect.isawaitable(found) else found  # a lambda may call an asynchronous function


async def _session(session: Of | None, request: HttpRequest) -> str:
    return "" if session is None else str(await _value(session, request) or "")


def _redirect(url: str) -> HttpResponse:
    response = HttpResponseRedirect(url)
    response.status_code = 303
    return _with_headers(response)


def _text(text: str, status: int) -> HttpResponse:
    return _with_headers(HttpResponse(text, status=status, content_type="text/plain; charset=utf-8"))


def _with_headers(response: HttpResponse) -> HttpResponse:
    for name, value in HEADERS.items():
        response[name] = value
    return response


def _with_cookie(response: HttpResponse, cookie: Cookie) -> HttpResponse:
    response.set_cookie(**cookie.settings)
    return response
