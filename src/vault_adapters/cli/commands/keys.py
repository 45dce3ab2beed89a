"""`keys`, `reencrypt` and `erase-tenant`: shows and rotates keys, re-encrypts values, erases tenants."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated

from cyclopts import App, Parameter

from vault_adapters.cli.compromised import count_keys, replace_keys
from vault_adapters.cli.exit_codes import ExitCode
from vault_adapters.cli.failures import complain
from vault_adapters.cli.inputs import as_duration
from vault_adapters.cli.key_views import (
    MASTER_KEY_COLUMNS,
    count_fields,
    master_key_row,
    report_json,
    status_fields,
    status_json,
)
from vault_adapters.cli.parameters import Json, OnlyTenant, Tenant
from vault_adapters.cli.progress import waiting
from vault_adapters.cli.screen import open_screen, print_json, printable
from vault_adapters.cli.session import gather, with_vault
from vault_adapters.configuration.config import VaultConfig
from vault_domain import (
    DataKeyRotation,
    DataKeyRotations,
    InvalidInputError,
    KeyStatus,
    MasterKeyRotation,
    Reencryption,
    TenantMasterKey,
    TokenVault,
    UnreadableKey,
)

_NO_NEW_MASTER_KEY = (
    "no new master key is configured, so the master key stays. If somebody may know the encryption secret too,"
    " configure a new secret, keep the old one as the previous secret, and run this again"
)
_NO_DATA_KEY = "the tenant has no data key"
_HELD_NOTHING = (
    "the vault held nothing of a tenant with this id, and has made its first data key, under that master key; if the id"
    " is a mistake, `token-vault erase-tenant` takes it back, and `token-vault tenants` lists the ids"
)
_NOTHING_HELD = "the vault holds nothing of a tenant with this id; `token-vault tenants` lists the ids"

_Wait = Annotated[
    bool,
    Parameter(
        name="--wait",
        help="Return only when no process can return a remembered value of the tenant, even one without the database.",
        show_default=False,
    ),
]
_DryRun = Annotated[bool, Parameter(name="--dry-run", help="Only show the work to do.", show_default=False)]


def status(*, tenant: OnlyTenant = None, json: Json = False) -> None:
    """Show the status of all keys; nothing is decrypted."""
    _show_status(_status(tenant), json=json)


def rotate_data(
    tenant: Annotated[str | None, Parameter(help="The tenant's id.")] = None,
    /,
    *,
    all_: Annotated[bool, Parameter(name="--all", help="All tenants instead of one.", show_default=False)] = False,
    older_than: Annotated[
        str | None, Parameter(help="With --all: smallest age of the data keys to rotate, such as 365d.")
    ] = None,
    compromised: Annotated[
        bool,
        Parameter(
            name="--compromised",
            help="Somebody may know the keys: also rotate the master key if a new one is configured, re-encrypt the"
            " values, and destroy the old data keys at once. Without a tenant, all tenants get new keys.",
            show_default=False,
        ),
    ] = False,
    dry_run: _DryRun = False,
    json: Json = False,
) -> ExitCode:
    """Give one tenant or each tenant a new data key.

    New values are encrypted under the new key; `reencrypt` re-encrypts the stored values. The exit code is 4 if the
    tenant has no data key. With --compromised, the exit code is 13 if an old key is still in use, for example because a
    value cannot be decrypted.
    """
    if (tenant is not None and all_) or (tenant is None and not (all_ or compromised)):
        raise InvalidInputError("name one tenant, or pass --all")
    if compromised:
        if older_than is not None:
            raise InvalidInputError("--older-than cannot be used with --compromised")
        return _replace_compromised(tenant, dry_run=dry_run, json=json)
    if tenant is None:
        return _rotate_all(older_than, dry_run=dry_run, json=json)
    if older_than is not None:
        raise InvalidInputError("--older-than needs --all")
    report = with_vault(lambda vault: vault.keys.rotate_data_key(tenant, dry_run=dry_run), VaultConfig.from_env())
    if report.data_key_id is None:
        complain(_NO_DATA_KEY)
        return ExitCode.NOT_FOUND
    _show_counts({"dry_run": dry_run, **report_json(report)}, json=json)
    return ExitCode.OK


def rotate_master(*, dry_run: _DryRun = False, json: Json = False) -> ExitCode:
    """Make the configured master key active.

    First configure the new secret or key as current and the old one as previous, in every process. The exit code is 13
    if a data key cannot be opened, or if the old master key still wraps data keys.
    """
    if dry_run:
        _show_status(_status(None), json=json, dry_run=True)
        return ExitCode.OK
    with _bar("rewrapping") as progress:
        report = with_vault(lambda vault: vault.keys.rotate_master_key(progress), VaultConfig.from_env())
    _show(report, json=json)
    _name_wraps(report)
    return _exit_code(report)


def tenant(
    tenant: Tenant,
    /,
    *,
    master_key: Annotated[
        str,
        Parameter(
            name="--master-key",
            help="The master key's name at its key service, such as aws-kms:ARN; `configured` is the vault's own.",
        ),
    ],
    json: Json = False,
) -> ExitCode:
    """Put a tenant's data keys under a master key of the tenant's own, under another one, or back.

    It may be stopped and started again, while the service runs. To move away from a key, that key must be usable too.
    The exit code is 13 if a data key cannot be opened, because somebody has changed it; it stays as it is.
    """
    uri = None if master_key == "configured" else master_key

    async def work(vault: TokenVault) -> tuple[bool, TenantMasterKey]:
        before = await vault.keys.status(tenant_id=tenant)
        return before.active + before.decrypt_only > 0, await vault.keys.set_tenant_master_key(tenant, uri)

    is_held, report = with_vault(work, VaultConfig.from_env())
    _show(report, json=json)
    if not is_held:
        complain(_NOTHING_HELD if uri is None else _HELD_NOTHING)
    _name_unreadable(report.unreadable, "data key {} cannot be opened; it was not changed")
    return ExitCode.INCOMPLETE if report.incomplete else ExitCode.OK


def reencrypt(*, tenant: OnlyTenant = None, dry_run: _DryRun = False, json: Json = False) -> ExitCode:
    """Re-encrypt values from old data keys to the active ones.

    It may be stopped and started again, and several runs may work at once. Values that cannot be decrypted are listed
    and stay unchanged. The exit code is 13 if values remain under old data keys.
    """
    if dry_run:
        _show_status(_status(tenant), json=json, dry_run=True)
        return ExitCode.OK
    with _bar("re-encrypting") as progress:
        report = with_vault(lambda vault: vault.keys.reencrypt(tenant, progress), VaultConfig.from_env())
    _show(report, json=json)
    _name_values(report)
    return _exit_code(report)


def erase_tenant(tenant: Tenant, /, *, wait: _Wait = False, dry_run: _DryRun = False, json: Json = False) -> ExitCode:
    """Delete all tokens and accounts of a tenant, and destroy its data keys.

    The tenant's id must be given a second time, on standard input. No option skips this, because an erasure cannot be
    undone. Earlier audit events stay, without tenant and identifier. The exit code is 13 if SQLite could not empty its
    write-ahead log.
    """
    config = VaultConfig.from_env()
    if dry_run:
        found = with_vault(lambda vault: _count(vault, tenant), config)
        _show_counts({"dry_run": True, **found}, json=json)
        if not any(found.values()):
            complain(_NOTHING_HELD)
        return ExitCode.OK
    _confirm(tenant)
    report = with_vault(lambda vault: vault.erase_tenant(tenant, wait=wait), config)
    _show(report, json=json)
    if not (report.tokens or report.accounts or report.data_keys):
        complain(_NOTHING_HELD)
    if report.checkpointed is False:
        complain("SQLite could not empty its write-ahead log, for example because of a reader; run this again")
        return ExitCode.INCOMPLETE
    return ExitCode.OK


def _rotate_all(older_than: str | None, *, dry_run: bool, json: bool) -> ExitCode:
    age = timedelta(0) if older_than is None else as_duration(older_than, "--older-than")
    with _bar("rotating") as progress:
        report = with_vault(
            lambda vault: vault.keys.rotate_data_keys(older_than=age, dry_run=dry_run, progress=progress),
            VaultConfig.from_env(),
        )
    _show_counts({"dry_run": dry_run, **report_json(report)}, json=json)
    _name_unopened(report)
    return ExitCode.INCOMPLETE if report.incomplete else ExitCode.OK


def _replace_compromised(tenant: str | None, *, dry_run: bool, json: bool) -> ExitCode:
    config = VaultConfig.from_env()
    if dry_run:
        counts = with_vault(lambda vault: count_keys(vault, tenant), config)
        _show_counts({"dry_run": True, **counts}, json=json)
        if tenant is not None and not counts["data_keys_to_rotate"]:
            complain(_NO_DATA_KEY)
            return ExitCode.NOT_FOUND
        if not counts["master_key_rotation_due"]:
            complain(_NO_NEW_MASTER_KEY)
        return ExitCode.OK
    done = with_vault(lambda vault: replace_keys(vault, tenant, _bar), config)
    if json:
        parts = {"data_keys": done.data_keys, "values": done.values, "master_key": done.master_key}
        shown = {name: None if part is None else report_json(part) for name, part in parts.items()}
        print_json({"dry_run": False, **shown, "incomplete": done.incomplete})
    else:
        for part in filter(None, (done.master_key, done.data_keys, done.values)):
            open_screen().fields(count_fields(report_json(part)))
    if isinstance(done.data_keys, DataKeyRotation) and done.data_keys.data_key_id is None:
        complain(_NO_DATA_KEY)
        return ExitCode.NOT_FOUND
    if isinstance(done.data_keys, DataKeyRotations):
        _name_unopened(done.data_keys)
    if done.master_key is None:
        complain(_NO_NEW_MASTER_KEY)
    else:
        _name_wraps(done.master_key)
    _name_values(done.values)
    return ExitCode.INCOMPLETE if done.incomplete else ExitCode.OK


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar during the block; yield the function that sets its progress."""
    with waiting(title, 100) as shown:
        yield lambda done, total: shown.advance(done * 100 // total)


def _confirm(tenant: str) -> None:
    """Ask for the tenant's id again, so that a typing error or an empty variable does not erase a tenant."""
    if sys.stdin.isatty():
        sys.stderr.write("An erasure cannot be undone. Type the tenant's id again to erase it: ")
        sys.stderr.flush()
    if sys.stdin.readline().rstrip("\r\n") != tenant:
        raise InvalidInputError("the tenant's id was not repeated on standard input; nothing was erased")


async def _count(vault: TokenVault, tenant: str) -> dict[str, int]:
    counts = await vault.keys.status(tenant_id=tenant)
    return {
        "tokens": len(await gather(vault.iter_tokens(tenant))),
        "accounts": len(await gather(vault.iter_accounts(tenant))),
        "data_keys": counts.active + counts.decrypt_only,
    }


def _status(tenant: str | None) -> KeyStatus:
    return with_vault(lambda vault: vault.keys.status(tenant_id=tenant), VaultConfig.from_env())


def _show_status(found: KeyStatus, *, json: bool, dry_run: bool = False) -> None:
    if json:
        print_json(status_json(found))
        return
    screen = open_screen()
    if dry_run:
        screen.text("a dry run: nothing was written")
    screen.table(MASTER_KEY_COLUMNS, [master_key_row(key, screen) for key in found.master_keys])
    screen.fields(status_fields(found))


def _show(report: object, *, json: bool) -> None:
    _show_counts(report_json(report), json=json)


def _show_counts(counts: dict[str, object], *, json: bool) -> None:
    if json:
        print_json(counts)
    else:
        open_screen().fields(count_fields(counts))


def _name_values(report: Reencryption) -> None:
    _name_unreadable(report.unreadable, "values under data key {} cannot be opened; they were not changed")
    for key in report.unreadable_tokens:
        place = (key.tenant_id, key.provider, key.kind.value, key.identifier)
        complain(f"cannot be opened: {' '.join(map(printable, place))}")
    if report.remaining > report.unreadable_count:
        complain("data keys were rotated meanwhile, so some values are under old data keys again; run this once more")


def _name_wraps(report: MasterKeyRotation) -> None:
    _name_unreadable(report.unreadable, "data key {} cannot be opened; it was not changed")
    if report.in_use:
        complain("the previous master key still wraps data keys; keep it configured, and run this again")


def _name_unopened(report: DataKeyRotations) -> None:
    for key in report.unreadable:
        complain(f"data key {key.data_key_id} of tenant {printable(key.tenant_id)} does not open; it was not replaced")


def _name_unreadable(unreadable: tuple[UnreadableKey, ...], message: str) -> None:
    for key in unreadable:
        complain(message.format(key.data_key_id))


def _exit_code(report: MasterKeyRotation | Reencryption) -> ExitCode:
    return ExitCode.INCOMPLETE if report.incomplete else ExitCode.OK


group = App(name="keys", help="Show the status of keys, and rotate them while the service runs.")
group.command(status)
group.command(rotate_data)
group.command(rotate_master)
group.command(tenant)
