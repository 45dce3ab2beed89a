"""`revive`: makes accounts refreshable again after their credentials were condemned by mistake."""

from __future__ import annotations

import shlex
from typing import Annotated

from cyclopts import Parameter

from vault_adapters.cli.inputs import as_moment_or_age
from vault_adapters.cli.parameters import Json, OnlyTenant, Provider
from vault_adapters.cli.progress import waiting
from vault_adapters.cli.screen import open_screen, print_json, printable
from vault_adapters.cli.session import with_vault
from vault_adapters.configuration.config import VaultConfig
from vault_domain import RevivalReport, TokenVault

_DUE_AGAIN = (
    "the accounts are due again, and the next sweeps ask the provider; one whose user has really revoked access is"
    " condemned again. What came of it:"
)


def revive(
    provider: Provider,
    /,
    *,
    since: Annotated[
        str,
        Parameter(help="The earliest time of the condemnation, such as 2030-01-31T12:00:00Z, or 2h for two hours ago."),
    ],
    until: Annotated[
        str | None, Parameter(help="The latest time of the condemnation, in the same forms; without it, now.")
    ] = None,
    tenant: OnlyTenant = None,
    dry_run: Annotated[bool, Parameter(help="Only count; write nothing.", show_default=False)] = False,
    json: Json = False,
) -> None:
    """Make accounts refreshable again after their credentials were condemned by mistake.

    Use it after the provider rejected valid credentials for a time, or after a wrong client id. Credentials that a host
    marked invalid stay invalid, and so do credentials that have expired. Workers refresh ten revived accounts per
    second; an account whose user has really revoked access is condemned again.
    """
    begin = as_moment_or_age(since, "--since")
    end = None if until is None else as_moment_or_age(until, "--until")
    config = VaultConfig.from_env()
    with waiting("reviving", None) as shown:

        async def work(vault: TokenVault) -> RevivalReport:
            return await vault.revive_accounts(
                provider=provider,
                since=begin,
                until=end,
                tenant_id=tenant,
                dry_run=dry_run,
                progress=lambda report: shown.advance(report.revived + report.skipped),
            )

        report = with_vault(work, config)
    counts = {"revived": report.revived, "skipped": report.skipped}
    if json:
        print_json({"dry_run": dry_run, **counts})
        return
    screen = open_screen()
    if dry_run:
        screen.text("a dry run: nothing was written")
    screen.fields(list(counts.items()))
    if report.revived and not dry_run:
        whose = "--all" if tenant is None else printable(shlex.quote(tenant))
        screen.text(_DUE_AGAIN)
        screen.commands([f"token-vault accounts {whose} --provider {provider} --state reauthorization_required"])
