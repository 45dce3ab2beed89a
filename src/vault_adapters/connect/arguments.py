"""Checks the arguments of `Connector`."""

from __future__ import annotations

from collections.abc import Mapping

from vault_adapters.connect.client import Client
from vault_domain.entities.account import Account
from vault_domain.entities.causes import VARIABLE_REFUSED
from vault_domain.entities.errors import ConsentRequiredError, InvalidInputError
from vault_domain.entities.text import as_scopes, plain_text

_OWN = frozenset(
    {
        *("client_id", "client_secret", "code_challenge", "code_challenge_method", "nonce", "redirect_uri"),
        *("request", "request_uri", "response_mode", "response_type", "scope", "state"),
    }
)
_LONGEST = 2048
_CHALLENGING = frozenset({"acr_values", "claims", "max_age"})


def session_text(session: object) -> str:
    """Return the text of a browser session.

    Raises:
        InvalidInputError: it is no text of the allowed length.
    """
    text = plain_text(session)
    if text is None or not 1 <= len(text) <= _LONGEST:
        raise InvalidInputError(f"session must be a text of 1 to {_LONGEST} characters")
    return text


def identifier_of(account: object, owner: Account) -> str:
    """Return the identifier of the account to connect again.

    Raises:
        InvalidInputError: it is no account of the owner's tenant and provider, or has no identifier.
    """
    if not isinstance(account, Account):
        raise InvalidInputError("account must be an Account")
    if (account.tenant_id, account.provider) != (owner.tenant_id, owner.provider) or account.identifier is None:
        raise InvalidInputError("account must be of the same tenant and provider, and have an identifier")
    return account.identifier


def challenged(challenge: object, account: Account | None) -> tuple[Account | None, tuple[str, ...], dict[str, str]]:
    """Return the account to connect again, the missing scopes, and the further parameters of a challenge.

    Raises:
        InvalidInputError: it is no `ConsentRequiredError`, or holds scopes or parameters that cannot be asked for.
    """
    if not isinstance(challenge, ConsentRequiredError):
        raise InvalidInputError("challenge must be a ConsentRequiredError")
    items = challenge.parameters.items()
    if not all(name in _CHALLENGING and _is_short(text) for name, text in items):
        raise InvalidInputError(f"the parameters of challenge must be among {', '.join(sorted(_CHALLENGING))}")
    own = challenge.account
    if not isinstance(own, Account | None):
        raise InvalidInputError("the account of challenge must be an Account")
    found = own if account is None and own is not None and own.identifier is not None else account
    return found, as_scopes(challenge.scopes), dict(items)


def divided(client: Client, extra: object) -> tuple[dict[str, str], dict[str, str]]:
    """Return the parameters for the provider, and the values of variables.

    Raises:
        InvalidInputError: ``extra`` does not map texts to texts, or names a parameter that the connector sets.
    """
    given = {} if extra is None else extra
    items: dict[str, str] = {}
    if isinstance(given, Mapping):
        items = {name: text for name, text in given.items() if _is_short(name) and _is_short(text)}
    if not isinstance(given, Mapping) or len(items) != len(given):
        raise InvalidInputError(f"extra must map texts to texts of at most {_LONGEST} characters")
    taken = _OWN | {client.profile.authorization.scopes_parameter}
    if not taken.isdisjoint(items):
        raise InvalidInputError(f"extra must not set any of {', '.join(sorted(taken))}")
    variables = {name: value for name, value in items.items() if name in client.profile.variables}
    if (problem := client.profile.refusal(variables)) is not None:
        raise InvalidInputError(problem, code=VARIABLE_REFUSED)
    return {name: value for name, value in items.items() if name not in variables}, variables


def _is_short(text: object) -> bool:
    return isinstance(text, str) and len(text) <= _LONGEST
