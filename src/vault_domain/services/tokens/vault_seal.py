"""Makes the seal of a vault's audit cursors from the record of the vault's first master key."""

from datetime import UTC, datetime

from vault_domain.entities.cursor_seal import CursorSeal
from vault_domain.entities.key_records import MasterKeyRecord
from vault_domain.ports.keys import Keys


class VaultSeal:
    """Gives the seal of a vault; every process that opens the vault gets the same one."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._seal: CursorSeal | None = None

    async def get(self) -> CursorSeal:
        """Return the seal; the first call reads the records of the master keys."""
        if self._seal is None:
            self._seal = CursorSeal(_material(await self._keys.master_keys()))
        return self._seal


def _material(records: list[MasterKeyRecord]) -> bytes:
    """Return bytes that only readers of the database know, and that do not change when master keys are rotated.

    They come from the record of the oldest master key. Bytes of the active master key would change with a rotation, and
    make all cursors void.
    """
    first = min(records, key=lambda record: (_age(record), record.key_id))
    return b"\0".join(
        (first.key_id, first.check_value, first.kdf.encode(), first.uri.encode(), _age(first).isoformat().encode())
    )


def _age(record: MasterKeyRecord) -> datetime:
    return datetime.max.replace(tzinfo=UTC) if record.created_at is None else record.created_at.astimezone(UTC)
