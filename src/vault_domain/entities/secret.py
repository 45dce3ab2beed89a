"""`Secret`: a text that is shown only by `reveal`."""

import hmac
import json
from typing import Any, NoReturn

from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.scrub import scrubbed, scrubbed_class

MAX_SECRET_BYTES = 64 * 1024
"""The longest value, in bytes of UTF-8."""

_REDACTED = "Secret('**********')"
_TOO_LONG = "a secret must not be longer than 64 KiB of UTF-8"


@scrubbed_class
class Secret:
    """A plaintext credential: up to 64 KiB of UTF-8, NUL allowed, no lone surrogates.

    - ``str``, ``repr`` and ``format`` return a constant.
    - It cannot be pickled or copied.
    - Comparing two secrets takes constant time.

    It is no attrs class, because ``attrs.asdict`` and similar functions would read an attrs class's fields.

    Args:
        text: the credential.

    Raises:
        InvalidInputError: the text is not a string, is too long or has a lone surrogate. The
            message does not repeat the text.
    """

    __slots__ = ("_text",)
    _text: str

    def __init__(self, text: str) -> None:
        problem = _problem_with(text)
        if problem is not None:
            raise InvalidInputError(problem)
        object.__setattr__(self, "_text", text)

    @classmethod
    @scrubbed
    def from_fields(cls, **fields: str) -> "Secret":
        """Make one secret from several fields, such as an id and a secret; it is stored as a JSON object.

        Raises:
            InvalidInputError: no field was given, a field is not a string, or the whole JSON text is no valid `Secret`.
        """
        if not fields or any(type(value) is not str for value in fields.values()):
            raise InvalidInputError("a secret of fields needs at least one field, each of them a string")
        return Secret(json.dumps(fields, ensure_ascii=False, separators=(",", ":")))

    def reveal(self) -> str:
        """Return the plaintext credential."""
        return self._text

    def reveal_fields(self) -> dict[str, str]:
        """Return the fields of a secret made with `from_fields`.

        Raises:
            InvalidInputError: this secret is not a JSON object of strings.
        """
        fields = _parse_fields(self._text)
        if fields is None:
            raise InvalidInputError("this secret does not consist of fields")
        return fields

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    # A hash would reveal whether a guessed value is right, and would let secrets become dictionary keys.
    __hash__ = None  # type: ignore[assignment]  # the documented way to make a class unhashable

    def __repr__(self) -> str:
        return _REDACTED

    def __str__(self) -> str:
        return _REDACTED

    def __format__(self, format_spec: str) -> str:
        return _REDACTED

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Secret cannot be changed")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied")


@scrubbed
def as_secret(value: object) -> Secret:
    """Return a `Secret` unchanged, and a text as a `Secret`.

    The error's frames do not hold the value, except for the caller's frame; so decorate the caller with `scrubbed`.

    Raises:
        InvalidInputError: see `Secret`.
    """
    return value if isinstance(value, Secret) else Secret(value)  # type: ignore[arg-type]  # Secret checks the type


@scrubbed
def as_value(value: object, name: str = "value") -> Secret:
    """Return a value that can be stored: a `Secret`, or a text as a `Secret`; see `as_secret`.

    Raises:
        InvalidInputError: the value is empty, or it breaks a rule of `Secret`.
    """
    secret = value if isinstance(value, Secret) else Secret(value)  # type: ignore[arg-type]  # Secret checks the type
    if not secret.reveal():
        raise InvalidInputError(f"{name} must not be empty")
    return secret


def is_storable(text: object) -> bool:
    """Return whether a text can be a secret."""
    return _problem_with(text) is None


def is_too_long(text: object) -> bool:
    """Return whether a text is too long for a secret and breaks no other rule."""
    return isinstance(text, str) and _problem_with(text) == _TOO_LONG


def decoded_secret(plaintext: bytes) -> Secret | None:
    """Return a secret from UTF-8 bytes; return None if they are invalid or too long.

    It raises no error, because the decoder's error would hold the bytes. It skips the check for lone surrogates,
    because the decoder rejects them.
    """
    if len(plaintext) > MAX_SECRET_BYTES:
        return None
    try:
        text = plaintext.decode()
    except UnicodeDecodeError:
        return None
    secret: Secret = object.__new__(Secret)
    object.__setattr__(secret, "_text", text)
    return secret


def _problem_with(text: object) -> str | None:
    if type(text) is not str:
        return "a secret must be a string"
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "a secret must not contain lone surrogates"
    if size > MAX_SECRET_BYTES:
        return _TOO_LONG
    return None


def _parse_fields(text: str) -> dict[str, str] | None:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        # Raise nothing here: a new error would hold this error, with the text, as its ``__context__``.
        return None
    if isinstance(fields, dict) and all(isinstance(value, str) for value in fields.values()):
        return fields
    return None
