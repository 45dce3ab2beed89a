"""The properties that reports about keys compute from their counts."""

import pytest

from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.key_records import MasterKeyState
from vault_domain.entities.key_reports import (
    KeyStatus,
    MasterKeyRotation,
    MasterKeyStatus,
    Reencryption,
    UnreadableKey,
)
from vault_domain.facade.arguments import as_optional_tenant_id, as_progress

ACTIVE, INTRODUCED, RETIRED = MasterKeyState.ACTIVE, MasterKeyState.UNWRAP_ONLY, MasterKeyState.RETIRED
UNREADABLE = UnreadableKey("t1", "00" * 16, 2)


def master(state, *, is_open=True, is_configured=False):
    return MasterKeyStatus("00" * 16, "local", "", state, 0, is_open, is_configured)


@pytest.mark.parametrize(
    ("masters", "missing", "due"),
    [
        ([master(ACTIVE, is_configured=True)], 0, False),
        ([master(ACTIVE, is_configured=True)], 1, True),
        ([master(ACTIVE), master(INTRODUCED, is_configured=True)], 0, True),
        ([master(INTRODUCED), master(ACTIVE, is_configured=True)], 0, True),
        ([master(RETIRED), master(ACTIVE, is_configured=True)], 0, False),
        ([master(INTRODUCED, is_open=False), master(ACTIVE, is_configured=True)], 0, False),
    ],
    ids=["settled", "wraps missing", "not flipped", "not retired", "done", "another's or offline"],
)
def test_when_a_rotation_of_the_master_key_is_due(masters, missing, due):
    assert KeyStatus(tuple(masters), 1, 0, 0, 0, missing).master_key_rotation_due is due


def test_when_reencryption_is_incomplete():
    assert not Reencryption(5, 1, 1, 0, 0).incomplete
    assert Reencryption(5, 1, 1, 0, 3).incomplete
    report = Reencryption(5, 1, 1, 0, 0, (UNREADABLE, UNREADABLE))
    assert report.incomplete
    assert report.unreadable_count == 4


def test_when_a_rotation_of_the_master_key_is_incomplete():
    assert not MasterKeyRotation("00", True, 1, 1, 1).incomplete
    assert MasterKeyRotation("00", True, 1, 1, 0, in_use=1).incomplete
    assert MasterKeyRotation("00", True, 1, 1, 0, (UNREADABLE,)).incomplete


def test_arguments():
    assert as_optional_tenant_id(None) is None
    assert as_optional_tenant_id(7) == "7"
    assert as_progress(None) is None
    assert as_progress(print) is print
    for check, wrong in ((as_optional_tenant_id, ""), (as_progress, "progress")):
        with pytest.raises(InvalidInputError):
            check(wrong)
