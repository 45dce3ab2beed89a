"""The journal of refreshed tokens: one private, synced file with sealed tokens per attempt."""

import asyncio
import json
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.errors import ConfigurationError
from vault_domain.entities.token import SealedToken, TokenRef, TokenWrite
from vault_domain.ports.journal import JournalEntry, JournalError
from vault_domain.ports.refresh_ledger import Attempt

_log = logging.getLogger(__name__)
_SUFFIX = ".refresh.json"
_DAMAGED = ".damaged"


class NoJournal:
    """Replaces the journal of a vault without a journal directory; answers then stay in memory."""

    async def write(self, entry: JournalEntry) -> None:
        """Raise `JournalError`."""
        raise JournalError("no journal_dir is configured")

    async def entries(self) -> Sequence[JournalEntry]:
        """Return no entries."""
        return ()

    async def remove(self, entry: JournalEntry) -> None:
        """Do nothing."""


class FileJournal:
    """Implements `RefreshJournal` over a directory.

    Args:
        directory: the journal's directory; if it is missing, it is created with access for its owner only.

    Raises:
        ConfigurationError: the directory cannot be created or written to.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        if not _make_directory(directory):
            raise ConfigurationError("journal_dir cannot be written to", code="journal_unusable")

    async def write(self, entry: JournalEntry) -> None:
        """Store an entry: write it to a temporary file, sync it, then rename it."""
        problem = await asyncio.to_thread(_write, self._path(entry), json.dumps(_encode(entry)).encode())
        if problem is not None:
            raise JournalError(f"the journal could not be written ({problem})")

    async def entries(self) -> Sequence[JournalEntry]:
        """Return the stored entries; rename and log damaged files, so that an operator can inspect them."""
        return await asyncio.to_thread(_read_all, self._directory)

    async def remove(self, entry: JournalEntry) -> None:
        """Delete an entry."""
        with suppress(OSError):
            await asyncio.to_thread(self._path(entry).unlink, missing_ok=True)

    def _path(self, entry: JournalEntry) -> Path:
        return self._directory / f"{entry.attempt.attempt_id.hex}{_SUFFIX}"


def _make_directory(directory: Path) -> bool:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(directory, os.W_OK | os.X_OK)


def _write(path: Path, data: bytes) -> str | None:
    """Write a file durably; return the name of an error, or None."""
    temporary = path.with_suffix(".tmp")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)
        temporary.rename(path)
        _sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        return type(error).__name__ if error.errno is None else os.strerror(error.errno)
    return None


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_all(directory: Path) -> list[JournalEntry]:
    entries = []
    for path in sorted(directory.glob(f"*{_SUFFIX}")):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue  # another process has committed and removed the entry
        except OSError as error:
            _log.error("a journal file cannot be read (%s): %s", os.strerror(error.errno or 0), path.name)
            continue
        entry = _read(data)
        if entry is not None:
            entries.append(entry)
            continue
        _log.error("a journal file is damaged and was set aside: %s", path.name + _DAMAGED)
        with suppress(OSError):
            path.rename(path.with_name(path.name + _DAMAGED))
    return entries


def _read(data: bytes) -> JournalEntry | None:
    try:
        return _decode(json.loads(data))
    except Exception:  # a damaged file must not keep the vault from opening
        return None


def _encode(entry: JournalEntry) -> dict[str, Any]:
    attempt = entry.attempt
    return {
        "version": 1,
        "account": [attempt.account.tenant_id, attempt.account.provider, attempt.account.identifier],
        "attempt_id": attempt.attempt_id.hex,
        "credential": _encode_ref(attempt.credential),
        "access": None if attempt.access is None else _encode_ref(attempt.access),
        "claimed_at": attempt.claimed_at.isoformat(),
        "lease": attempt.lease.total_seconds(),
        "actor": entry.actor,
        "problem": entry.problem,
        "writes": [_encode_write(write) for write in entry.writes],
    }


def _encode_ref(ref: TokenRef) -> list[Any]:
    return [ref.key.kind.value, ref.id.hex, ref.generation]


def _encode_write(write: TokenWrite) -> dict[str, Any]:
    return {
        "kind": write.key.kind.value,
        "data_key_id": write.sealed.data_key_id.hex(),
        "blob": write.sealed.blob.hex(),
        "expires_at": None if write.expires_at is None else write.expires_at.isoformat(),
        "lifetime": None if write.lifetime is None else write.lifetime.total_seconds(),
        "scopes": None if write.scopes is None else list(write.scopes),
    }


def _decode(data: dict[str, Any]) -> JournalEntry:
    if data["version"] != 1:
        raise ValueError("unknown version")
    account = Account(*data["account"])
    access = data["access"]
    attempt = Attempt(
        account,
        UUID(hex=data["attempt_id"]),
        _decode_ref(account, data["credential"]),
        None if access is None else _decode_ref(account, access),
        _decode_time(data["claimed_at"]),
        timedelta(seconds=data["lease"]),
    )
    writes = tuple(_decode_write(account, write) for write in data["writes"])
    return JournalEntry(attempt, writes, data["actor"], data["problem"])


def _decode_ref(account: Account, data: list[Any]) -> TokenRef:
    kind, id_hex, generation = data
    return TokenRef(account.key(TokenKind(kind)), UUID(hex=id_hex), int(generation))


def _decode_write(account: Account, data: dict[str, Any]) -> TokenWrite:
    expires_at, lifetime, scopes = data["expires_at"], data["lifetime"], data["scopes"]
    return TokenWrite(
        account.key(TokenKind(data["kind"])),
        SealedToken(bytes.fromhex(data["data_key_id"]), bytes.fromhex(data["blob"])),
        None if expires_at is None else _decode_time(expires_at),
        None if lifetime is None else timedelta(seconds=lifetime),
        None if scopes is None else tuple(scopes),
        refreshed=True,
    )


def _decode_time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
