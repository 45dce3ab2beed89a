"""Reads what an API asks the user for: too few scopes (RFC 6750), claims (Microsoft), a new sign-in (RFC 9470)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from vault_adapters.providers.challenge import parameters_of
from vault_domain import Account, ConsentRequiredError, ReauthorizationRequiredError

_ERRORS = frozenset({"insufficient_scope", "insufficient_claims", "insufficient_user_authentication"})
_AS_THEY_ARE = ("acr_values", "max_age")
_SCOPES = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,255}( [\x21\x23-\x5b\x5d-\x7e]{1,255}){0,99}\Z")
_TEXT = re.compile(r"[\x20-\x7e]{1,2048}\Z")


def asked_for(challenges: Iterable[str], account: Account) -> ConsentRequiredError | None:
    """Return the error that says what an API asks the user for; None if it asks for nothing that can be requested.

    Args:
        challenges: the values of the response's headers ``WWW-Authenticate``.
        account: the account whose token was sent.
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
    if not wanted and not parameters:
        return None
    return ConsentRequiredError(scopes=wanted, parameters=parameters, account=account, reason=found["error"])


def refuse_forbidden(status: int, challenges: Iterable[str], account: Account) -> None:
    """Raise the error if an API refuses with 403 for want of scopes, because a new token would not help.

    Raises:
        ConsentRequiredError: see `asked_for`.
    """
    if status == 403:
        refuse_asking(status, challenges, account)


def refuse_asking(status: int, challenges: Iterable[str], account: Account) -> None:
    """Raise the error if an API still asks the user for something, although the token is new.

    Raises:
        ConsentRequiredError: see `asked_for`.
    """
    error = asked_for(challenges, account) if status in (401, 403) else None
    if error is not None:
        raise error


@contextmanager
def asking(challenges: Iterable[str], account: Account) -> Iterator[None]:
    """Say what the API asks for if the account must be connected again, unless the provider says it itself.

    Raises:
        ConsentRequiredError: in place of the block's `ReauthorizationRequiredError`.
    """
    try:
        yield
    except ConsentRequiredError:
        raise
    except ReauthorizationRequiredError:
        error = asked_for(challenges, account)
        if error is None:
            raise
    else:
        return
    raise error


def _claims(encoded: str) -> str | None:
    """Return the JSON object of a claims challenge, which is encoded in base64."""
    try:
        padded = encoded + "=" * (-len(encoded) % 4)
        text = base64.b64decode(padded, altchars=b"-_" if {"-", "_"} & set(encoded) else None, validate=True).decode()
        is_object = isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return None
    return text if is_object and _TEXT.match(text) else None
