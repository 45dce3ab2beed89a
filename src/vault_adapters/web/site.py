"""The parts that all pages of a dashboard share: its vault, functions of the host, links and templates."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from attrs import field, frozen
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from vault_adapters.web import charts, shown
from vault_adapters.web.activity import Activity
from vault_adapters.web.census import Census
from vault_adapters.web.reading import Reader
from vault_domain import Account, TokenVault

STATIC = {"style.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}

Hook = Callable[[Request], Any]
"""A function of the host that is called with a request; it may be async."""


class ConnectorLike(Protocol):
    """The methods of a connector that the dashboard calls."""

    def begin(self, tenant_id: str, provider: str, *, session: str, account: Account | None = None) -> Awaitable[Any]:
        """Begin a connection; the result has the provider's page as ``url``."""

    def finish(self, query: str, *, session: str) -> Awaitable[Any]:
        """Store the tokens of a callback; return the account's `AccountInfo`.

        If the path of the callback names a provider, as with the redirect URI ``connected/{provider}``, the dashboard
        passes the name as the keyword argument ``provider``.
        """


def content(name: str) -> bytes:
    """Return a static file."""
    return files("vault_adapters.web").joinpath("static", name).read_bytes()


def _edition() -> str:
    return hashlib.sha256(b"".join(content(name) for name in STATIC)).hexdigest()[:12]


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("vault_adapters.web"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        shown=shown.shown,
        printable=shown.printable,
        named=shown.named,
        pill=shown.pill,
        meaning=lambda state: shown.MEANINGS.get(str(state), "plain"),
        event_meaning=shown.event_meaning,
        number=shown.number,
        numeric=lambda name: f"#{name.capitalize()}",
        count_of=lambda counts, kind: counts.get(kind, 0),
        moment=shown.moment,
    )
    environment.globals.update(charts=charts)
    return environment


@frozen
class Site:
    """The parts of one dashboard.

    Attributes:
        source: the vault, or a function that returns it.
        connector: begins and finishes connections; None: accounts cannot be connected again here.
        actions: whether operators may act on accounts, or a function of the request that returns this.
        actor: a function of the request that returns the actor. If there is no function, or it returns None,
            `actor_of` chooses the actor.
        session: a function of the request that returns the browser's session for the connector; None: a cookie holds
            the session.
        reader: asks the vault, and remembers its answers.
        activity: counts refreshes and failures.
        census: counts accounts.
        environment: renders the templates.
        edition: a hash of the static files; it is a part of their paths.
    """

    source: TokenVault | Callable[[], TokenVault]
    connector: ConnectorLike | None = None
    actions: bool | Hook = False
    actor: Hook | None = None
    session: Hook | None = None
    reader: Reader = field(factory=Reader)
    activity: Activity = field(factory=Activity)
    census: Census = field(factory=Census)
    environment: Environment = field(factory=_environment)
    edition: str = field(factory=_edition)

    @property
    def vault(self) -> TokenVault:
        """The vault that the pages show."""
        return self.source() if callable(self.source) else self.source

    async def may_act(self, request: Request) -> bool:
        """Return whether the host allows this request to act on accounts."""
        return bool(await answer_of(self.actions, request) if callable(self.actions) else self.actions)

    async def actor_of(self, request: Request) -> str:
        """Return the actor: what the host's function returns, else the name of Starlette's user, else ``dashboard``."""
        named = None if self.actor is None else await answer_of(self.actor, request)
        if named is not None:
            return str(named)
        user = request.scope.get("user")
        name = getattr(user, "display_name", "") if getattr(user, "is_authenticated", False) else ""
        return str(name) or "dashboard"

    async def render(self, request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
        """Return the page that a template makes."""
        text = self.environment.get_template(template).render(
            now=context.pop("now", datetime.now(UTC)),
            link=lambda page, **query: link(request, page, **query),
            account_link=lambda account, page="account", **more: account_link(request, account, page, **more),
            edition=self.edition,
            here=template.removesuffix(".html"),
            may_act=await self.may_act(request),
            connector=self.connector,
            **context,
        )
        return HTMLResponse(text, status)


async def answer_of(hook: Hook, request: Request) -> Any:
    """Return the result of a host's function, which may be async."""
    found = hook(request)
    return await found if inspect.isawaitable(found) else found


def link(request: Request, page: str, /, **query: object) -> str:
    """Return a page's path under the prefix that the host mounts the dashboard at; empty query values are left out."""
    prefix = str(request.scope.get("root_path", "")).strip("/")
    path = f"/{quote(prefix)}/{page}" if prefix else f"/{page}"
    kept = {name: str(value) for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(kept)}" if kept else path


def account_link(request: Request, account: Account, page: str = "account", **more: object) -> str:
    """Return the path of a page about an account."""
    named = {"tenant": account.tenant_id, "provider": account.provider, "identifier": account.identifier}
    return link(request, page, **named, **more)
