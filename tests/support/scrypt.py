"""Cheap key derivation for all tests, because a test that opens a vault would spend most of its time in scrypt.

The process of the tests, forks of warm processes and children of `tests.support.processes` derive cheaply. Any other
process uses the real scrypt, and so derives other keys. A test that shares a database with such a process needs the
marker `real_scrypt`; without it, the second process reports a wrong encryption secret.
"""

import hashlib
import os

# Tells children that their parent derives cheaply.
_VARIABLE = "VAULT_TEST_CHEAP_SCRYPT"
_CHEAP_N = 2
_scrypt = hashlib.scrypt


def cheap(password: bytes, *, salt: bytes, n: int, r: int, p: int, maxmem: int = 0, dklen: int = 64) -> bytes:
    """Derive a key that depends on all parameters, as scrypt does, at a thousandth of its cost."""
    bound = salt + b"".join(each.to_bytes(8, "big") for each in (n, r, p))
    return _scrypt(password, salt=bound, n=_CHEAP_N, r=r, p=p, maxmem=maxmem, dklen=dklen)


def make_cheap() -> None:
    """Derive cheaply in this process and in its children."""
    hashlib.scrypt = cheap  # type: ignore[assignment]
    os.environ[_VARIABLE] = "1"


def make_real() -> None:
    """Derive as in production, in this process and in its children."""
    hashlib.scrypt = _scrypt
    os.environ.pop(_VARIABLE, None)


def derive_as_the_parent() -> None:
    """Derive as the environment says, in a child that has just got its environment."""
    if _VARIABLE in os.environ:
        make_cheap()
    else:
        make_real()
