"""The part of the connection pages that is the same for all web frameworks: cookies, redirects and error texts.

Each connection sets one cookie in the browser. The cookie's name depends on the state, so that two tabs do not disturb
each other. The state is bound to the cookie's random value, to the tenant, and to the host's own session if the host
names one. So nobody can begin a connection and make another user finish it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import logging
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from attrs import field, frozen

from vault_adapters.connect.client import provider_unknown
from vault_adapters.connect.connector import LIFETIME, Connector
from vault_adapters.connect.settling import BROKEN, settling
from vault_domain.entities.account import Account, AccountInfo
from vault_domain.entities.errors import (
    AuthorizationRefusedError,
    ConfigurationError,
    ConnectError,
    ConsentRequiredError,
    DecryptionError,
    InvalidInputError,
    KeyUnavailableError,
    ProviderConfigurationError,
    StateRefusedError,
    StorageError,
    VaultError,
)

_log = logging.getLogger(__name__)

NOBODY = "Sign in first.\n"
"""The page for a visitor who is not signed in."""

HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
"""Headers of all responses, also of those from the host's functions ``connected`` and ``failed``.

The headers are needed because a callback's URL holds a code.
"""

PAGE_HEADERS = {
    **HEADERS,
    # Under no-referrer, browsers would hide the origin of the form's request, which `Pages.begin` may have to compare.
    "Referrer-Policy": "same-origin",
    # A frame could trick the user into the click. No form-action, because some browsers apply it to redirections too.
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of the page that asks; see `Pages.ask`."""

_LONGEST_PATH = 512

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Connect an account</title></head>
<body>
<form method="post">{hidden}<button>Connect an account at {name}</button></form>
</body>
</html>
"""


@frozen
class Cookie:
    """A cookie to set.

    Attributes:
        name, value: its name and value.
        max_age: its life in seconds; 0 removes it.
        path: the path that browsers send it to, which is the path of the callback.
        secure: whether it is sent over TLS only.
    """

    name: str
    value: str = field(repr=False)
    max_age: int
    path: str
    secure: bool

    @property
    def settings(self) -> dict[str, Any]:
        """The keyword arguments for the `set_cookie` of Starlette's and Django's responses."""
        return {
            "key": self.name,
            "value": self.value,
            "max_age": self.max_age,
            "path": self.path,
            "secure": self.secure,
            "httponly": True,
            "samesite": "lax",
        }


@frozen
class Redirection:
    """Where to send the user, and the cookie to set."""

    url: str = field(repr=False)
    cookie: Cookie


class Pages:
    """The pages: one asks whether to connect, its form begins a connection, and one finishes it.

    Args:
        connector: the connector, also an attribute.
        done: the path of the page to show afterwards, unless `begin` was given another.

    Raises:
        InvalidInputError: ``connector`` is not a `Connector`, or ``done`` is not a path of this site.
    """

    def __init__(self, connector: Connector, done: str) -> None:
        if not isinstance(connector, Connector):
            raise InvalidInputError("connector must be a Connector")
        require_local(done)
        self.connector = connector
        self._is_looked_at = False
        self._done = done
        self._redirect_uris = {name: urlsplit(uri) for name, uri in connector.redirect_uris.items()}

    def ask(self, provider: str, field: tuple[str, str] | None = None) -> str:
        """Return the page, in HTML, whose one button posts to the page's own address.

        A connection does not begin by a GET, because a page of another site can make a browser send one.

        Args:
            provider: the provider's name.
            field: the name and the value of a hidden field for the host's own check of forms, if it has one.

        Raises:
            InvalidInputError: the connector has no such provider.
        """
        if provider not in self._redirect_uris:
            raise provider_unknown(self.connector.providers)
        hidden = "" if field is None else '<input type="hidden" name="{}" value="{}">'.format(*map(html.escape, field))
        return _PAGE.format(name=html.escape(provider), hidden=hidden)

    @settling
    async def begin(
        self,
        path: str,
        tenant_id: str,
        provider: str,
        query: Mapping[str, str],
        session: str,
        headers: Mapping[str, str],
        challenge: ConsentRequiredError | None = None,
    ) -> Redirection:
        """Begin a connection, unless a page of another site or of another host asks for it.

        Browsers say where a request comes from in ``Sec-Fetch-Site`` (Fetch Metadata), or, if they are old or the host
        is served without TLS, in ``Origin`` (RFC 6454). No page can forge these. A request without both passes: it
        comes from a program.

        Args:
            path: the path of the request, which ends with the provider's name.
            tenant_id: the tenant of the signed-in user.
            provider: the provider's name.
            query: ``next``: the path of the page to show afterwards. ``account``: the identifier of the account to
                connect again. All else is ignored.
            session: the text of the host's own session, or ``""``.
            headers: the headers of the request; their names have any case.
            challenge: what an API asks the user for, or None. It is ignored if it concerns an account of another tenant
                or provider, because the host may have kept it for that one.

        Raises:
            InvalidInputError: the request comes from another site or host (code ``foreign_page``), or ``next`` is not a
                path of this site. For other errors, see `Connector.begin`.
        """
        if not self._is_own(headers):
            raise InvalidInputError("a page of another site must not begin a connection", code="foreign_page")
        following, again = query.get("next", ""), query.get("account", "")
        if following and not is_local(following):
            raise InvalidInputError("next must be a path of this site")
        random = secrets.token_urlsafe(24)
        start = await self.connector.begin(
            tenant_id,
            provider,
            session=_bound(random, tenant_id, session),
            account=Account(tenant_id, provider, again) if again else None,
            challenge=challenge if _concerns(challenge, tenant_id, provider) else None,
        )
        self._look_at(path, provider)
        value = f"{random}.{base64.urlsafe_b64encode(following.encode()).decode().rstrip('=')}"
        return Redirection(start.url, self._cookie(provider, start.state, value, int(LIFETIME.total_seconds())))

    @settling
    async def finish(
        self, provider: str | None, tenant_id: str, query: str, cookies: Mapping[str, str], session: str
    ) -> tuple[AccountInfo, Redirection]:
        """Finish a connection with the parts of the callback's request; return the account, and where to send the user.

        ``provider`` is the name in the callback's path, or None if the path has no name.

        Raises:
            StateRefusedError: the browser did not begin this connection. For other errors, see `Connector.finish`.
        """
        state = dict(parse_qsl(query)).get("state", "")
        name = _name(state)
        random, separator, following = cookies.get(name, "").partition(".")
        if not separator:
            raise StateRefusedError(reason="unreadable")
        info = await self.connector.finish(query, session=_bound(random, tenant_id, session), provider=provider)
        # The cookie comes from the browser, so the path is checked again.
        path = _decoded(following)
        return info, Redirection(
            path if is_local(path) else self._done, self._cookie(info.account.provider, state, "", 0)
        )

    def _is_own(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request comes from a page of this host, or from no page.

        ``Origin`` is compared with the redirect URIs, because a proxy may change the host of a request.
        """
        site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
        if site is not None:
            return site in ("same-origin", "none")
        own = {f"{uri.scheme}://{uri.netloc}".lower() for uri in self._redirect_uris.values()}
        return origin is None or origin in own

    def _look_at(self, path: str, provider: str) -> None:
        """Log a warning, once, if the path of the redirect URI does not end with the path of the callback's page.

        The redirect URI may have a longer path, because a proxy may remove a prefix of the public path.
        """
        callback = f"{path.rpartition('/')[0]}/callback"
        leads_to = self._redirect_uris[provider].path
        if not self._is_looked_at and not leads_to.endswith((callback, f"{callback}/{provider}")):
            _log.warning("the path of the redirect URI does not end with %a, the path of the callback's page", callback)
        self._is_looked_at = True

    def _cookie(self, provider: str, state: str, value: str, max_age: int) -> Cookie:
        back = self._redirect_uris[provider]
        return Cookie(_name(state), value, max_age, back.path or "/", back.scheme == "https")


def _concerns(challenge: ConsentRequiredError | None, tenant_id: str, provider: str) -> bool:
    account = getattr(challenge, "account", None)
    return account is None or (account.tenant_id, account.provider) == (tenant_id, provider)


def require_local(done: object) -> None:
    """Check the path of the page to show afterwards.

    Raises:
        InvalidInputError: it is not a path of this site.
    """
    if not is_local(done):
        raise InvalidInputError("done must be a path of this site, such as /settings")


def is_local(path: object) -> bool:
    """Return whether every browser reads a text as the path of a page of this site.

    Browsers read ``//host`` and ``/\\host`` as another site, and ignore tabs and line breaks within an address.
    """
    return (
        isinstance(path, str)
        and len(path) <= _LONGEST_PATH
        and path.startswith("/")
        and not path.startswith(("//", "/\\"))
        and path.isascii()
        and path.isprintable()
        and "\\" not in path
        and " " not in path
    )


def status_of(error: VaultError) -> int:
    """Return the HTTP status for an error of a connection."""
    if isinstance(error, AuthorizationRefusedError):
        return 403
    if error.code == "provider_unknown":
        return 404
    if isinstance(error, (KeyUnavailableError, StorageError)):
        return 503
    if isinstance(error, (ConfigurationError, DecryptionError, ProviderConfigurationError)) or error.code == BROKEN:
        return 500
    if isinstance(error, ConnectError) and error.code == "provider_unavailable":
        return 502
    return 400


def log_failure(error: VaultError) -> None:
    """Log one line about an error of a connection, because the user's page does not tell what the operator must know.

    An error that the operator must fix is a warning, and so is an outage of the provider, the database or the key
    service. A request that is not valid is a warning too, because a link of the service may be wrong. Other errors that
    users and their browsers cause have the level INFO.
    """
    if isinstance(error, InvalidInputError):
        # The message names the argument and the rule, never the value.
        _log.warning("a request to connect an account is not valid: %s", error)
        return
    provider = "a provider" if error.account is None else error.account.provider
    level = logging.WARNING if status_of(error) >= 500 else logging.INFO
    # With the code BROKEN, the message names only the class of an unexpected error, so it is safe to log.
    detail = str(error) if error.code == BROKEN else error.reason
    reason = f", {detail}" if detail else ""
    _log.log(level, "an account at %s was not connected (%s%s)", provider, error.code, reason)


def text_of(error: VaultError) -> str:
    """Return the text of the plain page that tells a user of an error; it repeats nothing of the request."""
    if error.code == "provider_unknown":
        return "There is no such provider here.\n"
    if isinstance(error, InvalidInputError):
        return "This request is not valid. Go back and start again.\n"
    if status_of(error) in (500, 503):
        return f"The account could not be connected ({error.code}). Try again later.\n"
    reason = f", {error.reason}" if error.reason else ""
    return f"The account was not connected ({error.code}{reason}). Go back and start again.\n"


def _bound(random: str, tenant_id: str, session: str) -> str:
    return json.dumps([random, str(tenant_id), session])


def _name(state: str) -> str:
    return f"token_vault_{hashlib.sha256(state.encode(errors='replace')).hexdigest()[:24]}"


def _decoded(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        return ""
