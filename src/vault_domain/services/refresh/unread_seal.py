"""Seals a provider's answer that could not be read, with the references that its attempt needs for a later commit.

The seal's context names the account. No token, state or journal entry has the same context, because the identifier in
it begins with NUL and ``unread``.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from vault_domain.entities.account import Account, TokenKey, TokenKind, stored_key
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import TokenRef
from vault_domain.entities.unread_answer import UnreadAnswer


def unread_key(account: Account) -> TokenKey:
    """Return the context under which an account's unread answer is sealed."""
    identifier = f"\0unread\0{account.identifier or ''}"
    return stored_key(account.tenant_id, account.provider, TokenKind.REFRESH_TOKEN, identifier)


def unread_text(attempt: Attempt, answer: UnreadAnswer) -> Secret | None:
    """Return the text to seal; None if it is longer than a `Secret` may be."""
    facts = {
        "attempt_id": attempt.attempt_id.hex,
        "credential": _of_ref(attempt.credential),
        "access": None if attempt.access is None else _of_ref(attempt.access),
        "claimed_at": attempt.claimed_at.isoformat(),
        "client": _hex(attempt.client),
        "endpoint": _hex(attempt.endpoint),
        "status": answer.status,
        "received_at": answer.received_at.isoformat(),
        "body": answer.body.reveal(),
    }
    try:
        return Secret(json.dumps(facts, ensure_ascii=False, separators=(",", ":")))
    except InvalidInputError:
        return None


def parsed_unread(account: Account, text: Secret) -> tuple[Attempt, UnreadAnswer]:
    """Return the attempt and the answer of an opened text, which `unread_text` made."""
    facts: dict[str, Any] = json.loads(text.reveal())
    access = facts["access"]
    attempt = Attempt(
        account,
        UUID(hex=facts["attempt_id"]),
        _ref(account, facts["credential"]),
        None if access is None else _ref(account, access),
        datetime.fromisoformat(facts["claimed_at"]),
        timedelta(0),
        client=_bytes(facts["client"]),
        endpoint=_bytes(facts["endpoint"]),
    )
    body = Secret(facts["body"])
    return attempt, UnreadAnswer(facts["status"], body, datetime.fromisoformat(facts["received_at"]))


def _of_ref(ref: TokenRef) -> list[Any]:
    return [ref.key.kind.value, ref.id.hex, ref.generation, ref.value_id.hex]


def _ref(account: Account, parts: list[Any]) -> TokenRef:
    kind, id_hex, generation, value_id_hex = parts
    return TokenRef(account.key(TokenKind(kind)), UUID(hex=id_hex), generation, UUID(hex=value_id_hex))


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)
