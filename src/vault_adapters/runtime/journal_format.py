"""The format of a journal file: an entry as a JSON object, with its sealed values and its seal in hex."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.attempt import Attempt, Failure, SealedAnswer
from vault_domain.entities.causes import UNREADABLE_ANSWER
from vault_domain.entities.text import as_error_code, as_label
from vault_domain.entities.token import SealedToken, TokenRef, TokenWrite
from vault_domain.ports.journal import JournalEntry

_VERSION = 1
_UNREAD_VERSION = 2
"""The version of an entry with an answer that could not be read; an older release leaves such a file where it is."""


def encode_entry(entry: JournalEntry) -> bytes:
    """Return the content of the file for an entry."""
    return json.dumps(_encode(entry)).encode()


def decode_entry(data: bytes) -> JournalEntry | None:
    """Return the entry in a file's content; None if the content is damaged or of an unknown version.

    This does not check the entry's seal.
    """
    try:
        return _decode(json.loads(data))
    except Exception:  # a damaged file must not keep the vault from opening
        return None


def is_of_later_release(data: bytes) -> bool:
    """Return whether content for which `decode_entry` returned None has the version of a later release."""
    try:
        version = json.loads(data)["version"]
    except Exception:  # a damaged file must not keep the vault from opening
        return False
    return type(version) is int and version > _UNREAD_VERSION


def _encode(entry: JournalEntry) -> dict[str, Any]:
    attempt, unread = entry.attempt, entry.unread
    more = {} if unread is None else {"unread": _encode_unread(unread)}
    return {
        "version": _VERSION if unread is None else _UNREAD_VERSION,
        "account": [attempt.account.tenant_id, attempt.account.provider, attempt.account.identifier],
        "attempt_id": attempt.attempt_id.hex,
        "credential": _encode_ref(attempt.credential),
        "access": None if attempt.access is None else _encode_ref(attempt.access),
        "claimed_at": attempt.claimed_at.isoformat(),
        "lease": attempt.lease.total_seconds(),
        "actor": entry.actor,
        "problem": entry.problem,
        "writes": [_encode_write(write) for write in entry.writes],
        "seal": None if entry.seal is None else _encode_sealed(entry.seal),
        **more,
    }


def _encode_ref(ref: TokenRef) -> list[Any]:
    return [ref.key.kind.value, ref.id.hex, ref.generation, ref.value_id.hex]


def _encode_write(write: TokenWrite) -> dict[str, Any]:
    return {
        "kind": write.key.kind.value,
        "client": None if write.client is None else write.client.hex(),
        "value_id": None if write.value_id is None else write.value_id.hex,
        **_encode_sealed(write.sealed),
        "expires_at": None if write.expires_at is None else write.expires_at.isoformat(),
        "lifetime": None if write.lifetime is None else write.lifetime.total_seconds(),
        "scopes": None if write.scopes is None else list(write.scopes),
    }


def _encode_sealed(sealed: SealedToken) -> dict[str, str]:
    encoded = {"data_key_id": sealed.data_key_id.hex(), "blob": sealed.blob.hex()}
    return encoded if sealed.extra is None else encoded | {"extra": sealed.extra.hex()}


def _decode(data: dict[str, Any]) -> JournalEntry:
    if data["version"] not in (_VERSION, _UNREAD_VERSION):
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
    problem, seal, unread = data["problem"], data["seal"], data.get("unread")
    return JournalEntry(
        attempt,
        writes,
        as_label(data["actor"], "actor"),
        None if problem is None else as_error_code(problem),
        None if seal is None else _decode_sealed(seal),
        None if unread is None else _decode_unread(unread),
    )


def _decode_ref(account: Account, data: list[Any]) -> TokenRef:
    kind, id_hex, generation, value_id_hex = data
    return TokenRef(account.key(TokenKind(kind)), UUID(hex=id_hex), int(generation), UUID(hex=value_id_hex))


def _decode_write(account: Account, data: dict[str, Any]) -> TokenWrite:
    expires_at, lifetime, scopes = data["expires_at"], data["lifetime"], data["scopes"]
    return TokenWrite(
        account.key(TokenKind(data["kind"])),
        _decode_sealed(data),
        None if expires_at is None else _decode_time(expires_at),
        None if lifetime is None else timedelta(seconds=lifetime),
        None if scopes is None else tuple(scopes),
        refreshed=True,
        client=None if data["client"] is None else bytes.fromhex(data["client"]),
        value_id=None if data["value_id"] is None else UUID(hex=data["value_id"]),
    )


def _encode_unread(answer: SealedAnswer) -> dict[str, Any]:
    failure = {"retry_in": answer.failure.retry_in.total_seconds(), "unknown": answer.failure.unknown}
    return {**_encode_sealed(answer.sealed), **failure}


def _decode_unread(data: dict[str, Any]) -> SealedAnswer:
    wait = timedelta(seconds=data["retry_in"])
    return SealedAnswer(_decode_sealed(data), Failure(UNREADABLE_ANSWER, wait, unknown=bool(data["unknown"])))


def _decode_sealed(data: dict[str, str]) -> SealedToken:
    extra = data.get("extra")
    return SealedToken(
        bytes.fromhex(data["data_key_id"]),
        bytes.fromhex(data["blob"]),
        None if extra is None else bytes.fromhex(extra),
    )


def _decode_time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
