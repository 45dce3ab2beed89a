"""The pages that act on accounts: each asks the operator first, and accepts only a form that the dashboard made."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from attrs import frozen
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from vault_adapters.web.connecting import begin
from vault_adapters.web.forms import read_form
from vault_adapters.web.pages import SPANS, read_account
from vault_adapters.web.reading import Problem
from vault_adapters.web.safety import COOKIE, cookie_secret, form_proof, is_proved, keep_secret
from vault_adapters.web.site import Site, account_link, link
from vault_domain import (
    Account,
    InvalidInputError,
    RefreshFailedError,
    RefreshNotPersistedError,
    RevivalReport,
    StorageError,
    TokenVault,
    VaultError,
)

ACTIONS = ("refresh", "reconnect", "revive", "delete")


@frozen
class Acting:
    """The handlers of the actions of a site."""

    site: Site

    async def ask(self, request: Request) -> Response:
        """Show what the action will do, and ask whether to do it."""
        action = request.path_params["action"]
        if refusal := await self._refusal(request, action):
            return refusal
        account = read_account(request)
        fields = {"tenant": account.tenant_id, "provider": account.provider, "identifier": account.identifier or ""}
        for name in ("since", "everyone"):
            fields[name] = request.query_params.get(name, "")
        return await self._question(request, action, account, fields)

    async def act(self, request: Request) -> Response:
        """Act if the form is from this dashboard; see `is_proved`."""
        action = request.path_params["action"]
        if refusal := await self._refusal(request, action):
            return refusal
        form = await read_form(request)
        account = Account(form.get("tenant", ""), form.get("provider", ""), form.get("identifier") or None)
        actor = await self.site.actor_of(request)
        if not is_proved(request, form.get("proof", ""), _proved(request, action, account, actor, form)):
            message = "This form is not from a page that the dashboard made for you in this browser. Nothing was done."
            return await self._error(request, 403, "Not done", message)
        vault = self.site.vault.with_actor(actor)
        try:
            return await self._do(request, vault, action, account, form)
        except VaultError as error:
            return await self._question(request, action, account, form, error)

    async def _do(
        self, request: Request, vault: TokenVault, action: str, account: Account, form: Mapping[str, str]
    ) -> Response:
        if action == "refresh":
            await vault.refresh_account(account)
            return _done(account_link(request, account, done="refreshed"))
        if action == "delete":
            outcome = await vault.delete_account(account, revoke=form.get("revoke") == "yes")
            return await self.site.render(
                request, "deleted.html", account=account, outcome=outcome, revoked=form.get("revoke"), trouble=None
            )
        if action == "revive":
            report = await self._revive(vault, account, form, dry_run=False)
            return await self.site.render(request, "revived.html", account=account, report=report, trouble=None)
        return await begin(self.site, request, account)

    async def _revive(
        self, vault: TokenVault, account: Account, form: Mapping[str, str], *, dry_run: bool
    ) -> RevivalReport:
        since = datetime.now(UTC) - timedelta(hours=SPANS.get(form.get("since", ""), 24))
        tenant = None if form.get("everyone") == "yes" else account.tenant_id
        return await vault.revive_accounts(provider=account.provider, since=since, tenant_id=tenant, dry_run=dry_run)

    async def _question(
        self,
        request: Request,
        action: str,
        account: Account,
        form: Mapping[str, str],
        error: VaultError | None = None,
    ) -> Response:
        actor = await self.site.actor_of(request)
        secret, is_new = cookie_secret(request, COOKIE)
        preview = None
        if action == "revive" and error is None:
            preview, error = await self._preview(account, form)
        response = await self.site.render(
            request,
            "confirm.html",
            status=200 if error is None else _status(error),
            action=action,
            account=account,
            form=form,
            actor=actor,
            proof=form_proof(secret, _proved(request, action, account, actor, form)),
            target=link(request, f"act/{action}"),
            preview=preview,
            problem=None if error is None else Problem.of(error),
            spans=list(SPANS),
            trouble=None,
        )
        if is_new:
            keep_secret(response, request, COOKIE, secret, path=link(request, ""), strict=True)
        return response

    async def _preview(
        self, account: Account, form: Mapping[str, str]
    ) -> tuple[RevivalReport | None, VaultError | None]:
        """Return what a revival would do, or the error of the vault."""
        try:
            return await self._revive(self.site.vault, account, form, dry_run=True), None
        except VaultError as error:
            return None, error

    async def _refusal(self, request: Request, action: str) -> Response | None:
        if not await self.site.may_act(request):
            return await self._error(request, 403, "Not allowed", "You may not act on accounts in this dashboard.")
        if action not in ACTIONS or (action == "reconnect" and self.site.connector is None):
            return await self._error(request, 404, "Not found", "There is no such action here.")
        return None

    async def _error(self, request: Request, status: int, title: str, message: str) -> Response:
        return await self.site.render(
            request, "error.html", status=status, title=title, message=message, problem=None, trouble=None
        )


def _proved(request: Request, action: str, account: Account, actor: str, form: Mapping[str, str]) -> list[str]:
    """Return the texts that a form's proof covers.

    `revoke` is left out, because the operator ticks it after the proof is made.
    """
    where = str(request.scope.get("root_path", ""))
    named = [account.tenant_id, account.provider, account.identifier or ""]
    return [where, action, *named, actor, form.get("since", ""), form.get("everyone", "")]


def _done(path: str) -> Response:
    return RedirectResponse(path, status_code=303)


def _status(error: VaultError) -> int:
    if isinstance(error, StorageError):
        return 503
    if isinstance(error, InvalidInputError):
        return 400
    return 502 if isinstance(error, RefreshFailedError | RefreshNotPersistedError) else 409
