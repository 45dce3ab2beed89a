"""`audit`: lists audit events, follows them, deletes old ones, and verifies the log against its chain."""

from __future__ import annotations

import json as json_lines
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from vault_adapters.cli.exit_codes import ExitCode
from vault_adapters.cli.failures import FIND, complain
from vault_adapters.cli.following import follow_feed
from vault_adapters.cli.inputs import as_duration, as_moment_or_age
from vault_adapters.cli.parameters import Json, OnlyTenant
from vault_adapters.cli.screen import Content, Screen, open_screen, print_json
from vault_adapters.cli.session import with_vault
from vault_adapters.cli.views import EVENT_COLUMNS, event_row
from vault_adapters.configuration.config import VaultConfig
from vault_adapters.runtime.json_forms import as_json, event_json, iso
from vault_domain import (
    Account,
    AuditAction,
    AuditEvent,
    AuditFinding,
    AuditHead,
    AuditVerification,
    InvalidInputError,
    TokenVault,
)

_UNNAMED = (
    "--account TENANT/PROVIDER selects the account that has no identifier; `token-vault accounts TENANT` lists the"
    " identifiers, and --tenant selects all accounts of a tenant"
)

_NO_HEADS = "--head must name a readable file with heads that `audit head` printed"

_Account = Annotated[
    str | None,
    Parameter(help="Only this account: TENANT/PROVIDER/IDENTIFIER, or TENANT/PROVIDER if it has no identifier."),
]


def audit(
    *,
    tenant: OnlyTenant = None,
    limit: Annotated[int, Parameter(help="Largest number of events, up to 10000.")] = 1000,
    after: Annotated[
        str | None,
        Parameter(help="Continue after the event with this cursor, as --json showed it for the same --tenant."),
    ] = None,
    tail: Annotated[int | None, Parameter(help="Only this many latest events; the newest comes last.")] = None,
    follow: Annotated[bool, Parameter(help="Go on showing new events as they come.", show_default=False)] = False,
    since: Annotated[str | None, Parameter(help="Only events since a time, or since a duration ago.")] = None,
    account: _Account = None,
    action: Annotated[str | None, Parameter(help="Only events with this action, such as refresh_failing.")] = None,
    json: Json = False,
) -> None:
    """List the audit events of tokens and keys, the newest last.

    Without --tail, --follow, --since, --account and --action, it lists them from the beginning, or from --after on.
    --follow goes on after an outage of the database, and ends with Ctrl-C. With --json, --follow writes one object per
    line.
    """
    filters = _Filters(account, action, since)
    if tail is None and not follow and not filters.is_set:
        _list(tenant, limit, after, json=json)
        return
    if after is not None:
        raise InvalidInputError("--after cannot be used with --tail, --follow, --since, --account or --action")
    most = limit if tail is None else tail

    async def work(vault: TokenVault) -> None:
        page = await vault.latest_audit_events(
            tenant_id=tenant, account=filters.account, action=filters.action, since=filters.since, limit=most
        )
        if tail is None and len(page.items) == most:
            complain(f"these are the latest {most} events, and there may be older ones; a larger --limit shows them")
        if not page.items and filters.account is not None:
            complain(_UNNAMED if filters.account.identifier is None else FIND)
        if not follow:
            _show(page.items, json=json)
            return
        show = _follower(json=json)
        show(page.items)
        feed = vault.event_feed(tenant_id=tenant, after=page.next)
        await follow_feed(feed, lambda events: show([event for event in events if filters.take(event)]))

    with_vault(work, VaultConfig.from_env())


def prune(
    *,
    older_than: Annotated[str, Parameter(help="The age from which events are deleted, such as 400d; at least 1d.")],
    json: Json = False,
) -> None:
    """Delete old audit events.

    Events that confirm the states of keys stay, and so do those of erasures and prunings. The command may be repeated,
    also while the service runs.
    """
    age = as_duration(older_than, "--older-than")
    pruned = with_vault(lambda vault: vault.prune_audit(older_than=age), VaultConfig.from_env())
    if json:
        print_json({"pruned": pruned})
    else:
        open_screen().text(f"deleted {pruned} {'event' if pruned == 1 else 'events'}")


def head(*, tenant: OnlyTenant = None) -> None:
    """Print the head of the audit log's chain, as one line of JSON; the first call begins the chain.

    Append the line to a file where nobody who can write to the database can change it, at best after each day. `audit
    verify` finds what was changed in the log behind a head. This command verifies nothing itself.
    """
    found = with_vault(lambda vault: vault.audit_head(tenant_id=tenant), VaultConfig.from_env())
    sys.stdout.write(json_lines.dumps(as_json(found)) + "\n")


def verify(
    *,
    head: Annotated[
        list[Path] | None, Parameter(help="A file with heads that `audit head` printed, one a line; may be repeated.")
    ] = None,
    json: Json = False,
) -> ExitCode:
    """Compare the audit log with its chain, and with heads that were kept elsewhere.

    Without --head, a log that was cut off at its end together with its chain is not noticed.
    """
    heads = [each for path in head or () for each in _heads(path)]
    found = with_vault(lambda vault: vault.verify_audit(heads), VaultConfig.from_env())
    if json:
        print_json(as_json(found))
    else:
        _show_verification(found)
    return ExitCode.OK if found.ok else ExitCode.AT_RISK


class _Filters:
    """The options that select events; they apply to stored events and to new ones."""

    def __init__(self, account: str | None, action: str | None, since: str | None) -> None:
        self.account = None if account is None else _account(account)
        self.action = None if action is None else _action(action)
        self.since = None if since is None else as_moment_or_age(since, "--since")
        self.is_set = (account, action, since) != (None, None, None)

    def take(self, event: AuditEvent) -> bool:
        """Return whether the options select a new event."""
        is_early = self.since is not None and event.occurred_at < self.since
        return not is_early and self.account in (None, event.account) and self.action in (None, event.action)


def _action(text: str) -> AuditAction:
    if text not in set(AuditAction):
        raise InvalidInputError(f"--action must be one of {', '.join(AuditAction)}")
    return AuditAction(text)


def _account(text: str) -> Account:
    tenant, *rest = text.split("/", 2)
    if not rest:
        raise InvalidInputError("--account must be TENANT/PROVIDER or TENANT/PROVIDER/IDENTIFIER")
    return Account(tenant, *rest)


def _list(tenant: str | None, limit: int, after: str | None, *, json: bool) -> None:
    page = with_vault(
        lambda vault: vault.audit_events(tenant_id=tenant, limit=limit, after=after), VaultConfig.from_env()
    )
    if json:
        print_json([event_json(event) for event in page.items])
        return
    _show(page.items, json=False, said=page.next is None)
    if page.next is not None:
        complain(
            "more events follow these; --tail shows the latest ones. To continue after the last event shown, pass its"
            " cursor to --after; --json shows the cursors"
        )


def _show(events: Sequence[AuditEvent], *, json: bool, said: bool = True) -> None:
    if json:
        print_json([event_json(event) for event in events])
    elif events:
        screen = open_screen()
        screen.table(EVENT_COLUMNS, _rows(events, screen))
    elif said:
        complain("no events")


def _follower(*, json: bool) -> Callable[[Sequence[AuditEvent]], None]:
    """Return a function that shows further events and flushes the output each time."""
    screen = open_screen()

    def show(events: Sequence[AuditEvent]) -> None:
        if json:
            sys.stdout.writelines(json_lines.dumps(event_json(event)) + "\n" for event in events)
        elif events:
            screen.growing_table(EVENT_COLUMNS, _rows(events, screen))
        sys.stdout.flush()

    return show


def _rows(events: Sequence[AuditEvent], screen: Screen) -> list[list[Content]]:
    return [event_row(event, screen) for event in events]


def parsed_heads(text: str) -> list[AuditHead]:
    """Return the heads in a text, one a line.

    Raises:
        InvalidInputError: a line is no head.
    """
    try:
        parts = [json_lines.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        raise InvalidInputError(_NO_HEADS) from None
    return [AuditHead.of_json(part) for part in parts]


def _heads(path: Path) -> list[AuditHead]:
    try:
        heads = parsed_heads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        raise InvalidInputError(_NO_HEADS) from None
    if not heads:  # a broken copy must not pass as one that agrees
        raise InvalidInputError(_NO_HEADS)
    return heads


_NO_CHAIN = (
    "the log has no chain, so nothing was verified: if it was never begun, `token-vault audit head` begins it; else"
    " somebody has deleted it"
)


def _show_verification(found: AuditVerification) -> None:
    screen = open_screen()
    if not found.seals:
        complain(_NO_CHAIN)
    if found.findings:
        columns = ("fault", "seal", "time", "tenant", "provider", "identifier", "kind")
        screen.table(columns, [_finding_row(each) for each in found.findings])
    screen.text(
        f"{found.events} events are as they were sealed, {found.pruned} more were pruned;"
        f" {found.tokens} tokens are as they were recorded, {found.unrecorded} have no record;"
        f" {found.heads} heads agree; {found.faults} {'fault' if found.faults == 1 else 'faults'}"
    )


def _finding_row(finding: AuditFinding) -> list[Content]:
    place = finding.tenant_id, finding.provider, finding.identifier, finding.kind
    return [finding.fault.value, finding.seal, iso(finding.occurred_at), *place]


group = App(name="audit", help="List the audit events of tokens and keys, follow, verify and delete them.")
group.default(audit)
group.command(prune)
group.command(head)
group.command(verify)
