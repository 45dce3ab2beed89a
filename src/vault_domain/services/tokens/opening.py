"""Decrypts rows. Callers get the same error for every unreadable row; operators find the reason code in the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from vault_domain.entities.account import TokenKind, is_key_of
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.errors import DecryptionError, StorageError
from vault_domain.entities.extra import NO_EXTRA, decoded_extra
from vault_domain.entities.token import WRONG_ROW, DamagedToken, StoredToken, Token
from vault_domain.ports.cipher import UnreadableError
from vault_domain.services.tokens.failed_reads import FailedReads

if TYPE_CHECKING:
    from vault_domain.entities.account import Account, TokenKey
    from vault_domain.entities.extra import Extra
    from vault_domain.entities.token import SealedToken
    from vault_domain.memory.row import RememberedRow
    from vault_domain.ports.accounts import Accounts, Snapshot
    from vault_domain.ports.cipher import Cipher
    from vault_domain.ports.event_sink import EventSink

_log = logging.getLogger(__name__)


class OvertakenError(DecryptionError):
    """The value does not decrypt, but the store no longer holds it: a write or an erasure overtook the read."""


class TokenOpener:
    """Decrypts sealed tokens and counts failures.

    Args:
        cipher: decrypts.
        sink: takes the events of failed reads.
        accounts: tells whether a value that does not decrypt is still stored.
        note: called with the event of each failed read, to store it in the audit log; returns False if an equal event
            was noted within the last hour. Then the failure is logged at DEBUG instead of ERROR.
    """

    def __init__(
        self,
        cipher: Cipher,
        sink: EventSink,
        accounts: Accounts,
        note: Callable[[AuditEvent], bool] = lambda event: True,
    ) -> None:
        self._cipher = cipher
        self._sink = sink
        self._accounts = accounts
        self._note = note
        self.failed_reads = FailedReads()

    async def open(self, key: TokenKey, row: StoredToken | DamagedToken, now: datetime) -> Token:
        """Return the decrypted token of a row.

        Args:
            key: the key that the caller asked for, never one that was read from the row; the value decrypts in
                this key's context only.
            row: the store's answer.
            now: time of the read, for the audit event.

        Raises:
            DecryptionError: the row or the value belongs to another key, was changed, or its data key is gone.
            OvertakenError: the value does not decrypt, but the store no longer holds it; no failed read is counted.
            KeyUnavailableError: the master key cannot be used now.
        """
        stored = self.checked(key, row, now)
        try:
            value = await self._cipher.open(key, stored.sealed)
            if stored.sealed.extra is None:
                return Token(stored.info, value)
            extra = await self._extra(key, stored.sealed)
            return Token(stored.info, value, extra, extra.token_type)
        except UnreadableError as error:
            reason = error.reason
        if await self._is_overtaken(key, stored):
            raise OvertakenError(account=key.account, keys=[key])
        raise self._refusal(key, stored, reason, now)

    def open_at_hand(self, key: TokenKey, row: StoredToken | DamagedToken) -> Token | None:
        """Return what `open` returns, without waiting. None: call `open`, which may wait or raise an error."""
        if not isinstance(row, StoredToken) or row.sealed.extra is not None:
            return None
        if row.key is not key and row.key != key:
            return None
        value = self._cipher.open_at_hand(key, row.sealed)
        return None if value is None else Token(row.info, value)

    def open_remembered(self, row: RememberedRow) -> Token | None:
        """Return what `open` returns, without waiting. None: call `open`, which may wait or raise an error."""
        opened = None if row.opening is None else row.opening()
        if opened is None:
            is_same = row.token.key == row.key
            row.opening = self._cipher.opening(row.key, row.token.sealed) if is_same else None
            opened = None if row.opening is None else row.opening()
            if opened is None:
                return None
        value, text = opened
        if text is None:
            return Token(row.token.info, value)
        extra = decoded_extra(text)
        return None if extra is None else Token(row.token.info, value, extra, extra.token_type)

    async def previous_extra(self, account: Account, snapshot: Snapshot) -> Extra:
        """Return the extra members of an account's stored access token, with the key of its refresh token.

        See `kept_extra`. Both tokens hold the key; the refresh token's counts, because that token is presented.
        """
        extra, kind = NO_EXTRA, TokenKind.ACCESS_TOKEN
        if (row := snapshot.token(kind)) is not None:
            extra = await self.kept_extra(account.key(kind), row, snapshot.now)
        kind = TokenKind.REFRESH_TOKEN
        if (row := snapshot.token(kind)) is not None:
            extra = extra.proved_by((await self.kept_extra(account.key(kind), row, snapshot.now)).proof_key)
        return extra

    async def kept_extra(self, key: TokenKey, stored: StoredToken, now: datetime) -> Extra:
        """Return the extra members of a row; if they cannot be decrypted, report a failed read and return no members.

        Raises:
            KeyUnavailableError: the master key cannot be used now.
        """
        if stored.sealed.extra is None:
            return NO_EXTRA
        try:
            return await self._extra(key, stored.sealed)
        except UnreadableError as error:
            reason = error.reason
        self._refusal(key, stored, reason, now)
        return NO_EXTRA

    async def _extra(self, key: TokenKey, sealed: SealedToken) -> Extra:
        extra = decoded_extra(await self._cipher.open_extra(key, sealed))
        if extra is None:
            raise UnreadableError("encoding")
        return extra

    async def _is_overtaken(self, key: TokenKey, stored: StoredToken) -> bool:
        """Return whether the store no longer holds this ciphertext, as after a write, a re-encryption or an erasure."""
        try:
            current = (await self._accounts.get(key)).answer
        except StorageError:
            return False
        return current is None or (isinstance(current, StoredToken) and current.sealed != stored.sealed)

    def checked(self, key: TokenKey, row: StoredToken | DamagedToken, now: datetime) -> StoredToken:
        """Return the row after checking that it is intact and belongs to ``key``, so that its metadata may be used.

        Raises:
            DecryptionError: the row names another key or is damaged.
        """
        if isinstance(row, DamagedToken):
            raise self._refusal(key, row, row.reason, now)
        if row.key is not key and row.key != key:
            raise self._refusal(key, row, WRONG_ROW, now)
        return row

    def _refusal(self, key: TokenKey, row: StoredToken | DamagedToken, reason: str, now: datetime) -> DecryptionError:
        """Count, log and publish a failed read; return the error to raise."""
        self.failed_reads.add(key.tenant_id)
        # A row of another key belongs to somebody else, so nothing of it is reported under the key that was asked for.
        own = row if isinstance(row, StoredToken) and reason != WRONG_ROW else None
        event = AuditEvent(
            AuditAction.DECRYPTION_FAILED,
            now,
            tenant_id=key.tenant_id,
            account=key.account,
            kind=key.kind,
            generation=None if own is None else own.info.generation or None,
            code=reason,
        )
        level = logging.ERROR if self._note(event) else logging.DEBUG
        if own is None:
            _log.log(level, "a stored row could not be used: reason %s", reason)
        else:
            _log.log(
                level,
                "a stored value could not be decrypted: token id %s, generation %d, data key %s, reason %s",
                own.info.id,
                own.info.generation,
                own.sealed.data_key_id.hex(),
                reason,
            )
        self._sink.publish([event])
        return DecryptionError(account=key.account, keys=[key])


def checked_snapshot(account: Account, snapshot: Snapshot) -> Snapshot:
    """Return a snapshot after checking that its record belongs to this account.

    Raises:
        DecryptionError: the record or one of its tokens belongs to another account.
    """
    record = snapshot.record
    if record is None:
        return snapshot
    wrong = [kind for kind, info in record.tokens.items() if not is_key_of(info.key, account, kind)]
    if not wrong and record.account == account:
        return snapshot
    _log.error("a stored account could not be used: reason %s", WRONG_ROW)
    raise DecryptionError(account=account, keys=[account.key(kind) for kind in wrong or record.tokens])
