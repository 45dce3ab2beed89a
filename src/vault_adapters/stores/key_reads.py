"""What both stores read of many keys, given a function that fetches the rows of a named query, and write of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from vault_adapters.stores.damage import place_of_key, row_to_reseal, sound, sound_page
from vault_domain.entities.account import TokenKey
from vault_domain.entities.key_decisions import MasterKeySet
from vault_domain.entities.key_records import DataKeyRecord, DataKeyState, MasterKeyRecord, MasterKeyState
from vault_domain.ports.keys import DataKeyPosition, DataKeyQuery, KeyCounts, SealedRow
from vault_domain.rules.key_states import confirmed_data_key, is_resurrected

Fetch = Callable[[str, dict[str, Any]], Awaitable[list[Any]]]
"""Fetches the rows of a query, given its name and its parameters; it adds the time."""


def query_parameters(
    query: DataKeyQuery, after: DataKeyPosition | None, limit: int, *, with_use: bool = False
) -> dict[str, Any]:
    """Return the parameters of `list_data_keys`, except for the time."""
    after_tenant_id, after_data_key_id = after or ("", b"")
    return {
        "after_tenant_id": after_tenant_id,
        "after_data_key_id": after_data_key_id,
        "tenant_id": query.tenant_id,
        "data_key_id": query.key_id,
        "state": (query.state or DataKeyState.ACTIVE).value,
        "other_state": (query.state or DataKeyState.DECRYPT_ONLY).value,
        "age": _micros(query.min_age),
        "empty_age": _micros(query.min_empty),
        "is_emptied": query.is_emptied,
        # With NULL, Citus would see a join that has no condition on the tenant.
        "master_key_id": query.wrapped_by or query.not_wrapped_by or b"",
        "is_wrapped": None if query.wrapped_by == query.not_wrapped_by else query.wrapped_by is not None,
        "with_use": with_use,
        "limit": limit,
    }


def master_key_set(
    rows: Sequence[Any], record: Callable[[Any], MasterKeyRecord], wraps: Sequence[Any], *, has_data: bool
) -> MasterKeySet:
    """Return all master keys from their rows, and from the rows of `count_wraps`."""
    in_use = frozenset(bytes(key_id) for key_id, _ in wraps)
    is_new = not (rows or has_data)  # a damaged row counts
    return MasterKeySet(tuple(sound(rows, record)), in_use, is_new)


def master_key_changes(
    before: MasterKeySet, after: MasterKeySet, stored: Callable[[datetime | None], Any] = lambda time: time
) -> list[dict[str, Any]]:
    """Return the parameters of `put_master_key` for each master key that differs.

    There is only one active master key at any time, so the one that was active is written first.
    """
    changed = [record for record in after.records if record is not before.get(record.key_id)]
    return [
        {
            "master_key_id": record.key_id,
            "provider": record.provider,
            "uri": record.uri,
            "kdf": record.kdf,
            "check_value": record.check_value,
            "state": record.state.value,
            "created_at": stored(record.created_at),
        }
        for record in sorted(changed, key=lambda record: record.state is MasterKeyState.ACTIVE)
    ]


async def rows_to_reseal(fetch: Fetch, tenant_id: str | None, after: TokenKey | None, limit: int) -> list[SealedRow]:
    """Return tokens under decrypt_only data keys, sorted by token key."""

    async def fetch_page(position: tuple[Any, ...], wanted: int) -> list[Any]:
        names = ("after_tenant_id", "after_provider", "after_identifier", "after_kind")
        parameters = dict(zip(names, position, strict=True)) | {"tenant_id": tenant_id, "limit": wanted}
        return await fetch("find_rows_to_reseal", parameters)

    start = (tenant_id or "", "", "", "")
    if after is not None:
        start = (after.tenant_id, after.provider, after.identifier or "", after.kind.value)
    return await sound_page(fetch_page, lambda row: row_to_reseal(row, tenant_id), place_of_key, start, limit)


async def count_keys(fetch: Fetch, tenant_id: str | None, min_age: timedelta | None) -> KeyCounts:
    """Count the keys of all tenants or of one, and those that are to be rotated; groups of damaged states do not count.

    A group of data keys has a state, and the action of the event that confirms it or None.
    """

    async def count(state: DataKeyState, age: timedelta) -> tuple[int, int]:
        parameters = {"tenant_id": tenant_id, "state": state.value, "age": _micros(age)}
        counts: dict[str, int] = dict(await fetch("count_tokens", parameters))
        return counts["data_keys"], counts["tokens"]

    states = dict.fromkeys(DataKeyState, 0)
    resurrected = 0
    for name, action, number in await fetch("count_data_keys", {"tenant_id": tenant_id}):
        if name not in set(DataKeyState):
            continue
        state = DataKeyState(name)
        states[state] += number
        resurrected += number * is_resurrected(DataKeyRecord("", b"", state, confirmed=confirmed_data_key(action)))
    wraps = {bytes(key_id): number for key_id, number in await fetch("count_wraps", {"tenant_id": tenant_id})}
    _, tokens = await count(DataKeyState.DECRYPT_ONLY, timedelta(0))
    old = (0, 0) if min_age is None else await count(DataKeyState.ACTIVE, min_age)
    active, decrypt_only, destroyed = (states[state] for state in DataKeyState)
    return KeyCounts(wraps, active, decrypt_only, destroyed, tokens, resurrected, *old)


def _micros(value: timedelta | None) -> int | None:
    return None if value is None else value // timedelta(microseconds=1)
