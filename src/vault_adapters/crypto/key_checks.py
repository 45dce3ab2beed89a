"""Checks a stored record of a data key before the key is used."""

import logging

from vault_domain.entities.key_records import DataKeyRecord, DataKeyState
from vault_domain.entities.token import WRONG_ROW
from vault_domain.ports.cipher import DESTROYED_KEY, UnreadableError
from vault_domain.rules.key_states import RESURRECTED_KEY, may_open, may_seal

_log = logging.getLogger(__name__)


def own(record: DataKeyRecord, tenant_id: str, key_id: bytes | None = None) -> DataKeyRecord:
    """Return a record if it is the one that was asked for.

    Raises:
        UnreadableError: the store answered with another tenant's data key, or with another data key.
    """
    if record.tenant_id != tenant_id or (key_id is not None and record.key_id != key_id):
        raise UnreadableError(WRONG_ROW)
    return record


def check_may_open(record: DataKeyRecord) -> None:
    """Return normally if a data key may decrypt.

    Raises:
        UnreadableError: the key was destroyed, even if its state was set back since.
    """
    if may_open(record):
        return
    if record.state is DataKeyState.DESTROYED:
        raise UnreadableError(DESTROYED_KEY)
    raise _resurrected(record)


def check_may_seal(record: DataKeyRecord) -> None:
    """Return normally if a data key may encrypt; raise `UnreadableError` if its state was set back."""
    if not may_seal(record):
        raise _resurrected(record)


def _resurrected(record: DataKeyRecord) -> UnreadableError:
    _log.error("data key %s was set back to an older state: %s", record.key_id.hex(), RESURRECTED_KEY)
    return UnreadableError(RESURRECTED_KEY, record.key_id)
