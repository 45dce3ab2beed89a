"""Reads the parameters that a provider sends to the redirect URI (RFC 6749 section 4.1.2, RFC 9207)."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeAlias
from urllib.parse import parse_qsl, quote

from attrs import field, frozen

from vault_adapters.providers.descriptions import describe_callback
from vault_domain.entities.causes import PAR_REQUIRED, REFUSED
from vault_domain.entities.errors import AuthorizationRefusedError, InvalidInputError
from vault_domain.entities.secret import Secret
from vault_domain.rules.oauth_codes import registered_code

Query: TypeAlias = str | Mapping[str, str] | Iterable[tuple[str, str]]
"""A query string, a mapping of texts, or pairs of texts. A mapping cannot show that a parameter came twice."""

_OF_REQUESTS = frozenset({"invalid_request", "unauthorized_client"})
_PUSHED = re.compile(r"(?i:pushed authori[sz]ation)|\bPAR\b|request_uri")
_READ = frozenset({"code", "state", "error", "iss"})
_MOST_PARAMETERS = 100
_LONGEST = 64 * 1024


@frozen
class Callback:
    """The parameters of a callback that matter; ``""`` stands for a missing code, state or error.

    Attributes:
        code: the authorization code.
        state: the state.
        error: the provider's error code; it may be any text.
        iss: the issuer that the provider names, or None if it names none.
        others: the other parameters that came once. They pass through the user's browser, so they prove nothing.
        pairs: all parameters, in the order in which they came.
    """

    code: str = field(repr=False)
    state: str = field(repr=False)
    error: str = field(repr=False)
    iss: str | None = field(repr=False)
    others: Mapping[str, str] = field(repr=False)
    pairs: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def refusal_in(callback: Callback) -> AuthorizationRefusedError:
    """Return the error for a callback without a code.

    The provider's own words pass through the user's browser. They are shown to developers only, and otherwise tell only
    whether the provider wants a pushed request.
    """
    text = callback.others.get("error_description", "")
    describe_callback(callback.error, text, (callback.state, callback.code))
    code = registered_code(callback.error)
    wants_pushed = code in _OF_REQUESTS and _PUSHED.search(text)
    return AuthorizationRefusedError(reason=PAR_REQUIRED if wants_pushed else code or REFUSED)


def read_callback(query: object) -> Callback:
    """Read a callback's parameters.

    Raises:
        InvalidInputError: the query is not a `Query`, is too long, has too many parameters, or contains a parameter of
            `Callback` twice (RFC 6749 section 3.1).
    """
    pairs = _pairs(query)
    came = Counter(name for name, _ in pairs)
    if any(came[name] > 1 for name in _READ):
        raise InvalidInputError("query must not contain a parameter twice")
    found = dict(pairs)
    others = {name: value for name, value in pairs if name not in _READ and came[name] == 1}
    code, state, error = (found.get(name, "") for name in ("code", "state", "error"))
    return Callback(code, state, error, found.get("iss"), others, tuple(pairs))


def is_signed(callback: Callback, parameter: str, secret: Secret) -> bool:
    """Return whether a parameter of a callback is the HMAC-SHA256 of the others, in hexadecimal digits.

    The others are sorted by name and encoded as in a URL, with ``%20`` for a space. So does Shopify sign callbacks.
    """
    signed = sorted((name, value) for name, value in callback.pairs if name not in (parameter, "signature"))
    text = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in signed)
    expected = hmac.new(secret.reveal().encode(), text.encode(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), callback.others.get(parameter, "").encode(errors="replace"))


def _quoted(text: str) -> str:
    return quote(text, safe="*", errors="replace").replace("~", "%7E")


def _pairs(query: object) -> list[tuple[str, str]]:
    pairs: list[object]
    if isinstance(query, str):
        if len(query) > _LONGEST:
            raise InvalidInputError(f"query must be at most {_LONGEST} characters long")
        pairs = _parsed(query.removeprefix("?"))
    elif isinstance(query, Mapping):
        pairs = list(query.items())
    elif isinstance(query, Iterable) and not isinstance(query, (bytes, bytearray)):
        pairs = list(query)
    else:
        pairs = [None]
    checked = [(pair[0], pair[1]) for pair in pairs if isinstance(pair, tuple) and len(pair) == 2]
    if len(checked) != len(pairs) or not all(isinstance(text, str) for pair in checked for text in pair):
        raise InvalidInputError("query must be a query string, a mapping of texts, or pairs of texts")
    return checked


def _parsed(query: str) -> list[object]:
    try:
        return list(parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS))
    except ValueError:
        pass
    raise InvalidInputError(f"query must have at most {_MOST_PARAMETERS} parameters")
