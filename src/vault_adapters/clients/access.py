"""The part of a vault that HTTP clients use."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Protocol

from vault_domain import Account, InvalidInputError, VaultError

if TYPE_CHECKING:
    from vault_domain import Token


class AccessTokens(Protocol):
    """The part of `TokenVault` that an async client uses."""

    def ensure_access_token(self, account: Account) -> Awaitable[Token]:
        """Return a usable access token; refresh it first if it is due."""

    def report_rejected(self, token: Token) -> Awaitable[Token]:
        """Report that a resource server rejected the token; return the next token to try."""


class SyncAccessTokens(Protocol):
    """The part of `SyncVault` that a sync client uses."""

    def ensure_access_token(self, account: Account) -> Token:
        """Return a usable access token; refresh it first if it is due."""

    def report_rejected(self, token: Token) -> Token:
        """Report that a resource server rejected the token; return the next token to try."""


# RFC 6750's b64token is narrower, but real providers issue tokens with characters such as "!" and "|".
_SENDABLE = re.compile(r"[\x21-\x7e]+\Z")


def bearer(token: Token) -> str:
    """Return the value of an Authorization header (RFC 6750 section 2.1).

    Raises:
        VaultError: see `check_sendable`.
    """
    check_sendable(token)
    return f"Bearer {token.value.reveal()}"


def check_sendable(token: Token) -> None:
    """Refuse a token that a header cannot carry, because the errors of HTTP libraries print such a header.

    Raises:
        VaultError: the token is empty or holds other characters than visible ASCII; the code is
            ``token_not_sendable``. The value is not repeated.
    """
    if not _is_sendable(token):
        raise VaultError(
            "the access token holds characters that an HTTP header cannot carry; nothing was sent",
            code="token_not_sendable",
            account=token.info.key.account,
        )


def _is_sendable(token: Token) -> bool:
    return _SENDABLE.match(token.value.reveal()) is not None


def misuse(vault: object, account: object) -> InvalidInputError | None:
    """Return the error for an argument of a wrong type, or None.

    It raises nothing, because its frame holds the arguments, one of which may be a secret.
    """
    if not hasattr(vault, "ensure_access_token"):
        return InvalidInputError("vault must be a TokenVault or a SyncVault")
    return None if isinstance(account, Account) else InvalidInputError("account must be an Account")
