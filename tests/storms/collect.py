"""Collects the records of a storm as evidence."""

from collections.abc import AsyncIterator
from pathlib import Path

from tests.storms.worker import account_of
from tests.support.history import Account, Event, Process
from tests.support.history.recording import read_process
from tests.support.strict_provider import StrictProvider, digest

from vault_adapters import TokenKind


def not_due(expires_at: float, calm: float, lifetime: float) -> bool:
    """Return whether a token expires too late to become due in this run.

    Such a token was stored before the clock was set back.
    """
    return expires_at > calm + lifetime + 1


def processes_of(directory: Path, lives) -> list[Process]:
    """Read the histories of all processes that lived long enough to write one."""
    found = []
    for life in lives:
        path = directory / f"{life.name}.history"
        if path.exists():
            process = read_process(path)
            process.ended, process.killed = life.ended, life.killed
            found.append(process)
    return found


async def events_of(vault) -> AsyncIterator[Event]:
    """Give the audit events that concern a token of an account."""
    async for event in vault.iter_audit_events():
        if event.account is not None and event.kind is not None:
            at = event.occurred_at.timestamp()
            yield Event(_name(event.account), event.kind.value, event.action.value, event.generation, at)
            if event.credential_generation is not None:
                kind = TokenKind.REFRESH_TOKEN.value
                yield Event(_name(event.account), kind, event.action.value, event.credential_generation, at)


async def accounts_of(
    vault, provider: StrictProvider, names: list[str], settled: dict[str, float], erased: set[str]
) -> list[Account]:
    """Return the accounts as the vault shows them, without the missing accounts of erased tenants."""
    return [
        account
        for name in names
        if (account := await _account(vault, provider, name, settled.get(name))) is not None
        and not (account.state == "missing" and name.partition("/")[0] in erased)
    ]


async def _account(vault, provider: StrictProvider, name: str, settled: float | None) -> Account:
    account = account_of(name)
    info = await vault.get_account(account)
    tokens = {
        kind.value: await vault.get_token(account.key(kind))
        for kind in (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN)
    }
    refresh = tokens["refresh_token"]
    stored = "" if refresh is None else digest(provider.salt, refresh.value.reveal())
    issued = provider.issued.get(stored)
    return Account(
        name=name,
        state="missing" if info is None else info.state.value,
        reason=None if info is None else info.reason,
        live=provider.is_live(stored),
        revoked=issued is not None and provider.families[issued.family].revoked_at is not None,
        generations={kind: token.info.generation for kind, token in tokens.items() if token is not None},
        settled=settled,
    )


def settled_at(provider: StrictProvider, processes: list[Process], calm: float, lifetime: float) -> dict[str, float]:
    """Return when a caller, after the faults, first got a new token for each account, or was told to reauthorize it.

    A token that does not become due in this run counts as a new one, because nobody refreshes it.
    """
    found: dict[str, float] = {}
    for process in processes:
        for call in process.calls:
            if call.end < calm or call.op != "ensure":
                continue
            issued = provider.issued.get(call.value or "")
            lasting = call.expires_at is not None and not_due(call.expires_at, calm + call.offset, lifetime)
            fresh = issued is not None and (issued.at > calm or lasting)
            if fresh or call.error == "reauthorization_required":
                found[call.account] = min(found.get(call.account, call.end), call.end)
    return found


def _name(account) -> str:
    return f"{account.tenant_id}/{account.identifier}"
