"""Rotates data keys, and reports the status of all keys."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from vault_domain.entities.errors import DecryptionError, KeyUnavailableError, StorageError
from vault_domain.entities.key_records import DataKeyRecord, DataKeyState, MasterKeyRecord
from vault_domain.entities.key_reports import (
    DataKeyRotation,
    DataKeyRotations,
    KeyStatus,
    MasterKeyStatus,
    UnreadableKey,
)
from vault_domain.ports.change import Change
from vault_domain.ports.cipher import Cipher, UnreadableError
from vault_domain.ports.data_key_wrapper import DataKeyWrapper
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.keys import DataKeyPosition, DataKeyQuery, KeyCounts, Keys
from vault_domain.ports.master_key import MasterKeys
from vault_domain.ports.tasks import Tasks
from vault_domain.rules.key_states import OF_ONE_TENANT, is_resurrected_master_key
from vault_domain.services.keys.tenant_keys import TenantKeyService
from vault_domain.transitions.keys import replaced

Progress = Callable[[int, int], object]
"""Called after each page with the number of finished tenants and the number of tenants due for a new data key."""

_START: DataKeyPosition = ("", b"")
_LAST_ID = b"\xff" * 16
_PAGE = 200
_AT_ONCE = 8
# Largest number of attempts to replace one data key. Another attempt is needed if its wraps were changed meanwhile.
_ROUNDS = 8


class RotationService:
    """Replaces active data keys; `ResealingService` encrypts the stored values again under the new ones."""

    def __init__(
        self,
        keys: Keys,
        wrapper: DataKeyWrapper,
        cipher: Cipher,
        sink: EventSink,
        tasks: Tasks,
        master_keys: MasterKeys,
        of_tenants: TenantKeyService,
    ) -> None:
        self._keys = keys
        self._wrapper = wrapper
        self._cipher = cipher
        self._sink = sink
        self._tasks = tasks
        self._master_keys = master_keys
        self._of_tenants = of_tenants

    async def status(self, tenant_id: str | None) -> KeyStatus:
        """Return the status of all keys, or of one tenant's keys."""
        counts = await self._keys.key_counts(tenant_id)
        records = await self._keys.master_keys()
        uri, problem = (None, None) if tenant_id is None else await self._of_tenants.describe(tenant_id)
        return KeyStatus(
            master_keys=tuple(self._describe(record, counts) for record in records),
            active=counts.active,
            decrypt_only=counts.decrypt_only,
            destroyed=counts.destroyed,
            tokens_to_reencrypt=counts.tokens_to_reseal,
            wraps_missing=max(
                counts.active + counts.decrypt_only - counts.wraps.get(self._master_keys.configured_id, 0), 0
            ),
            resurrected=counts.resurrected,
            tenant_master_key=uri,
            tenant_key_problem=problem,
        )

    async def rotate(self, tenant_id: str, *, dry_run: bool = False, actor: str | None) -> DataKeyRotation:
        """Replace a tenant's active data key, if it has one; the replaced data key only decrypts from now on."""
        before = await self._keys.data_key(tenant_id, None)
        if dry_run:
            return DataKeyRotation(
                rotated=False,
                data_key_id=None if before is None else before.key_id.hex(),
                tokens_to_reencrypt=0 if before is None else await self._count_tokens(timedelta(0), tenant_id),
            )
        try:
            active, rotated = (None, False) if before is None else await self._flip(before, actor)
        except UnreadableError:
            failure = DecryptionError("the tenant's data key does not open, so it was not replaced")
            raise failure from None
        counts = None if active is None else await self._keys.key_counts(tenant_id)
        return DataKeyRotation(
            rotated=rotated,
            data_key_id=None if active is None else active.key_id.hex(),
            tokens_to_reencrypt=0 if counts is None else counts.tokens_to_reseal,
        )

    async def rotate_all(
        self, older_than: timedelta, progress: Progress | None, *, dry_run: bool, actor: str | None
    ) -> DataKeyRotations:
        """Give a new active data key to each tenant whose active data key is at least ``older_than`` old."""
        total = (await self._keys.key_counts(min_age=older_than)).to_rotate
        outcomes: list[bool | None] = []
        unreadable: list[UnreadableKey] = []

        async def flip(record: DataKeyRecord) -> None:
            try:
                _, rotated = await self._flip(record, actor)
            except UnreadableError:
                unreadable.append(UnreadableKey(record.tenant_id, record.key_id.hex(), 1))
            except KeyUnavailableError as error:
                if error.reason not in OF_ONE_TENANT:
                    raise
                outcomes.append(None)  # the other tenants' keys are rotated in spite of it
            else:
                outcomes.append(rotated)

        old, after = DataKeyQuery(state=DataKeyState.ACTIVE, min_age=older_than), _START
        while not dry_run and (records := await self._keys.data_keys(old, after, _PAGE)):
            after = records[-1].tenant_id, _LAST_ID  # leaves out the tenant's new data key
            jobs = [("flip", partial(flip, record)) for record in records]
            await self._tasks.run_all(jobs, _AT_ONCE)
            if progress is not None:
                progress(len(outcomes) + len(unreadable), max(len(outcomes) + len(unreadable), total))
        return DataKeyRotations(
            due=max(len(outcomes) + len(unreadable), total),
            rotated=outcomes.count(True),
            overtaken=outcomes.count(False),
            unavailable=outcomes.count(None),
            unreadable=tuple(sorted(unreadable, key=lambda key: key.tenant_id)),
            tokens_to_reencrypt=await self._count_tokens(older_than, None)
            if dry_run
            else (await self._keys.key_counts()).tokens_to_reseal,
        )

    async def _count_tokens(self, older_than: timedelta, tenant_id: str | None) -> int:
        """Count the tokens that would have to be encrypted again after a rotation."""
        counts = await self._keys.key_counts(tenant_id, older_than)
        return counts.tokens_to_reseal + counts.tokens_to_rotate

    async def _flip(self, old: DataKeyRecord, actor: str | None) -> tuple[DataKeyRecord | None, bool]:
        """Replace a data key if it is active; return the tenant's active data key or None, and whether it is new."""
        tenant_id = old.tenant_id
        for _ in range(_ROUNDS):
            change = await self._wrapper.store_new_data_key(tenant_id, partial(self._replace, old, actor), like=old)
            self._cipher.forget_active([tenant_id])
            self._sink.publish(change.events)
            if change.events:
                return change.result, True
            if change.result is None or change.result.state is not DataKeyState.ACTIVE:
                return await self._keys.data_key(tenant_id, None), False
            old = change.result  # its wraps have changed meanwhile, and perhaps the tenant's master key
        raise StorageError("the tenant's master key kept changing; nothing was changed", retryable=True)

    async def _replace(self, old: DataKeyRecord, actor: str | None, new: DataKeyRecord) -> Change[DataKeyRecord | None]:
        return await self._keys.change_data_key(
            old.tenant_id, old.key_id, lambda stored, masters, now: replaced(stored, masters, now, new, actor, old)
        )

    def _describe(self, record: MasterKeyRecord, counts: KeyCounts) -> MasterKeyStatus:
        return MasterKeyStatus(
            key_id=record.key_id.hex(),
            provider=record.provider,
            uri=record.uri,
            state=record.state,
            data_keys=counts.wraps.get(record.key_id, 0),
            is_open=record.key_id in self._master_keys.opened,
            is_configured=record.key_id == self._master_keys.configured_id,
            is_resurrected=is_resurrected_master_key(record),
            created_at=record.created_at,
        )
