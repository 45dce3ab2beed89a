"""Converts rows of the key tables to entities, and entities to parameters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from vault_adapters.stores.damage import data_key_of_row, master_key_of_row
from vault_adapters.stores.postgres.cursors import Row
from vault_adapters.stores.postgres.rows import keys_parameters
from vault_domain.entities.key_decisions import KeyDecision
from vault_domain.entities.key_records import DataKeyRecord, MasterKeyRecord
from vault_domain.ports.keys import DataKeyPosition, PlacedWrap, Resealed

DataKeyChange = tuple[DataKeyRecord, KeyDecision[DataKeyRecord]]
"""A data key as it was read, and the decision about it."""


def data_key_record(row: Row) -> DataKeyRecord:
    """Return the data key of a row, which holds the ids of the master keys in one array and the wraps in another."""
    tenant_id, key_id, state, emptied_at, action, master_key_ids, wraps, *_ = row
    pairs = zip(master_key_ids or (), wraps or (), strict=True)
    return data_key_of_row(tenant_id, key_id, state, emptied_at, action, pairs)


def data_key_use(row: Row) -> tuple[DataKeyRecord, datetime, bool]:
    """Return the data key of a row of `list_data_keys`, the time, and whether a token uses the key."""
    *_, is_used, now = row
    return data_key_record(row), now, is_used


def data_key_position(row: Row) -> DataKeyPosition:
    """Return the tenant and the id of the data key of a row."""
    tenant_id, key_id, *_ = row
    return tenant_id, key_id


def master_key_record(row: Row) -> MasterKeyRecord:
    """Return the master key of a row."""
    return master_key_of_row(*row)


def data_keys_parameters(records: Sequence[DataKeyRecord]) -> dict[str, Any]:
    """Return the parameters of `create_data_keys`: new data keys and their wraps as arrays, sorted by tenant."""
    ordered = sorted(records, key=lambda record: record.tenant_id)
    wraps = [(record, wrap) for record in ordered for wrap in record.wraps]
    return {
        "tenant_ids": [record.tenant_id for record in ordered],
        "data_key_ids": [record.key_id for record in ordered],
        "wrap_tenant_ids": [record.tenant_id for record, _ in wraps],
        "wrap_data_key_ids": [record.key_id for record, _ in wraps],
        "master_key_ids": [wrap.master_key_id for _, wrap in wraps],
        "wraps": [wrap.wrapped for _, wrap in wraps],
    }


def own_wraps(record: DataKeyRecord) -> dict[str, Any]:
    """Return the wraps of a data key as arrays, for `put_wraps`."""
    return {
        "master_key_ids": [wrap.master_key_id for wrap in record.wraps],
        "wraps": [wrap.wrapped for wrap in record.wraps],
    }


def changes_parameters(changes: Sequence[DataKeyChange]) -> dict[str, Any]:
    """Return the parameters of `put_data_keys`: data keys as they were and as they become."""
    return {
        "tenant_ids": [record.tenant_id for record, _ in changes],
        "data_key_ids": [record.key_id for record, _ in changes],
        "old_states": [record.state.value for record, _ in changes],
        "old_emptied_at": [record.emptied_at for record, _ in changes],
        "states": [decision.state.state.value for _, decision in changes],
        "emptied_at": [decision.state.emptied_at for _, decision in changes],
    }


def wraps_parameters(wraps: Sequence[PlacedWrap]) -> dict[str, Any]:
    """Return the parameters of `change_wraps`, except for the master keys."""
    return {
        "tenant_ids": [placed.tenant_id for placed in wraps],
        "data_key_ids": [placed.data_key_id for placed in wraps],
        "wraps": [placed.wrap.wrapped for placed in wraps],
    }


def reseal_parameters(rows: Sequence[Resealed]) -> dict[str, Any]:
    """Return the parameters of `reseal_tokens`."""
    return keys_parameters(row.key for row in rows) | {
        "before_data_key_ids": [row.before.data_key_id for row in rows],
        "before_blobs": [row.before.blob for row in rows],
        "data_key_ids": [row.after.data_key_id for row in rows],
        "blobs": [row.after.blob for row in rows],
        "extras": [row.after.extra for row in rows],
    }
