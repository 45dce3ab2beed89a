"""Builds the application `token-vault` from its commands, and runs the command that the arguments name."""

from __future__ import annotations

import sys
from typing import Any

from cyclopts import App, Parameter
from cyclopts.exceptions import CycloptsError

from vault_adapters.cli.exit_codes import ExitCode
from vault_adapters.cli.failures import complain
from vault_adapters.cli.session import show_logs
from vault_adapters.cli.usage import explain

_HELP = """Store and refresh the OAuth tokens and API keys of a service's tenants, encrypted.

Configure it with environment variables: DATABASE_URL, and ENCRYPTION_SECRET or ENCRYPTION_SECRET_FILE. Secrets are read
from standard input or a prompt, never from arguments. New here? Run `token-vault demo`.
"""

_COMMANDS = {
    "demo": "demo:demo",
    "generate-secret": "setup:generate_secret",
    "init": "setup:init",
    "adopt": "setup:adopt",
    "schema": "schema:schema",
    "store": "tokens:store",
    "get": "tokens:get",
    "list": "tokens:list_tokens",
    "invalidate": "tokens:invalidate",
    "delete": "tokens:delete",
    "delete-provider": "tokens:delete_provider",
    "accounts": "accounts:accounts",
    "find": "accounts:find",
    "tenants": "accounts:tenants",
    "delete-account": "accounts:delete_account",
    "connect": "connecting:connect",
    "token": "handing_out:token",
    "refresh": "refreshing:refresh",
    "worker": "working:worker",
    "restored": "restoring:restored",
    "revive": "reviving:revive",
    "providers": "providers:providers",
    "health": "watching:health",
    "expiring": "watching:expiring",
    "doctor": "doctor:doctor",
    "import": "importing:import_dump",
    "export": "exporting:export",
    "keys": "keys:group",
    "reencrypt": "keys:reencrypt",
    "erase-tenant": "keys:erase_tenant",
    "audit": "audit:group",
    "dashboard": "dashboard:dashboard",
}
"""The function or group of each command, by the module in `commands`, in the order in which a newcomer needs them."""


def build() -> App:
    """Return the application with all commands; the module of a command is loaded when the command runs."""
    app = App(
        name="token-vault",
        help=_HELP,
        version=_version,
        # A terminal gets panels; a pipe gets plain text.
        help_formatter=None if sys.stdout.isatty() else _PlainHelp(),
        # Offer no negative flags such as --no-json and --empty-scope, because one way to set an option is enough.
        default_parameter=Parameter(negative=()),
    )
    for name, place in _COMMANDS.items():
        app.command(f"vault_adapters.cli.commands.{place}", name=name)
    return app


def run(arguments: list[str]) -> int:
    """Run the command that the arguments name; return its exit code."""
    app = build()
    if not arguments or arguments[0].startswith("-"):  # this shows the help, which describes all commands
        for name in _COMMANDS:
            app[name]
    try:
        command, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        complain(explain(app, error, arguments))
        return ExitCode.INVALID_INPUT
    show_logs()  # before a command reads the configuration, because that may warn
    return command(*bound.args, **bound.kwargs) or ExitCode.OK


class _PlainHelp:
    """The plain help of cyclopts, which loads rich: so it is loaded when help is shown, and not by every command."""

    def __call__(self, console: Any, options: Any, panel: Any) -> None:
        self._formatter()(console, options, panel)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._formatter(), name)

    @staticmethod
    def _formatter() -> Any:
        from cyclopts.help.formatters import PlainFormatter

        return PlainFormatter()


def _version() -> str:
    from importlib import metadata  # it loads much, and only this option needs it

    try:
        return metadata.version("token-vault")
    except metadata.PackageNotFoundError:
        return "unreleased"
