"""Reads what an API asks the user for: too few scopes (RFC 6750), claims (Microsoft), a new sign-in (RFC 9470)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vault_adapters.providers.challenge import parameters_of
from vault_domain import ConsentRequiredError, ReauthorizationRequiredError, TokenKind

if TYPE_CHECKING:
    from vault_domain import Account, Token

_ERRORS = frozenset({"insufficient_scope", "insufficient_claims", "insufficient_user_authentication"})
_MORE_SCOPES = (
    "the token lacks scopes: its user must grant more than before (pass this error to Connector.begin as challenge),"
    " or, if it is a service account's, the account's operator must give it more rights"
)
_MORE_RIGHTS = "the API key lacks rights for this request: its operator must give it more, no user can help"
_AS_THEY_ARE = ("acr_values", "max_age")
_SCOPES = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,255}( [\x21\x23-\x5b\x5d-\x7e]{1,255}){0,99}\Z")
_TEXT = re.compile(r"[\x20-\x7e]{1,2048}\Z")


def asked_for(
    challenges: Iterable[str], account: Account, kind: TokenKind = TokenKind.ACCESS_TOKEN
) -> ReauthorizationRequiredError | None:
    """Return the error that says what an API asks for, and of whom; None if it asks for nothing that can be given.

    Missing scopes (``insufficient_scope``, RFC 6750 section 3.1) are an error also if the API does not name them. For
    an API key this is no `ConsentRequiredError`, because only the key's operator can give it more rights.

    Args:
        challenges: the values of the response's headers ``WWW-Authenticate``.
        account: the account whose token was sent.
        kind: the kind of the token.
    """
    found = parameters_of(", ".join(challenges))
    if found.get("error") not in _ERRORS:
        return None
    scopes = found.get("scope", "")
    parameters = {name: found[name] for name in _AS_THEY_ARE if _TEXT.match(found.get(name, ""))}
    claims = _claims(found.get("claims", ""))
    if claims is not None:
        parameters["claims"] = claims
    wanted = tuple(scopes.split(" ")) if _SCOPES.match(scopes) else ()
    lacks_scopes = found["error"] == "insufficient_scope"
    if not wanted and not parameters and not lacks_scopes:
        return None
    if kind is TokenKind.API_KEY and lacks_scopes:
        return ReauthorizationRequiredError(_MORE_RIGHTS, code="key_rejected", account=account, reason=found["error"])
    message = _MORE_SCOPES if lacks_scopes else None
    return ConsentRequiredError(message, scopes=wanted, parameters=parameters, account=account, reason=found["error"])


def refuse_forbidden(status: int, challenges: Iterable[str], token: Token) -> None:
    """Raise the error if an API refuses with 403 for want of scopes, because a new token would not help.

    Raises:
        ReauthorizationRequiredError: see `asked_for`.
    """
    if status == 403:
        refuse_asking(status, challenges, token)


def refuse_asking(status: int, challenges: Iterable[str], token: Token) -> None:
    """Raise the error if an API still asks the user for something, although the token is new.

    Raises:
        ReauthorizationRequiredError: see `asked_for`.
    """
    error = _asked_of(challenges, token) if status in (401, 403) else None
    if error is not None:
        raise error


@contextmanager
def asking(challenges: Iterable[str], token: Token) -> Iterator[None]:
    """Say what the API asks for if the account must be connected again, unless the provider says it itself.

    Raises:
        ReauthorizationRequiredError: that of `asked_for`, in place of the block's.
    """
    try:
        yield
    except ConsentRequiredError:
        raise
    except ReauthorizationRequiredError:
        error = _asked_of(challenges, token)
        if error is None:
            raise
    else:
        return
    raise error


def _asked_of(challenges: Iterable[str], token: Token) -> ReauthorizationRequiredError | None:
    return asked_for(challenges, token.info.key.account, token.info.key.kind)


def _claims(encoded: str) -> str | None:
    """Return the JSON object of a claims challenge, which is encoded in base64."""
    try:
        padded = encoded + "=" * (-len(encoded) % 4)
        text = base64.b64decode(padded, altchars=b"-_" if {"-", "_"} & set(encoded) else None, validate=True).decode()
        is_object = isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return None
    return text if is_object and _TEXT.match(text) else None
