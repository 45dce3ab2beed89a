"""Encryption and decryption alone."""

from __future__ import annotations

import os

from cryptography.fernet import Fernet, MultiFernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.benchmarks.bench import Bench, Case
from tests.benchmarks.findings import Goal
from tests.benchmarks.timing import Contestant, Work

from vault_adapters import TokenKey
from vault_adapters.crypto.context import ContextEncoder
from vault_adapters.crypto.envelope import EnvelopeKey, Purpose

_BLOCK = 500
_KEY = TokenKey("0192d7a2-7c3e-7a51-b5ad-0f6f6f6f6f6f", "google", "access_token", "somebody@example.com")


def _blocks(call: object) -> Work:
    """Return a function that makes a block of calls without arguments."""

    async def work() -> int:
        for _ in range(_BLOCK):
            call()  # type: ignore[operator]
        return _BLOCK

    return work


async def _run(bench: Bench) -> None:
    value = os.urandom(128).hex().encode()
    await _race(bench, value, encrypting=True)
    await _race(bench, value, encrypting=False)


async def _race(bench: Bench, value: bytes, *, encrypting: bool) -> None:
    word = "encrypt" if encrypting else "decrypt"
    bare, nonce = AESGCM(os.urandom(32)), os.urandom(12)
    key, places = EnvelopeKey(os.urandom(32), os.urandom(16), Purpose.VALUE), ContextEncoder()
    fernet, oldest = Fernet(Fernet.generate_key()), Fernet(Fernet.generate_key())
    several = MultiFernet([fernet, Fernet(Fernet.generate_key()), oldest])
    aad = places.encode(_KEY)
    by_bare, blob = bare.encrypt(nonce, value, aad), key.seal(value, aad)
    by_fernet, by_oldest = fernet.encrypt(value), oldest.encrypt(value)
    if encrypting:
        calls = {
            "bare AESGCM": lambda: bare.encrypt(nonce, value, aad),
            "vault": lambda: key.seal(value, places.encode(_KEY)),
            "Fernet": lambda: fernet.encrypt(value),
        }
    else:
        calls = {
            "bare AESGCM": lambda: bare.decrypt(nonce, by_bare, aad),
            "vault": lambda: key.open(blob, places.encode(_KEY)),
            "Fernet": lambda: fernet.decrypt(by_fernet),
            "MultiFernet (value under the oldest of three keys)": lambda: several.decrypt(by_oldest),
        }
    floor, ours, *others = [Contestant(f"{name} {word}", _blocks(call)) for name, call in calls.items()]
    series = await bench.race([floor, ours, *others], 100)
    await bench.ratio(ours, floor, series, Goal(6.5 if encrypting else 9))
    for other in others:
        await bench.ratio(other, floor, series)
    await bench.ratio(ours, others[0], series)


CRYPTO = Case(
    "crypto",
    "Encrypt and decrypt 256 bytes",
    "For each value, the vault derives a key from a random salt, computes a commitment to the key, builds the context "
    "from the caller's strings, and encrypts the value for this context. The floor is one call of an existing AESGCM "
    "object, with an existing nonce and context. The floor is not secure, because it uses one nonce again and again; "
    "it serves only for comparison.",
    _run,
)
