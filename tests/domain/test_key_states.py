"""The uses that a key's stored state and the audit log allow."""

import pytest

from vault_domain.entities.key_records import DataKeyRecord, DataKeyState, MasterKeyRecord, MasterKeyState
from vault_domain.rules.key_states import (
    is_resurrected,
    is_resurrected_master_key,
    may_open,
    may_seal,
)


@pytest.mark.parametrize(
    ("state", "confirmed", "opens", "seals", "resurrected"),
    [
        ("active", None, True, True, False),
        ("active", "decrypt_only", True, False, True),
        ("active", "destroyed", False, False, True),
        ("decrypt_only", None, True, False, False),
        ("decrypt_only", "decrypt_only", True, False, False),
        ("decrypt_only", "destroyed", False, False, True),
        ("destroyed", None, False, False, False),
        ("destroyed", "decrypt_only", False, False, False),
        ("destroyed", "destroyed", False, False, False),
    ],
)
def test_a_data_key(state, confirmed, opens, seals, resurrected):
    key = DataKeyRecord("t", b"k", DataKeyState(state), confirmed=confirmed and DataKeyState(confirmed))
    assert (may_open(key), may_seal(key), is_resurrected(key)) == (opens, seals, resurrected)


@pytest.mark.parametrize(
    ("state", "confirmed", "resurrected"),
    [
        ("active", None, False),
        ("active", "active", False),
        ("active", "unwrap_only", True),
        ("active", "retired", True),
        ("unwrap_only", None, False),
        ("unwrap_only", "active", False),
        ("unwrap_only", "unwrap_only", False),
        ("unwrap_only", "retired", True),
        ("retired", None, False),
        ("retired", "active", False),
        ("retired", "unwrap_only", False),
        ("retired", "retired", False),
    ],
)
def test_a_master_key(state, confirmed, resurrected):
    confirms = confirmed and MasterKeyState(confirmed)
    key = MasterKeyRecord(b"k", "local", state=MasterKeyState(state), confirmed=confirms)
    assert is_resurrected_master_key(key) is resurrected
