"""`import`: imports tokens of another system."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import Annotated, Literal

from cyclopts import Parameter

from vault_adapters.cli.dumps import Dump, format_of, open_dump
from vault_adapters.cli.exit_codes import ExitCode
from vault_adapters.cli.failures import complain
from vault_adapters.cli.parameters import Json
from vault_adapters.cli.progress import Waiting, waiting
from vault_adapters.cli.refreshers import Refreshers, load_if_named
from vault_adapters.cli.screen import open_screen, print_json
from vault_adapters.cli.session import with_vault
from vault_adapters.cli.takeover import Choice, Sieve, System, Taken, as_renames, open_system
from vault_adapters.configuration.config import VaultConfig
from vault_domain import ImportedToken, ImportFailure, ImportReport, InvalidInputError, TokenVault
from vault_domain.services.tokens.importing import DATA_KEY_UNREADABLE

_FormatName = Annotated[
    Literal["original", "tokens", "fernet"] | None,
    Parameter(
        name="--format",
        help="original: the original system's table; tokens: plaintext values; fernet: Fernet ciphertexts.",
    ),
]
_SystemName = Annotated[
    System | None, Parameter(name="--from", help="The system whose own tables or files DUMP is; see the guide.")
]
_Renames = Annotated[
    list[str] | None, Parameter(help="Another name for a provider, such as google-oauth2=google; repeat it for more.")
]


_SHOWN_EACH = 100
"""Number of rows between two updates of the progress bar."""


def import_dump(
    dump: Annotated[
        str,
        Parameter(
            help="A file of JSON lines or CSV; - is standard input. With --from, a SQLite file, a folder, or the URL of"
            " a Postgres database.",
            allow_leading_hyphen=True,
        ),
    ],
    /,
    *,
    format_: _FormatName = None,
    from_: _SystemName = None,
    secret_file: Annotated[str | None, Parameter(help="The file with the original system's encryption secret.")] = None,
    key_file: Annotated[
        str | None, Parameter(help="The file with the Fernet keys, one per line, or with Nango's encryption key.")
    ] = None,
    tenant: Annotated[str | None, Parameter(help="With --from: the tenant of all accounts.")] = None,
    rename: _Renames = None,
    only: Annotated[str | None, Parameter(help="With --from: only this client id or environment.")] = None,
    server: Annotated[str | None, Parameter(help="With --from mcp: the URL of the MCP server.")] = None,
    private_addresses: Annotated[
        bool, Parameter(help="With --from mcp: the server may have a private address.", show_default=False)
    ] = False,
    all_members: Annotated[
        bool, Parameter(help="Keep extra members that decide where secrets go.", show_default=False)
    ] = False,
    overwrite: Annotated[bool, Parameter(help="Replace stored tokens.", show_default=False)] = False,
    dry_run: Annotated[bool, Parameter(help="Read and count; write nothing.", show_default=False)] = False,
    refreshers: Refreshers = None,
    json: Json = False,
) -> ExitCode:
    """Import tokens of another system.

    Without --overwrite, stored tokens stay, and a row is counted as skipped if a token is stored under its key. So a
    repeated import is harmless. If a row cannot be read or stored, standard error shows its line number and a code. The
    other rows are imported, and the exit code is 13. With --refreshers, the vault knows the providers' default and idle
    lifetimes, so that sweeps refresh imported tokens in time. --from reads django-allauth, python-social-auth, Slack
    Bolt, Nango or the files of an MCP client; the number of a row is then the one of its table.
    """
    if (format_ is None) is (from_ is None):
        raise InvalidInputError("name --format or --from")
    if from_ is not None:
        choice = Choice(from_, tenant, as_renames(rename or []), only, key_file, server, private_addresses)
        if secret_file is not None:
            raise InvalidInputError("--secret-file goes with --format original only")
        report = _import(
            lambda: open_system(dump, choice),
            "row",
            refreshers,
            overwrite=overwrite,
            dry_run=dry_run,
            json=json,
            sifts=from_ != "mcp" and not all_members,
        )
        return _code_of(report)
    if any((tenant, rename, only, server, private_addresses)):
        raise InvalidInputError("--tenant, --rename, --only and --server go with --from only")
    form, opener = format_of(str(format_), secret_file, key_file)
    report = _import(
        lambda: open_dump(dump, form, opener),
        "line",
        refreshers,
        overwrite=overwrite,
        dry_run=dry_run,
        json=json,
        sifts=not all_members,
    )
    if any(failure.code.startswith("unknown_column") for failure in report.failures):
        complain(f"the columns of --format {format_} are {', '.join(form.columns)}")
    return _code_of(report)


def _import(
    opening: Callable[[], AbstractContextManager[Dump | Taken]],
    noun: str,
    refreshers: str | None,
    *,
    overwrite: bool,
    dry_run: bool,
    json: bool,
    sifts: bool,
) -> ImportReport:
    """Import what ``opening`` opens; ``noun`` is what the numbers of its rows count."""
    config = VaultConfig.from_env()
    known = load_if_named(refreshers)
    unread: Counter[str] = Counter()
    with opening() as opened, waiting("importing", opened.size) as shown:
        sieve = Sieve(known or {}) if sifts else None

        async def work(vault: TokenVault) -> ImportReport:
            return await vault.import_tokens(
                _watched(opened, noun, shown, unread, sieve), overwrite=overwrite, dry_run=dry_run, source=opened.source
            )

        report = with_vault(work, config, refreshers=known)
    left_out = 0 if sieve is None else sieve.left_out
    _name_not_stored(report, unread.total(), noun)
    if left_out:
        complain(f"{left_out} extra members left out, because they decide where secrets go; --all-members keeps them")
    _show(report, left_out, json=json, dry_run=dry_run)
    return report


def _code_of(report: ImportReport) -> ExitCode:
    return ExitCode.INCOMPLETE if report.failed else ExitCode.OK


async def _watched(
    dump: Dump | Taken, noun: str, shown: Waiting, unread: Counter[str], sieve: Sieve | None
) -> AsyncIterator[ImportedToken | ImportFailure]:
    """Pass the rows on and print each failure at once, because the report holds only the first thousand failures.

    ``unread`` counts the failures by their codes.
    """
    read = 0
    async for row in dump.rows():
        if isinstance(row, ImportFailure):
            unread[row.code] += 1
            shown.note(f"{noun} {row.line}: {row.code}")
        if (read := read + 1) % _SHOWN_EACH == 0:
            shown.advance(dump.position)
        yield sieve.passed(row) if sieve is not None and isinstance(row, ImportedToken) else row


def _name_not_stored(report: ImportReport, unread: int, noun: str) -> None:
    """Print the reported rows that could not be stored, and the number of such rows that the report omits."""
    named = [failure for failure in report.failures if failure.code == DATA_KEY_UNREADABLE]
    for failure in named:
        complain(f"{noun} {failure.line}: {failure.code}")
    if (more := report.failed - unread - len(named)) > 0:
        complain(f"{more} more {'row' if more == 1 else 'rows'}: {DATA_KEY_UNREADABLE}")


def _show(report: ImportReport, left_out: int, *, json: bool, dry_run: bool) -> None:
    counts = {"imported": report.imported, "replaced": report.replaced, "skipped": report.skipped}
    counts["failed"] = report.failed
    if json:
        failures = [{"line": failure.line, "code": failure.code} for failure in report.failures]
        print_json({"dry_run": dry_run, **counts, "members_left_out": left_out, "failures": failures})
        return
    screen = open_screen()
    if dry_run:
        screen.text("a dry run: nothing was written")
    screen.fields(list(counts.items()))
