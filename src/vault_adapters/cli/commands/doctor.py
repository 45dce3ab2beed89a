"""`doctor`: tells which accounts are at risk, and what is wrong with the set-up."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from vault_adapters.cli.examining import Result, examine
from vault_adapters.cli.exit_codes import ExitCode
from vault_adapters.cli.parameters import Json
from vault_adapters.cli.progress import waiting
from vault_adapters.cli.refreshers import Refreshers, load_if_named
from vault_adapters.cli.screen import Cell, Content, Screen, open_screen, print_json
from vault_domain import InvalidInputError
from vault_domain.entities.findings import Example, Finding, Severity

_COLUMNS = ("severity", "finding", "provider", "accounts")
_MEANING = {Severity.CRITICAL: "bad", Severity.WARNING: "warning", Severity.NOTE: "quiet"}


def doctor(
    *,
    refreshers: Refreshers = None,
    limit: Annotated[int, Parameter(help="Largest number of accounts to examine.")] = 100_000,
    values: Annotated[
        bool, Parameter(help="Decrypt the values of 100 accounts, chosen at random.", negative=(), show_default=False)
    ] = False,
    json: Json = False,
) -> ExitCode:
    """Tell which accounts are at risk, what is wrong with the set-up, and what to do.

    Without --values it decrypts no token. It changes no token and no account, and shows no value. The exit code is 15
    if a finding is critical or a warning, otherwise 0; notes do not count.
    """
    if limit < 1:
        raise InvalidInputError("limit must be at least 1")
    known = load_if_named(refreshers)
    with waiting("examining accounts", None) as progress:
        result = examine(known, limit, progress.advance, opens=values)
    if json:
        print_json(_as_json(result))
    else:
        show(result, open_screen())
    return ExitCode.AT_RISK if any(found.is_risk for found in result.findings) else ExitCode.OK


def _as_json(result: Result) -> dict[str, Any]:
    return {
        "ok": not any(found.is_risk for found in result.findings),
        "accounts": result.examined,
        "complete": result.is_complete,
        "findings": [_finding_json(found) for found in result.findings],
    }


def _finding_json(found: Finding) -> dict[str, Any]:
    return {
        "severity": found.severity.value,
        "code": found.code.value,
        "provider": found.provider,
        "detail": found.detail,
        "message": found.sentence,
        "action": found.action,
        "accounts": found.accounts,
        "examples": [
            {
                "tenant_id": each.account.tenant_id,
                "provider": each.account.provider,
                "identifier": each.account.identifier,
                "label": each.label,
            }
            for each in found.examples
        ],
    }


def show(result: Result, screen: Screen) -> None:
    """Show an examination's findings."""
    if result.findings:
        screen.table(_COLUMNS, [_row(found) for found in result.findings])
        for found in result.findings:
            _explain(found, screen)
        screen.text("")
    count = f"{result.examined} {'account was' if result.examined == 1 else 'accounts were'} examined"
    screen.text(count if result.findings else Cell(f"nothing found; {count}", "good"))


def _row(found: Finding) -> list[Content]:
    severity = Cell(found.severity.value, _MEANING[found.severity])
    return [severity, found.code.value, found.provider, found.accounts or None]


def _explain(found: Finding, screen: Screen) -> None:
    screen.heading(found.code.value if found.provider is None else f"{found.code.value}: {found.provider}")
    screen.text(found.sentence)
    if found.detail is not None:
        screen.text(f"detail: {found.detail}")
    screen.text(f"what to do: {found.action}")
    screen.fields([("for example", _name(each)) for each in found.examples])


def _name(example: Example) -> str:
    account, label = example.account, None if example.label is None else f"({example.label})"
    return " ".join(
        part for part in (account.tenant_id, account.provider, account.identifier, label) if part is not None
    )
