"""Converts rows of the key tables to entities, and entities to parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vault_adapters.stores.damage import data_key_of_row, master_key_of_row
from vault_adapters.stores.postgres.cursors import Row
from vault_domain.entities.key_records import DataKeyRecord, MasterKeyRecord
from vault_domain.ports.key_rotation import DataKeyPosition


def data_key_record(row: Row) -> DataKeyRecord:
    """Return the data key of a row, which holds the ids of the master keys in one array and the wraps in another."""
    tenant_id, key_id, state, emptied_at, confirmed, master_key_ids, wraps = row
    pairs = zip(master_key_ids or (), wraps or (), strict=True)
    return data_key_of_row(tenant_id, key_id, state, emptied_at, confirmed, pairs)


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
