"""`Secret`: a text that shows itself only when asked."""

import hmac
import json
from typing import Any, NoReturn

from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.scrub import scrubbed, scrubbed_class

MAX_SECRET_BYTES = 64 * 1024
"""The longest value, in bytes of UTF-8."""

_REDACTED = "Secret('**********')"


@scrubbed_class
class Secret:
    """A credential in clear: up to 64 KiB of UTF-8, NUL allowed, no lone surrogates.

    ``str``, ``repr`` and ``format`` are constant, it cannot be pickled or copied, and comparing two secrets takes
    constant time. It is a plain class on purpose: ``attrs.asdict`` and the like would walk into an attrs class.

    Args:
        text: the credential.

    Raises:
        InvalidInputError: not a string, too long, or with a lone surrogate. The text is not repeated.
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
        """Make one secret of several fields, such as an id and a secret; kept as a JSON object.

        Raises:
            InvalidInputError: no field was given, or one is not a string.
        """
        if not fields or any(type(value) is not str for value in fields.values()):
            raise InvalidInputError("a secret of fields needs at least one field, each of them a string")
        return Secret(json.dumps(fields, ensure_ascii=False, separators=(",", ":")))

    def reveal(self) -> str:
        """Return the credential in clear."""
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

    # A hash would be an oracle for the value and would let secrets become dictionary keys.
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
    """Return a secret as it is, and a text as a secret.

    The error's frames do not hold the value, except the caller's own: that one needs `scrubbed` too.

    Raises:
        InvalidInputError: see `Secret`.
    """
    return value if isinstance(value, Secret) else Secret(value)  # type: ignore[arg-type]  # Secret itself refuses


def decoded_secret(plaintext: bytes) -> Secret | None:
    """Return the secret that was kept as UTF-8; None where it is none, since the decoder's error holds the bytes.

    It is not checked like one that is passed in: what was decoded has no lone surrogates.
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
        return "a secret must not be longer than 64 KiB of UTF-8"
    return None


def _parse_fields(text: str) -> dict[str, str] | None:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):  # it holds the text: it must not become the context of another error
        return None
    if isinstance(fields, dict) and all(isinstance(value, str) for value in fields.values()):
        return fields
    return None
