"""Examines the configured vault for `doctor`: reads the facts that the rules of an examination need."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from attrs import evolve, frozen

from vault_adapters.cli.provider_facts import facts_reader
from vault_adapters.cli.session import with_vault
from vault_adapters.configuration.config import VaultConfig
from vault_adapters.crypto.secret_strength import estimated_bits
from vault_adapters.runtime.journal_files import try_directory
from vault_domain import (
    Account,
    AuditAction,
    AuditEvent,
    ConfigurationError,
    KeyUnavailableError,
    Readiness,
    SchemaOutdatedError,
    StorageError,
    TokenKind,
    TokenRefresher,
    TokenVault,
    VaultError,
)
from vault_domain.entities.findings import Finding, FindingCode
from vault_domain.rules.advice import finding
from vault_domain.rules.examination import LARGE_LOG, SetUp, readiness_findings, setup_findings
from vault_domain.rules.key_states import OF_ONE_TENANT
from vault_domain.services.tokens.examination import Examination, in_order

_PAGE = 1000
_EVENTS_PAGE = 10_000
_PATIENCE_SECONDS = 5.0
_SAMPLE = 100
_MOST_TOLD = 100
_REPLACING = {AuditAction.TOKEN_STORED, AuditAction.TOKEN_IMPORTED, AuditAction.TOKEN_DELETED}


@frozen
class Result:
    """The result of an examination.

    Attributes:
        findings: what was found, the most urgent first.
        examined: number of examined accounts, also if an error ended the examination.
        is_complete: whether the vault and all its accounts were examined.
    """

    findings: list[Finding]
    examined: int = 0
    is_complete: bool = True


def examine(
    refreshers: Mapping[str, TokenRefresher] | None, limit: int, advance: Callable[[int], None], *, opens: bool = False
) -> Result:
    """Examine the vault that the environment configures.

    A wrong configuration, and an outage of the database or the master key, are findings and raise no error.

    Args:
        refreshers: the host's refreshers, or None.
        limit: largest number of accounts to examine.
        advance: called with the number of accounts that were examined so far.
        opens: whether the values of `_SAMPLE` accounts are decrypted, which are chosen at random.
    """
    try:
        config = VaultConfig.from_env()
        # The doctor must change nothing. So open the vault without its journal, because opening a vault with a journal
        # stores the journal's entries in the database.
        opened = evolve(config, journal_dir=None)
        return with_vault(
            lambda vault: _examine(vault, config, refreshers, limit, advance, opens=opens),
            opened,
            refreshers=refreshers,
        )
    except (ConfigurationError, StorageError, KeyUnavailableError) as error:
        return Result(in_order([*_refusal(error)]), is_complete=False)


def _refusal(error: VaultError) -> list[Finding]:
    """Return the findings for an error that ended the examination."""
    if isinstance(error, SchemaOutdatedError):
        return list(readiness_findings(Readiness(schema=error.code)))
    if isinstance(error, StorageError):
        return list(readiness_findings(Readiness(store=error.reason or error.code)))
    if isinstance(error, KeyUnavailableError):
        return list(readiness_findings(Readiness(master_key=error.reason or error.code)))
    if error.code == "encryption_secret_weak":
        return [finding(FindingCode.SECRET_WEAK)]
    return [finding(FindingCode.CONFIGURATION, detail=str(error))]  # the vault's messages repeat no configured value


async def _examine(
    vault: TokenVault,
    config: VaultConfig,
    refreshers: Mapping[str, TokenRefresher] | None,
    limit: int,
    advance: Callable[[int], None],
    *,
    opens: bool = False,
) -> Result:
    readiness = await vault.ready(timeout=_PATIENCE_SECONDS)
    if config.journal_dir is not None:  # the vault was opened without it
        readiness = evolve(readiness, journal=try_directory(config.journal_dir))
    if readiness.store is not None or readiness.schema is not None:
        found = list(readiness_findings(readiness))
        if found[0].code is not FindingCode.DATABASE_READ_ONLY:
            return Result(in_order(found), is_complete=False)
    examination = Examination(
        facts_reader(refreshers),
        datetime.now(UTC),
        max(config.refresh_buffer, config.tuning.reconnect_notice),  # as in the health report
        has_journal=config.journal_dir is not None,
    )
    saw_all = is_up = False
    try:
        sample = _Sample(_SAMPLE if opens else 0)
        saw_all = await _see_accounts(vault, examination, limit, advance, sample)
        unreadable = await _told_as_unreadable(vault) | await _unreadable(vault, sample.accounts)
        examination.add_unreadable(sorted(unreadable, key=lambda each: (each.tenant_id, each.provider)))
        others = setup_findings(await _set_up(vault, config, readiness))
        is_up = True
    except (StorageError, KeyUnavailableError) as error:
        # The database or the master key failed meanwhile; still report what was found before.
        others = iter({each.code: each for each in (*readiness_findings(readiness), *_refusal(error))}.values())
    found = examination.findings(others, is_complete=saw_all)
    return Result(found, examination.examined, saw_all and is_up)


class _Sample:
    """Chooses accounts at random, each with the same chance (reservoir sampling).

    Args:
        size: largest number of accounts.
    """

    def __init__(self, size: int) -> None:
        self.accounts: list[Account] = []
        self._size = size
        self._seen = 0

    def see(self, account: Account) -> None:
        self._seen += 1
        place = len(self.accounts) if len(self.accounts) < self._size else random.randrange(self._seen)  # noqa: S311
        if place < self._size:
            self.accounts[place : place + 1] = [account]


async def _unreadable(vault: TokenVault, accounts: Sequence[Account]) -> set[Account]:
    """Return the accounts with a value that does not decrypt."""
    unreadable: set[Account] = set()
    for account in accounts:
        try:
            keys = await vault.find_unreadable_tokens([account.key(kind) for kind in TokenKind])
        except KeyUnavailableError as error:
            if error.reason not in OF_ONE_TENANT:  # a finding of its own
                raise
        else:
            unreadable |= {key.account for key in keys}
    return unreadable


async def _told_as_unreadable(vault: TokenVault) -> set[Account]:
    """Return the accounts with a value that a read could not decrypt, and that was not replaced or deleted since."""
    page = await vault.latest_audit_events(action=AuditAction.DECRYPTION_FAILED, limit=_PAGE)
    failures = {(event.account, event.kind): event for event in page.items if event.account is not None}
    unreadable = set()
    for (account, _), failed in list(failures.items())[-_MOST_TOLD:]:
        since = await vault.latest_audit_events(account=account, since=failed.occurred_at, limit=_PAGE)
        if not any(_replaces(event, failed) for event in since.items):
            unreadable.add(account)
    return unreadable


def _replaces(event: AuditEvent, failed: AuditEvent) -> bool:
    """Return whether an event tells that the value which could not be decrypted is no longer stored."""
    if event.action is AuditAction.TOKEN_REFRESHED:
        return failed.kind is TokenKind.ACCESS_TOKEN or event.credential_generation is not None
    return event.kind is failed.kind and event.action in _REPLACING


async def _see_accounts(
    vault: TokenVault, examination: Examination, limit: int, advance: Callable[[int], None], sample: _Sample
) -> bool:
    """Examine accounts page by page; return whether all were examined."""
    after: str | None = None
    while examination.examined < limit:
        page = await vault.list_accounts(limit=min(_PAGE, limit - examination.examined), after=after)
        for info in page.items:
            examination.see(info)
            sample.see(info.account)
        advance(examination.examined)
        after = page.next
        if after is None:
            return True
    return False


async def _set_up(vault: TokenVault, config: VaultConfig, readiness: Readiness) -> SetUp:
    asked_at = datetime.now(UTC)
    health = await vault.health()
    secrets = (config.encryption_secret, config.previous_encryption_secret)
    return SetUp(
        readiness=readiness,
        asked_at=asked_at,
        answered_at=datetime.now(UTC),
        store_time=health.store_time,
        secret_bits=tuple(estimated_bits(secret) for secret in secrets if secret is not None),
        has_retention=config.audit_retention is not None,
        events=0 if config.audit_retention is not None else await _count_events(vault),
        incidents=health.incidents,
        unread=health.unread,
    )


async def _count_events(vault: TokenVault) -> int:
    """Count audit events, up to `LARGE_LOG`."""
    count, after = 0, None
    while count < LARGE_LOG:
        page = await vault.audit_events(limit=_EVENTS_PAGE, after=after)
        count, after = count + len(page.items), page.next
        if after is None:
            break
    return count
