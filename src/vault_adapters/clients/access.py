"""What the HTTP clients share: the part of a vault that they use, and the check of a token before it is sent."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from vault_adapters.clients.hosts import problem_with
from vault_domain import Account, InvalidInputError, Secret, VaultError

if TYPE_CHECKING:
    from vault_domain import ApiHeader, Token


class AccessTokens(Protocol):
    """The part of `TokenVault` that an async client uses."""

    def ensure_access_token(self, account: Account) -> Awaitable[Token]:
        """Return a usable access token; refresh it first if it is due."""

    def report_rejected(self, token: Token) -> Awaitable[Token]:
        """Report that a resource server rejected the token; return the next token to try."""

    def api_hosts(self, token: Token) -> Awaitable[tuple[str, ...]]:
        """Return the hosts to which the token may be sent; empty if they are not known."""

    def api_header(self, token: Token) -> Awaitable[ApiHeader]:
        """Return the header in which requests carry the token."""

    def api_proof(
        self, token: Token, method: str, url: str, *, nonce: str | None = None, ahead: timedelta = timedelta(0)
    ) -> Awaitable[str | None]:
        """Return the proof for a request with a token that is bound to a key; None for any other token."""


class SyncAccessTokens(Protocol):
    """The part of `SyncVault` that a sync client uses."""

    def ensure_access_token(self, account: Account) -> Token:
        """Return a usable access token; refresh it first if it is due."""

    def report_rejected(self, token: Token) -> Token:
        """Report that a resource server rejected the token; return the next token to try."""

    def api_hosts(self, token: Token) -> tuple[str, ...]:
        """Return the hosts to which the token may be sent; empty if they are not known."""

    def api_header(self, token: Token) -> ApiHeader:
        """Return the header in which requests carry the token."""

    def api_proof(
        self, token: Token, method: str, url: str, *, nonce: str | None = None, ahead: timedelta = timedelta(0)
    ) -> str | None:
        """Return the proof for a request with a token that is bound to a key; None for any other token."""


# The characters of RFC 6750's b64token, of an HTTP `token` (RFC 9110), and ":". Real providers use characters that
# b64token lacks: Salesforce "!", Meta "|", eBay "^" and "#". None of the allowed characters is a separator in a
# header, so a token cannot end the header's value or begin another value.
_SENDABLE = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~/:]+=*\Z")

PROOF_TYPES = frozenset({"dpop", "pop", "mac"})
"""Types of tokens that are sent with a proof that the sender holds a key; as bearer tokens they do not work."""


def value_of(header: ApiHeader, token: Token, *, proved: bool = False) -> str:
    """Return the value of the header that carries a token, such as ``Bearer abc`` (RFC 6750 section 2.1).

    Args:
        header: the header, as the vault names it.
        token: the token.
        proved: whether the request also carries a proof, if the token needs one that the vault can make.

    Raises:
        VaultError: see `check_sendable`.
    """
    if proved and is_proved(header):
        return header.over(check_characters(token, token.value))
    return header.over(check_sendable(token, header.credentials_of(token.value)))


def is_proved(header: ApiHeader) -> bool:
    """Return whether requests with this header carry a proof too (DPoP, RFC 9449); the vault has the token's key."""
    return header.scheme == "DPoP"


def check_sendable(token: Token, credentials: Secret | None) -> Secret:
    """Refuse a token that a header cannot carry; return ``credentials``, which the header carries of the token.

    This check comes before the HTTP library's own check, because the library's error would print the token.

    Raises:
        VaultError: the message does not repeat the token. The code is ``token_not_sendable`` if the token is empty or
            holds a character that a bearer token cannot have, such as a space, or if an API key lacks a field that the
            header carries, and ``token_needs_proof`` if the token
            is bound to a key, as with DPoP (RFC 9449).
    """
    if token.token_type.lower() in PROOF_TYPES:
        raise VaultError(
            "the provider issued an access token that needs a proof of possession (such as DPoP), so it was not sent as"
            " a bearer token",
            code="token_needs_proof",
            account=token.info.key.account,
        )
    return check_characters(token, credentials)


def check_characters(token: Token, credentials: Secret | None) -> Secret:
    """Refuse a token that a header cannot carry; a value with line ends could add headers, or options of a program.

    Raises:
        VaultError: the code is ``token_not_sendable``; the message does not repeat the token.
    """
    if credentials is None or not _SENDABLE.match(credentials.reveal()):
        raise VaultError(
            "the token is empty, holds characters that a bearer token cannot have, or lacks a field that the header"
            " carries; it was not sent",
            code="token_not_sendable",
            account=token.info.key.account,
        )
    return credentials


def misuse(vault: object, account: object, hosts: object) -> InvalidInputError | None:
    """Return the error for an argument that is not valid, or None.

    This function raises nothing, because its frame, which a traceback would show, holds the arguments, and one of them
    may be a secret.
    """
    if not hasattr(vault, "ensure_access_token"):
        return InvalidInputError("vault must be a TokenVault or a SyncVault")
    return problem_with(hosts) if isinstance(account, Account) else InvalidInputError("account must be an Account")
