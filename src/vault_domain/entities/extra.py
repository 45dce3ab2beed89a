"""`Extra`: further members of a token endpoint's answer, kept with the access token, such as `instance_url`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.scrub import scrubbed
from vault_domain.entities.secret import Secret, is_storable

MAX_EXTRA_BYTES = 16 * 1024
"""Largest size of all extra members together, in bytes of compact JSON in UTF-8."""

BEARER = "Bearer"

_MAX_NAME = 255
_KNOWN_TYPES = frozenset({"bearer", "dpop", "mac", "pop"})
_TOKEN_TYPE = re.compile(r"[!-~]{1,64}", re.ASCII)
_TOO_LARGE = "extra must not be larger than 16 KiB of JSON"
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Extra(Mapping[str, str]):
    """The extra members of an access token: a text for each name.

    A name has 1 to 255 characters. All members together are at most 16 KiB of JSON.

    An `Extra` cannot be changed, pickled or copied; ``dict(extra)`` gives the plain members. ``str`` and ``repr`` show
    only the names, because a member may be a credential of its own.
    """

    __slots__ = ("_members", "_proof_key", "_token_type")
    _members: Mapping[str, str]
    _token_type: str
    _proof_key: Secret | None

    def __getitem__(self, name: str) -> str:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    @property
    def token_type(self) -> str:
        """The type of the access token, such as ``Bearer`` or ``DPoP``, as the provider wrote it."""
        return self._token_type

    @property
    def proof_key(self) -> Secret | None:
        """The private key that the account's tokens are bound to (DPoP, RFC 9449), or None; it is no member."""
        return self._proof_key

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to store: no member, no key, and the type is Bearer."""
        return not self._members and self._proof_key is None and is_bearer(self._token_type)

    def of_type(self, token_type: str) -> Extra:
        """Return the same members with this token type."""
        return self if token_type == self._token_type else _extra(self._members, token_type, self._proof_key)

    def proved_by(self, key: Secret | None) -> Extra:
        """Return the same members with this key; with the key that is here if ``key`` is None."""
        return self if key is None else _extra(self._members, self._token_type, key)

    def over(self, previous: Extra) -> Extra:
        """Return these members, and those of ``previous`` whose names are missing here, as far as there is room.

        If there is no key here, the key of ``previous`` is kept too.
        """
        if not previous and previous.proof_key is None:
            return self
        missing = {name: text for name, text in previous.items() if name not in self}
        return _extra(fitting({**self, **missing}), self.token_type, self._proof_key or previous.proof_key)

    def __repr__(self) -> str:
        return f"Extra({', '.join(self._members)})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("an Extra cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("an Extra cannot be changed")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("an Extra cannot be pickled or copied")

    def __getstate__(self) -> NoReturn:
        raise TypeError("an Extra cannot be pickled or copied")


def _extra(members: Mapping[str, str], token_type: str = BEARER, proof_key: Secret | None = None) -> Extra:
    extra: Extra = object.__new__(Extra)
    object.__setattr__(extra, "_proof_key", proof_key)
    object.__setattr__(extra, "_members", MappingProxyType(dict(members)))
    object.__setattr__(extra, "_token_type", token_type)
    return extra


NO_EXTRA = _extra({})
"""No members, and a bearer token."""


@scrubbed
def as_extra(value: object) -> Extra:
    """Return a mapping's members as `Extra`.

    Raises:
        InvalidInputError: ``value`` breaks a rule of `Extra`; the message repeats no member.
    """
    if isinstance(value, Extra):
        return value
    if not isinstance(value, Mapping):
        raise InvalidInputError("extra must be a mapping of names to texts")
    members = dict(value)
    problem = _problem_with(members)
    if problem is not None:
        raise InvalidInputError(problem)
    return _extra(members) if members else NO_EXTRA


def fitting(members: Mapping[str, Any]) -> dict[str, str]:
    """Return those members of a provider's answer that `as_extra` takes, in their order, as far as there is room.

    A bad member must not make the answer fail, because the answer may hold the only copy of a new refresh token.
    """
    kept: dict[str, str] = {}
    room = MAX_EXTRA_BYTES - len("{}")
    for name, text in members.items():
        if _problem_with({name: text}) is None:
            size = len(_encode({name: text}).encode()) - len("{}") + len(",")
            if size <= room + len(","):
                kept[name] = text
                room -= size
    return kept


def is_bearer(token_type: str) -> bool:
    """Return whether a token type is Bearer; upper and lower case count as equal (RFC 6749 section 5.1)."""
    return token_type.lower() == "bearer"


def shown_token_type(token_type: str) -> str:
    """Return a token type for a repr; an unknown type is hidden, because a provider may send a token in its place."""
    return repr(token_type) if token_type.lower() in _KNOWN_TYPES else "'**********'"


def read_token_type(value: object) -> str:
    """Return the token type of an answer; a missing or malformed one counts as Bearer."""
    return value if isinstance(value, str) and _TOKEN_TYPE.fullmatch(value) else BEARER


def sealable_extra(extra: Extra) -> Secret | None:
    """Return the text that the vault seals for these members; None if there is nothing to store."""
    if extra is NO_EXTRA or extra.is_empty:  # most values have no extra members, and a property takes longer
        return None
    document: dict[str, object] = {"extra": dict(extra)}
    if not is_bearer(extra.token_type):
        document["token_type"] = extra.token_type
    if extra.proof_key is not None:
        document["proof_key"] = extra.proof_key.reveal()
    return Secret(_encode(document))


def decoded_extra(text: Secret) -> Extra | None:
    """Return the members in a text that `sealable_extra` made; None for any other text."""
    try:
        document = json.loads(text.reveal())
    except (ValueError, RecursionError):  # raise nothing here: a new error would keep this one, which holds the text
        return None
    if not isinstance(document, dict) or not isinstance(members := document.get("extra"), dict):
        return None
    if _problem_with(members) is not None:
        return None
    key = document.get("proof_key")
    proof_key = Secret(key) if isinstance(key, str) and is_storable(key) else None
    return _extra(members, read_token_type(document.get("token_type")), proof_key)


def _problem_with(members: dict[Any, Any]) -> str | None:
    for name, text in members.items():
        if type(name) is not str or type(text) is not str:
            return "extra must hold texts only"
        if not 0 < len(name) <= _MAX_NAME:
            return "the names in extra must have 1 to 255 characters"
    try:
        size = len(_encode(members).encode())
    except UnicodeEncodeError:
        return "extra must not contain lone surrogates"
    return _TOO_LARGE if size > MAX_EXTRA_BYTES else None
