"""Builds the application `token-vault` from its commands, and runs the command that the arguments name."""

from __future__ import annotations

import sys
from importlib import metadata

from cyclopts import App, Parameter
from cyclopts.exceptions import CycloptsError

from vault_adapters.cli.commands import (
    accounts,
    audit,
    connecting,
    dashboard,
    demo,
    doctor,
    exporting,
    handing_out,
    importing,
    keys,
    providers,
    refreshing,
    restoring,
    reviving,
    schema,
    setup,
    tokens,
    watching,
    working,
)
from vault_adapters.cli.exit_codes import ExitCode
from vault_adapters.cli.failures import complain
from vault_adapters.cli.session import show_logs
from vault_adapters.cli.usage import explain

_HELP = """Store and refresh the OAuth tokens and API keys of a service's tenants, encrypted.

Configure it with environment variables: DATABASE_URL, and ENCRYPTION_SECRET or ENCRYPTION_SECRET_FILE. Secrets are read
from standard input or a prompt, never from arguments. New here? Run `token-vault demo`.
"""


def build() -> App:
    """Return the application with all commands, in the order in which a newcomer needs them."""
    app = App(
        name="token-vault",
        help=_HELP,
        version=_version,
        # A terminal gets panels; a pipe gets plain text.
        help_formatter="default" if sys.stdout.isatty() else "plain",
        # Offer no negative flags such as --no-json and --empty-scope, because one way to set an option is enough.
        default_parameter=Parameter(negative=()),
    )
    for group in (
        demo,
        setup,
        schema,
        tokens,
        accounts,
        connecting,
        handing_out,
        refreshing,
        working,
        restoring,
        reviving,
        providers,
        watching,
        doctor,
        importing,
        exporting,
        keys,
        audit,
        dashboard,
    ):
        group.add_to(app)
    return app


def run(arguments: list[str]) -> int:
    """Run the command that the arguments name; return its exit code."""
    app = build()
    try:
        command, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        complain(explain(app, error, arguments))
        return ExitCode.INVALID_INPUT
    show_logs()  # before a command reads the configuration, because that may warn
    return command(*bound.args, **bound.kwargs) or ExitCode.OK


def _version() -> str:
    try:
        return metadata.version("token-vault")
    except metadata.PackageNotFoundError:
        return "unreleased"
