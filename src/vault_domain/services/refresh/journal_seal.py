"""Seals journal entries, so that somebody with write access to the journal's directory cannot change or forge an entry.

The seal is a digest of the entry, sealed under the tenant's data key. Its context names the account. No token has the
same context, because the identifier in the seal's context holds NUL, and no account's identifier does.
"""

import hashlib
import json
from datetime import datetime, timedelta

from attrs import evolve

from vault_domain.entities.account import TokenKey, TokenKind, stored_key
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import TokenRef, TokenWrite
from vault_domain.ports.cipher import Cipher, Sealer
from vault_domain.ports.journal import JournalEntry

_MICROSECOND = timedelta(microseconds=1)


def seal_entry(entry: JournalEntry, sealer: Sealer) -> JournalEntry:
    """Return the entry with its seal; ``sealer`` is the one that sealed the entry's tokens."""
    return evolve(entry, seal=sealer(_context(entry), _digest(entry)))


async def is_genuine(entry: JournalEntry, cipher: Cipher) -> bool:
    """Return whether the entry is as `seal_entry` sealed it.

    Raises:
        UnreadableError: the seal does not decrypt; the error's ``reason`` says why.
        KeyUnavailableError, StorageError: the data key cannot be used now.
    """
    seal = entry.seal
    sealed = [write.sealed for write in entry.writes]
    if entry.unread is not None:
        sealed.append(entry.unread.sealed)
    if seal is None or not sealed:
        return False
    # In a genuine entry, the tokens and the seal have the same data key, because one sealer sealed them all. If the
    # seal's data key is destroyed, the caller may commit the entry, although its seal cannot be verified. Without this
    # check, a forged entry could combine such a seal with readable tokens.
    if any(each.data_key_id != seal.data_key_id for each in sealed):
        return False
    return await cipher.open(_context(entry), seal) == _digest(entry)


def _context(entry: JournalEntry) -> TokenKey:
    account = entry.attempt.account
    identifier = f"\0journal\0{account.identifier or ''}"
    return stored_key(account.tenant_id, account.provider, TokenKind.REFRESH_TOKEN, identifier)


def _digest(entry: JournalEntry) -> Secret:
    attempt = entry.attempt
    account = attempt.account
    facts: list[object] = [
        [account.tenant_id, account.provider, account.identifier],
        attempt.attempt_id.hex,
        _of_ref(attempt.credential),
        None if attempt.access is None else _of_ref(attempt.access),
        _of_time(attempt.claimed_at),
        attempt.lease // _MICROSECOND,
        entry.actor,
        entry.problem,
        [_of_write(write) for write in entry.writes],
    ]
    if entry.unread is not None:
        failure = entry.unread.failure
        facts += [
            entry.unread.sealed.data_key_id.hex(),
            entry.unread.sealed.blob.hex(),
            failure.retry_in // _MICROSECOND,
            failure.unknown,
        ]
    return Secret(hashlib.sha256(json.dumps(facts).encode()).hexdigest())


def _of_ref(ref: TokenRef) -> list[object]:
    return [ref.key.kind.value, ref.id.hex, ref.generation, ref.value_id.hex]


def _of_write(write: TokenWrite) -> list[object]:
    # A journal keeps none of `lead`, `due_in`, `refreshed` and `keeps_mark`. In an entry that was read from a journal,
    # `lead` and `due_in` are None, and `refreshed` and `keeps_mark` are True.
    return [
        write.key.kind.value,
        None if write.value_id is None else write.value_id.hex,
        None if write.client is None else write.client.hex(),
        write.sealed.data_key_id.hex(),
        write.sealed.blob.hex(),
        None if write.sealed.extra is None else write.sealed.extra.hex(),
        None if write.expires_at is None else _of_time(write.expires_at),
        None if write.lifetime is None else write.lifetime // _MICROSECOND,
        None if write.scopes is None else list(write.scopes),
    ]


def _of_time(time: datetime) -> str:
    return time.isoformat()
