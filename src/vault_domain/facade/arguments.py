"""Checks arguments of the public methods.

Each function returns the checked value, or raises an error that does not contain the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from vault_domain.entities.account import Account, ConnectionState, TokenKey, TokenKind
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.page import MAX_PAGE
from vault_domain.entities.secret import Secret, as_value
from vault_domain.entities.text import (
    as_count,
    as_duration,
    as_error_code,
    as_provider,
    as_scopes,
    as_tenant_id,
    as_time,
    plain_text,
)
from vault_domain.entities.token import Token, TokenDraft, TokenInfo

if TYPE_CHECKING:
    from vault_domain.entities.text import (
        Scopes,
    )
    from vault_domain.entities.token_set import TokenSet
    from vault_domain.ports.audit_log import Sought
    from vault_domain.ports.pages import Condemned
    from vault_domain.services.tokens.states import OpenedState

if TYPE_CHECKING:
    from vault_domain.entities.audit_chain import AuditHead

StoreItem = tuple[TokenKey, Secret | str] | tuple[TokenKey, Secret | str, datetime | None]

F = TypeVar("F", bound=Callable[..., Any])

MAX_ITEMS = 10_000
"""Largest number of keys or values in one call. Checking this many takes less than a tenth of a second."""

# A name has no `@`, so that no user and password can stand in it; it is stored and shown.
_KEY_URI = re.compile(r"[a-z][a-z0-9-]{0,31}:[!-?A-~]{1,2000}\Z")

_MOST_GENERATIONS = 2**63 - 1

_LEAST_AGE = timedelta(days=1)


def as_key(key: object) -> TokenKey:
    """Return a token key."""
    if not isinstance(key, TokenKey):
        hint = "; account.key(kind) makes one" if isinstance(key, Account) else ""
        raise InvalidInputError(f"key must be a TokenKey{hint}")
    return key


def as_account(account: object) -> Account:
    """Return an account."""
    if not isinstance(account, Account):
        raise InvalidInputError("account must be an Account")
    return account


def as_state_of(account: Account, state: object) -> OpenedState | None:
    """Return an opened state of the account's tenant, or None."""
    from vault_domain.services.tokens.states import OpenedState

    if state is not None and not (isinstance(state, OpenedState) and state.tenant_id == account.tenant_id):
        raise InvalidInputError("state must be an OpenedState of the same tenant")
    return state


def as_keys(keys: object) -> list[TokenKey]:
    """Return distinct keys, in the order given."""
    if isinstance(keys, (str, bytes)) or not isinstance(keys, Iterable):
        raise InvalidInputError("keys must be a sequence of TokenKey")
    return list(dict.fromkeys([as_key(key) for key in _bounded(keys, "keys")]))


def as_token_info(token: object) -> TokenInfo:
    """Return the metadata of a token that the vault returned."""
    info = token.info if isinstance(token, Token) else token
    if not isinstance(info, TokenInfo):
        raise InvalidInputError("token must be a Token or a TokenInfo")
    return info


def as_key_or_info(token: object) -> TokenKey | TokenInfo:
    """Return a key, or the metadata of a token that the vault returned."""
    return as_token_info(token) if isinstance(token, (Token, TokenInfo)) else as_key(token)


def as_presented_info(token: object) -> TokenInfo:
    """Return the metadata of a token that the vault returned; it must be of a kind that a resource accepts."""
    info = as_token_info(token)
    if info.key.kind not in (TokenKind.ACCESS_TOKEN, TokenKind.API_KEY):
        raise InvalidInputError("token must be an access token or an API key")
    return info


def as_token(token: object) -> Token:
    """Return a token that the vault returned."""
    if not isinstance(token, Token):
        raise InvalidInputError("token must be a Token")
    return token


def as_heads(heads: object) -> list[AuditHead]:
    """Return heads of the audit log."""
    from vault_domain.entities.audit_chain import AuditHead  # few processes verify the log

    if isinstance(heads, (str, bytes)) or not isinstance(heads, Iterable):
        raise InvalidInputError("heads must be a sequence of AuditHead")
    found = list(_bounded(heads, "heads"))
    if not all(isinstance(head, AuditHead) for head in found):
        raise InvalidInputError("heads must be a sequence of AuditHead")
    return found


def as_request_line(method: object, url: object) -> tuple[str, str]:
    """Return a request's method and its URL."""
    if not isinstance(method, str) or not method.isascii() or not method.isalpha():
        raise InvalidInputError("method must be the method of a request, such as GET")
    if not isinstance(url, str) or not url.isprintable() or not url.startswith(("https://", "http://")):
        raise InvalidInputError("url must be the URL of a request")
    return method, url


def as_nonce(value: object) -> str | None:
    """Return a nonce of RFC 9449, or None."""
    if value is not None and not (isinstance(value, str) and value.isascii() and value.isprintable() and value):
        raise InvalidInputError("nonce must be a text of visible ASCII characters, or None")
    return value


def as_flag(value: object, name: str) -> bool:
    """Return True or False."""
    if not isinstance(value, bool):
        raise InvalidInputError(f"{name} must be True or False")
    return value


def as_seconds(value: object, name: str) -> float | None:
    """Return a timeout in seconds, from a timedelta or a number; None means no limit."""
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 86_400:
        return float(value)
    if isinstance(value, timedelta):
        return as_duration(value, name).total_seconds()
    raise InvalidInputError(f"{name} must be a timedelta or a number of seconds from 0 to 86400")


def as_token_set(token_set: object) -> TokenSet:
    """Return a token set."""
    from vault_domain.entities.token_set import TokenSet

    if not isinstance(token_set, TokenSet):
        raise InvalidInputError("token_set must be a TokenSet; see TokenSet.from_response")
    return token_set


def as_optional_provider(provider: object) -> str | None:
    """Return a provider's name, or None for all."""
    return None if provider is None else as_provider(provider)


def as_optional_tenant_id(tenant_id: object) -> str | None:
    """Return a tenant's id, or None for all."""
    return None if tenant_id is None else as_tenant_id(tenant_id)


def as_key_uri(uri: object) -> str | None:
    """Return the URI of a key of a key service, or None; the error does not repeat the URI."""
    text = None if uri is None else plain_text(uri)
    if uri is not None and (text is None or not _KEY_URI.match(text)):
        raise InvalidInputError(
            "the URI of a master key is a scheme, `:` and a name of printable ASCII characters without spaces and `@`"
        )
    return text


def as_progress(progress: object) -> Callable[[int, int], object] | None:
    """Return a progress callback, or None."""
    if progress is None or callable(progress):
        return progress
    raise InvalidInputError("progress must be a function of two numbers")


def as_function(function: F | None, name: str) -> F | None:
    """Return a function, or None."""
    if function is None or callable(function):
        return function
    raise InvalidInputError(f"{name} must be a function")


def as_optional_state(state: object) -> ConnectionState | None:
    """Return a connection state, or None for all."""
    if state is None or isinstance(state, ConnectionState):
        return state
    raise InvalidInputError("state must be a ConnectionState")


def as_condemned(provider: object, since: object, until: object, tenant_id: object) -> Condemned:
    """Return the selection of condemned credentials for `revive_accounts`."""
    from vault_domain.ports.pages import Condemned

    begin, end = as_time(since, "since"), as_time(until, "until")
    if begin is None:
        raise InvalidInputError("since must be a zone-aware datetime")
    if end is not None and end < begin:
        raise InvalidInputError("until must not be earlier than since")
    return Condemned(as_provider(provider), begin, end, as_optional_tenant_id(tenant_id))


def as_reason(reason: object) -> str:
    """Return the reason of a read; it has the form of an error code, because free text may hold anything."""
    try:
        return as_error_code(reason)
    except InvalidInputError:
        pass
    raise InvalidInputError("reason must match [a-z0-9_]{1,64}; free text is not accepted")


def as_sought(account: object, action: object, since: object) -> Sought:
    """Return the selection of audit events for `latest_audit_events`."""
    from vault_domain.ports.audit_log import Sought

    if action is not None and not isinstance(action, AuditAction):
        raise InvalidInputError("action must be an AuditAction")
    return Sought(None if account is None else as_account(account), action, as_time(since, "since"))


def as_age(older_than: object) -> timedelta:
    """Return the age from which `prune_audit` deletes events; one day at least."""
    age = as_duration(older_than, "older_than", positive=True)
    if age < _LEAST_AGE:
        raise InvalidInputError("older_than must be one day at least")
    return age


def as_limit(limit: object) -> int:
    """Return the size of a page."""
    return as_count(limit, "limit", least=1, most=MAX_PAGE)


def as_generation(generation: object) -> int | None:
    """Return an expected generation; 0 means that nothing is stored, and None means any generation."""
    if generation is None:
        return None
    return as_count(generation, "expected_generation", least=0, most=_MOST_GENERATIONS)


def as_draft(key: object, secret: Secret, expires_at: object = None, scopes: Scopes | None = None) -> TokenDraft:
    """Return a draft of one value."""
    return TokenDraft(as_key(key), secret, as_time(expires_at, "expires_at"), scopes=as_scopes(scopes))


def _bounded(items: Iterable[Any], name: str) -> Sequence[Any]:
    """Return the items of an iterable, which may be endless, as a list.

    Raises:
        InvalidInputError: there are more than `MAX_ITEMS`.
    """
    taken = list(islice(items, MAX_ITEMS + 1))
    if len(taken) > MAX_ITEMS:
        raise InvalidInputError(f"one call takes at most {MAX_ITEMS} {name}")
    return taken


def as_drafts(items: object) -> list[TokenDraft]:
    """Return the drafts for `store_tokens`; each key may occur once."""
    if isinstance(items, (str, bytes)) or not isinstance(items, Iterable):
        raise InvalidInputError("items must be a sequence of (key, value) or (key, value, expires_at)")
    drafts = [_as_item(item) for item in _bounded(items, "items")]
    if len({draft.key for draft in drafts}) != len(drafts):
        raise InvalidInputError("items must not name a key twice")
    return drafts


def _as_item(item: object) -> TokenDraft:
    if not isinstance(item, Sequence) or isinstance(item, (str, bytes)) or len(item) not in (2, 3):
        raise InvalidInputError("each item must be (key, value) or (key, value, expires_at)")
    return as_draft(item[0], as_value(item[1]), item[2] if len(item) == 3 else None)
