"""Reads and checks the scrypt parameters that the database holds."""

import json
import re
from typing import Any

from attrs import field, frozen

from vault_domain.entities.errors import ConfigurationError

DAMAGED_PARAMETERS = "kdf_parameters"
"""Code of the error for stored parameters that are not acceptable."""

SALT_SIZE = 32
MIN_LOG2_N = 14
MAX_LOG2_N = 18

_R = 8
_P = 1
_SALT = re.compile(r"[0-9a-f]{64}\Z")


@frozen(repr=False)
class ScryptParameters:
    """The parameters of scrypt.

    Values out of range are refused. Otherwise, somebody could write a huge cost into the database, and opening a vault
    would take very long.

    Attributes:
        log2_n: the cost, 14 to 18; scrypt needs 2^(log2_n + 10) bytes of memory.
        salt: 32 bytes.

    Raises:
        ConfigurationError: a parameter is out of range.
    """

    log2_n: int
    salt: bytes = field(repr=False)
    r: int = field(default=_R, init=False)
    p: int = field(default=_P, init=False)

    def __attrs_post_init__(self) -> None:
        if type(self.log2_n) is not int or not MIN_LOG2_N <= self.log2_n <= MAX_LOG2_N:
            raise ConfigurationError(f"scrypt_log2_n must be from {MIN_LOG2_N} to {MAX_LOG2_N}", code="scrypt_cost")
        if len(self.salt) != SALT_SIZE:
            raise _refusal()

    @property
    def encoded(self) -> bytes:
        """Salt and parameters as bytes.

        The id and the check value of a `MasterKeyRecord` depend on these bytes and on the secret.
        """
        return self.salt + bytes((self.log2_n, self.r, self.p))

    def to_json(self) -> str:
        """Return the JSON text that the database stores."""
        members = {"name": "scrypt", "log2_n": self.log2_n, "r": self.r, "p": self.p, "salt": self.salt.hex()}
        return json.dumps(members, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "ScryptParameters":
        """Return the parameters of a stored record.

        Raises:
            ConfigurationError: the text does not have the form of `to_json`, or a parameter is out of range.
        """
        members = _members(text)
        cost, salt = members.pop("log2_n", None), members.pop("salt", None)
        acceptable = (
            members == {"name": "scrypt", "r": _R, "p": _P}
            and type(cost) is int
            and MIN_LOG2_N <= cost <= MAX_LOG2_N
            and isinstance(salt, str)
            and _SALT.match(salt)
        )
        if not acceptable:
            raise _refusal()
        return cls(cost, bytes.fromhex(salt))


def _members(text: str) -> dict[str, Any]:
    try:
        members = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return members if isinstance(members, dict) else {}


def _refusal() -> ConfigurationError:
    return ConfigurationError(
        "the scrypt parameters stored in the database are not acceptable; no key and no token was written",
        code=DAMAGED_PARAMETERS,
    )
