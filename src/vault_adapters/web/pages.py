"""The read-only pages of the dashboard: overview, accounts, one account, expiring tokens, audit events and keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response

from vault_adapters.web.census import Counts
from vault_adapters.web.charts import NARROW, columns
from vault_adapters.web.reading import Answer
from vault_adapters.web.site import Site, link
from vault_adapters.web.timeline import Timeline, timeline
from vault_domain import (
    Account,
    AccountInfo,
    AuditAction,
    AuditEvent,
    ConnectionState,
    HealthReport,
    Incident,
    Page,
    Readiness,
    TokenHealth,
    TokenInfo,
)
from vault_domain.entities.clients import CLIENT_REASONS
from vault_domain.entities.findings import Finding
from vault_domain.rules.advice import advice_for, incident_finding
from vault_domain.rules.examination import readiness_findings

ROWS = 50
"""Rows of a page of a list."""

LATEST, MOST_LATEST = 50, 200
"""Rows of the list of the latest events, and of the longer list that the page offers."""

SPANS = {"1h": 1, "24h": 24, "7d": 7 * 24, "30d": 30 * 24}
"""The time spans to choose from, in hours."""

Handler = Callable[[Request], Awaitable[Response]]


@frozen
class Pages:
    """The handlers of the pages of a site."""

    site: Site

    async def overview(self, request: Request) -> Response:
        """Show counts of accounts and tokens, refreshes and failures over time, incidents, and the vault's state."""
        site = self.site
        vault = site.vault
        now = datetime.now(UTC)
        health: Answer[HealthReport] = await site.reader.health(vault)
        census, followed, home = site.reader.known("census"), False, None
        # After a problem, ask nothing more, because each question could wait for the same unreachable database.
        if health.problem is None:
            census = (await site.reader.ask("census", self._census)).value
            readiness = (await site.reader.ask("readiness", vault.ready)).value
            home = None if readiness is None else next(readiness_findings(Readiness(home=readiness.home)), None)
            followed = (await site.reader.ask("activity", lambda: site.activity.follow(vault))).problem is None
        week = request.query_params.get("span") == "7d"
        hours = 6 if week else 1
        slots = site.activity.slots(now, count=28 if week else 24, hours=hours)
        names = [(f"{slot.begins:%d %b}" if week else f"{slot.begins:%H}:00", slot.counts) for slot in slots]
        return await self._show(
            request,
            "overview.html",
            [health],
            now=now,
            report=health.value,
            incidents=_explained(health.value),
            census=census,
            home=home,
            slots=slots,
            week=week,
            drawings=[
                columns(names, ("refreshed", "failed"), every=4),
                columns(names, ("refreshed", "failed"), every=8, width=NARROW),
            ],
            activity=site.activity,
            followed=followed,
            healths=list(reversed(TokenHealth)),
            states=list(ConnectionState),
        )

    async def accounts(self, request: Request) -> Response:
        """List the accounts of one tenant or of all tenants with filters, or those of all tenants that a text names."""
        text, tenant, provider, state, after = _read(request, "text", "tenant", "provider", "state", "after")
        vault = self.site.vault

        async def question() -> Page[AccountInfo]:
            if text is not None:
                return await vault.find(text, limit=ROWS, after=after)
            wanted = None if state is None else ConnectionState(state)
            return await vault.list_accounts(tenant, provider=provider, state=wanted, limit=ROWS, after=after)

        answer = await self.site.reader.ask(("accounts", text, tenant, provider, state, after), question)
        return await self._list(
            request,
            "accounts.html",
            answer,
            text=text,
            tenant=tenant,
            provider=provider,
            state=state,
            states=list(ConnectionState),
        )

    async def account(self, request: Request) -> Response:
        """Show one account with its latest audit events."""
        account = read_account(request)
        vault = self.site.vault
        found = await self.site.reader.ask(("account", account), lambda: vault.get_account(account))
        if found.value is None and found.problem is None:
            return await self._missing(request, "The vault holds nothing for this account.")
        events: Answer[Timeline] = Answer(self.site.reader.known(("timeline", account)))
        # After a problem, do not ask for events, because this question could wait for the same unreachable database.
        if found.problem is None:
            events = await self.site.reader.ask(("timeline", account), lambda: timeline(vault, account))
        return await self._show(
            request,
            "account.html",
            [found, events],
            account=account,
            info=found.value,
            advice=None if found.value is None else advice_for(found.value, await self._pauses(found.value)),
            timeline=events.value,
            done=request.query_params.get("done"),
        )

    async def _pauses(self, info: AccountInfo) -> Sequence[Incident]:
        """Return the pauses of clients, if a pause may hold the account back."""
        if info.reason not in CLIENT_REASONS:
            return ()
        tenant = info.account.tenant_id
        health = await self.site.reader.ask(("health", tenant), lambda: self.site.vault.health(tenant_id=tenant))
        return () if health.value is None else health.value.incidents

    async def expiring(self, request: Request) -> Response:
        """List access tokens of status VALID that expire soon or have expired."""
        within, provider, after = _read(request, "within", "provider", "after")
        hours = SPANS.get(within or "24h", 24)
        vault = self.site.vault

        async def question() -> Page[TokenInfo]:
            return await vault.find_expiring_tokens(timedelta(hours=hours), provider=provider, limit=ROWS, after=after)

        answer = await self.site.reader.ask(("expiring", hours, provider, after), question)
        return await self._list(
            request, "expiring.html", answer, within=within or "24h", provider=provider, spans=list(SPANS)
        )

    async def audit(self, request: Request) -> Response:
        """List audit events: the latest ones, newest first, or all of them from the beginning of the log."""
        tenant, action, since, order, after = _read(request, "tenant", "action", "since", "order", "after")
        vault = self.site.vault
        oldest = order == "oldest"
        most = MOST_LATEST if "many" in request.query_params else LATEST

        async def question() -> Page[AuditEvent]:
            if oldest:
                return await vault.audit_events(tenant_id=tenant, limit=ROWS, after=after)
            hours = SPANS.get(since or "")
            begin = None if hours is None else datetime.now(UTC) - timedelta(hours=hours)
            wanted = None if action is None else AuditAction(action)
            page = await vault.latest_audit_events(tenant_id=tenant, action=wanted, since=begin, limit=most)
            return Page(page.items[::-1])

        answer = await self.site.reader.ask(("audit", tenant, action, since, order, after, most), question)
        return await self._list(
            request,
            "audit.html",
            answer,
            tenant=tenant,
            action=action,
            since=since,
            oldest=oldest,
            spans=list(SPANS),
            actions=list(AuditAction),
            most=most,
            longer=most == LATEST,
        )

    async def keys(self, request: Request) -> Response:
        """Show the master keys and the counts of data keys."""
        vault = self.site.vault
        answer = await self.site.reader.ask("keys", vault.keys.status)
        return await self._show(request, "keys.html", [answer], status_of=answer.value)

    async def _census(self) -> Counts:
        return await self.site.census.follow(self.site.vault)

    async def _list(self, request: Request, template: str, answer: Answer[Any], **context: Any) -> Response:
        page = answer.value
        query = {name: value for name, value in request.query_params.items() if name != "after"}
        name = template.removesuffix(".html")
        onward = link(request, name, **query, after=page.next) if page is not None and page.next else None
        start = link(request, name, **query) if "after" in request.query_params else None
        items = () if page is None else page.items
        return await self._show(request, template, [answer], items=items, onward=onward, start=start, **context)

    async def _show(self, request: Request, template: str, answers: list[Answer[Any]], **context: Any) -> Response:
        trouble = next((answer for answer in answers if answer.problem is not None), None)
        # The status tells a monitoring program of the outage; a person reads the remembered answer.
        status = 200 if trouble is None else 503
        return await self.site.render(request, template, status=status, trouble=trouble, **context)

    async def _missing(self, request: Request, message: str) -> Response:
        return await self.site.render(
            request, "error.html", status=404, title="Not found", message=message, problem=None, trouble=None
        )


def _explained(report: HealthReport | None) -> list[tuple[Incident, Finding]]:
    """Return the incidents of a report, each with what happened and what to do."""
    incidents = () if report is None else report.incidents
    return [(incident, incident_finding(incident)) for incident in incidents]


def read_account(request: Request) -> Account:
    """Return the account that a request names.

    Raises:
        InvalidInputError: the request does not name a valid account.
    """
    tenant, provider, identifier = _read(request, "tenant", "provider", "identifier")
    return Account(tenant or "", provider or "", identifier)


def _read(request: Request, *names: str) -> list[str | None]:
    """Return parameters of the query; None for an empty or missing one."""
    return [request.query_params.get(name) or None for name in names]
