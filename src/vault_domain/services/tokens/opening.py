"""Decrypts rows. Callers get the same error for every cause; operators find the reason code in the log."""

import logging
from datetime import datetime

from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.errors import DecryptionError
from vault_domain.entities.token import StoredToken, Token
from vault_domain.ports.cipher import Cipher, UnreadableError
from vault_domain.ports.event_sink import EventSink
from vault_domain.services.tokens.failed_reads import FailedReads

_log = logging.getLogger(__name__)


class TokenOpener:
    """Decrypts sealed tokens and counts failures."""

    def __init__(self, cipher: Cipher, sink: EventSink) -> None:
        self._cipher = cipher
        self._sink = sink
        self.failed_reads = FailedReads()

    async def open(self, row: StoredToken, now: datetime) -> Token:
        """Return the decrypted token of a row.

        Args:
            row: the row, with the key that the caller asked for.
            now: time of the read, for the audit event.

        Raises:
            DecryptionError: the value belongs to another key, was changed, or its data key is gone.
            KeyUnavailableError: the master key cannot be used now.
        """
        key = row.info.key
        try:
            return Token(row.info, await self._cipher.open(key, row.sealed))
        except UnreadableError as error:
            reason = error.reason
        self._report(row, reason, now)
        raise DecryptionError(account=key.account, keys=[key])

    def _report(self, row: StoredToken, reason: str, now: datetime) -> None:
        info = row.info
        self.failed_reads.add(info.key.tenant_id)
        _log.error(
            "a stored value could not be decrypted: token id %s, generation %d, data key %s, reason %s",
            info.id,
            info.generation,
            row.sealed.data_key_id.hex(),
            reason,
        )
        event = AuditEvent(
            AuditAction.DECRYPTION_FAILED,
            now,
            tenant_id=info.key.tenant_id,
            account=info.key.account,
            kind=info.key.kind,
            generation=info.generation,
            code=reason,
        )
        self._sink.publish([event])
