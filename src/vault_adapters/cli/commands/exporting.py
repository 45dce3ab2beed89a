"""`export`: writes the metadata of stored tokens, or the tokens with their values to leave the vault."""

from __future__ import annotations

import csv
import json as json_lines
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from vault_adapters.cli.exit_codes import ExitCode
from vault_adapters.cli.failures import complain
from vault_adapters.cli.parameters import All, OnlyProvider, TenantOrAll, one_tenant_or_all
from vault_adapters.cli.private_file import STANDARD_OUTPUT, Write, refuse_existing, written_privately
from vault_adapters.cli.progress import NOTHING_SHOWN, Waiting, waiting
from vault_adapters.cli.screen import printable
from vault_adapters.cli.session import with_vault
from vault_adapters.cli.views import TOKEN_MEMBERS, token_json
from vault_adapters.configuration.config import VaultConfig
from vault_adapters.importing.formulas import guard
from vault_adapters.runtime import json_forms
from vault_domain import InvalidInputError, Token, TokenInfo, TokenVault
from vault_domain.entities.extra import Extra, as_extra, is_bearer

_SHOWN_EACH = 100
"""Number of tokens between two updates of the progress bar."""

_EVERYTHING = "all tenants"
"""What the user types to confirm an export of all tenants' values."""


def export(
    tenant: TenantOrAll = None,
    /,
    *,
    all_: All = False,
    provider: OnlyProvider = None,
    format_: Annotated[Literal["jsonl", "csv"], Parameter(name="--format", help="JSON lines or CSV.")] = "jsonl",
    raw: Annotated[bool, Parameter(help="Write CSV without apostrophes before formulas.", show_default=False)] = False,
    values: Annotated[bool, Parameter(help="Write the values too, to leave the vault.", show_default=False)] = False,
    to: Annotated[
        str | None, Parameter(help="The new file for --values; - is standard output.", allow_leading_hyphen=True)
    ] = None,
    yes: Annotated[bool, Parameter(help="Write the values without asking.", show_default=False)] = False,
) -> ExitCode:
    """Write the metadata of the tokens of a tenant or of all tenants; with --values, the values too.

    One row per token, sorted by provider, identifier and kind, and with --all first by tenant. In CSV, an apostrophe
    precedes a text that a spreadsheet would run as a formula; `import --format tokens` removes the apostrophe. On
    a terminal, control characters are shown as escapes.

    --values writes JSON lines that `import --format tokens` reads back, with the secrets in clear, to a new file that
    only its owner can read. On a terminal it asks first; elsewhere it needs --yes. Each tenant's export is an audit
    event.
    """
    one_tenant_or_all(tenant, all_)
    if values:
        _check_leaving(to, format_)
        config = VaultConfig.from_env()
        _confirm(tenant, yes=yes)
        return _leave(tenant, provider, str(to), config)
    if to is not None or yes:
        raise InvalidInputError("--to and --yes go with --values only")
    if raw and format_ != "csv":
        raise InvalidInputError("--raw goes with --format csv only")
    config = VaultConfig.from_env()

    async def work(vault: TokenVault) -> None:
        write = _csv_rows(raw=raw) if format_ == "csv" else _json_row
        async for name in _each(tenant, vault):
            async for info in vault.iter_tokens(name, provider=provider):
                write(token_json(info, config.refresh_buffer))

    with_vault(work, config)
    return ExitCode.OK


def _check_leaving(to: str | None, format_: str) -> None:
    """Refuse what cannot become an export of values, before the user is asked and the vault is opened."""
    if format_ != "jsonl":
        raise InvalidInputError("--values writes JSON lines only")
    if to is None:
        raise InvalidInputError("--values needs --to FILE; --to - writes to standard output")
    if to != STANDARD_OUTPUT:
        if to.startswith("-"):  # do not take an option for a file
            raise InvalidInputError("--to needs a file; write ./ before a name that begins with a dash")
        refuse_existing(to)


def _confirm(tenant: str | None, *, yes: bool) -> None:
    """Ask whether secrets shall leave the vault; without a terminal only ``--yes`` is an answer."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidInputError("without a terminal to ask on, --values needs --yes; nothing was exported")
    named = "the tenant's id" if tenant is not None else f"`{_EVERYTHING}`"
    sys.stderr.write(f"The file will hold secrets in clear. Type {named} to export them: ")
    sys.stderr.flush()
    if sys.stdin.readline().rstrip("\r\n") != (tenant or _EVERYTHING):
        raise InvalidInputError(f"{named} was not typed; nothing was exported")


def _leave(tenant: str | None, provider: str | None, to: str, config: VaultConfig) -> ExitCode:
    """Write all tokens with their values; a file appears under its name only when it is complete."""

    async def work(vault: TokenVault) -> tuple[int, int]:
        counts = (await vault.health(tenant_id=tenant)).counts
        # A bar would take over standard output, and show on the terminal what a pipe shall get.
        total = sum(each.count for each in counts) or None
        bar = nullcontext(NOTHING_SHOWN) if to == STANDARD_OUTPUT else waiting("exporting", total)
        with bar as shown, written_privately(to) as write:
            return await _write_values(vault, _each(tenant, vault), provider, write, shown)

    written, unreadable = with_vault(work, config)
    complain(f"{written} {'token' if written == 1 else 'tokens'} exported with values")
    return ExitCode.INCOMPLETE if unreadable else ExitCode.OK


async def _write_values(
    vault: TokenVault, tenants: AsyncIterator[str], provider: str | None, write: Write, shown: Waiting
) -> tuple[int, int]:
    """Write a line for each token; return the number of lines, and of tokens whose values cannot be decrypted."""
    written = unreadable = 0
    async for name in tenants:
        async for item in vault.iter_exported_tokens(name, provider=provider):
            if isinstance(item, TokenInfo):
                unreadable += 1
                place = (item.key.tenant_id, item.key.provider, item.key.kind.value, item.key.identifier)
                shown.note(f"cannot be opened: {' '.join(map(printable, place))}")
                continue
            write(json_lines.dumps(_importable(item)) + "\n")
            written += 1
            if written % _SHOWN_EACH == 0:
                shown.advance(written)
    return written, unreadable


_LEFT_OUT = frozenset({"id", "suspect_since", "generation", "lifetime_seconds"})
"""Members of a token's metadata that belong to this vault, so that an import does not take them."""


def _importable(token: Token) -> dict[str, Any]:
    """Return a token as a row of `import --format tokens`, without the columns that hold nothing."""
    row = {name: value for name, value in json_forms.token_json(token.info).items() if name not in _LEFT_OUT}
    extra: Extra = as_extra(token.extra)
    row |= {"value": token.value.reveal(), "extra": dict(extra)}
    if not is_bearer(token.token_type):
        row["extra_type"] = token.token_type
    return {name: value for name, value in row.items() if value not in (None, [], {})}


async def _each(tenant: str | None, vault: TokenVault) -> AsyncIterator[str]:
    if tenant is not None:
        yield tenant
        return
    async for name in vault.iter_tenants():
        yield name


def _json_row(row: dict[str, Any]) -> None:
    sys.stdout.write(json_lines.dumps(row) + "\n")


class _UnixLines:
    """Writes rows to standard output, each with a line feed at its end.

    A text with a carriage return must be quoted, because a reader would end the row there. The `csv.writer` of Python
    3.11 quotes it only if the writer's own line end holds a carriage return. So the writer ends rows with CRLF, and
    this class writes a line feed instead.
    """

    def write(self, row: str) -> None:
        """Write one row."""
        sys.stdout.write(row.removesuffix(_LINE_END) + "\n")


_LINE_END = "\r\n"


def _csv_rows(*, raw: bool) -> Callable[[dict[str, Any]], None]:
    # Use UTF-8, because CSV has no escapes for characters that another encoding lacks.
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    table = csv.DictWriter(_UnixLines(), TOKEN_MEMBERS, lineterminator=_LINE_END)
    table.writeheader()
    is_terminal = sys.stdout.isatty()

    def cell(value: Any) -> Any:
        text = guard(value) if isinstance(value, str) and not raw else value
        return printable(text) if is_terminal and isinstance(text, str) else text

    def write(row: dict[str, Any]) -> None:
        table.writerow({name: cell(value) for name, value in {**row, "scopes": " ".join(row["scopes"])}.items()})

    return write
