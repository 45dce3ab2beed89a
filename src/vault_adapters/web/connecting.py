"""Connects an account again: the page with the link to the provider, and the page for the provider's callback."""

from __future__ import annotations

import inspect
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from vault_adapters.web.safety import cookie_secret, keep_secret
from vault_adapters.web.site import ConnectorLike, Site, answer_of, link
from vault_domain import Account, InvalidInputError

COOKIE = "token_vault_connecting"


async def begin(site: Site, request: Request, account: Account) -> Response:
    """Return the page with the link at which the account's user gives consent again.

    Raises:
        VaultError: the connector cannot begin, or returns no web address.
    """
    assert site.connector is not None  # noqa: S101 - without a connector, `Acting` refuses the action before this call
    session, is_new = await _session(site, request)
    found = site.connector.begin(account.tenant_id, account.provider, session=session, account=account)
    url = str((await found if inspect.isawaitable(found) else found).url)
    if urlsplit(url).scheme not in ("https", "http"):
        raise InvalidInputError("the connector returned no web address")
    response = await site.render(request, "reconnect.html", account=account, url=url, trouble=None)
    if is_new:
        # The provider redirects from another site, and browsers do not send a strict cookie with such a request.
        keep_secret(response, request, COOKIE, session, path=link(request, ""), strict=False)
    return response


async def finish(site: Site, request: Request) -> Response:
    """Exchange the code of a callback and store the tokens; a host may use this page's address as redirect URI.

    Raises:
        HTTPException: the dashboard has no connector, this request may not act on accounts, or it is not a GET.
        VaultError: the callback is not of this browser's session, the provider refused, or the tokens cannot be stored.
    """
    if site.connector is None or not await site.may_act(request):
        raise HTTPException(404)
    if request.method == "HEAD":  # a preview of a link must not use up a state and a code
        raise HTTPException(405)
    session, _ = await _session(site, request)
    # A connector that has no `with_actor` sets the actor of its audit events itself.
    named = getattr(site.connector, "with_actor", None)
    connector: ConnectorLike = site.connector if named is None else named(await site.actor_of(request))
    called = {name: request.path_params[name] for name in ("provider",) if name in request.path_params}
    found = connector.finish(request.url.query, session=session, **called)
    info = await found if inspect.isawaitable(found) else found
    return await site.render(request, "connected.html", account=info.account, trouble=None)


async def _session(site: Site, request: Request) -> tuple[str, bool]:
    """Return the session that a connection is bound to, and whether a cookie must be set to keep it."""
    if site.session is not None:
        known = await answer_of(site.session, request)
        if known is None or known == "":  # without this check, several browsers would share one session
            raise InvalidInputError("the session of this browser is not known; sign in first")
        return str(known), False
    return cookie_secret(request, COOKIE)
