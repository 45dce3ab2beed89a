"""Cheap key derivation, for tests that open hundreds of vaults in their own process.

A vault that a test opens with the cheapest parameters spends most of its time in scrypt. Only the process of the test
gets the cheap derivation. Another process derives other keys, because it uses the real scrypt. So a test whose
processes share a database needs the marker `real_scrypt`; without it, the second process reports a wrong encryption
secret.
"""

import hashlib
from collections.abc import Iterator

import pytest

_scrypt = hashlib.scrypt
_CHEAP_N = 2


def cheap(password: bytes, *, salt: bytes, n: int, r: int, p: int, maxmem: int, dklen: int) -> bytes:
    """Derive a key that depends on all parameters, as scrypt does, at a thousandth of its cost."""
    bound = salt + b"".join(each.to_bytes(8, "big") for each in (n, r, p))
    return _scrypt(password, salt=bound, n=_CHEAP_N, r=r, p=p, maxmem=maxmem, dklen=dklen)


@pytest.fixture
def cheap_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make key derivation cheap for a test."""
    monkeypatch.setattr("hashlib.scrypt", cheap)


@pytest.fixture(autouse=True)
def cheap_scrypt_here(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make key derivation cheap for all tests beside a conftest that imports this, unless marked `real_scrypt`."""
    if request.node.get_closest_marker("real_scrypt") is not None:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hashlib.scrypt", cheap)
        yield
