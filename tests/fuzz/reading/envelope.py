"""Envelopes and the scrypt parameters beside them, which anyone who can write to the database may change."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from tests.fuzz.target import CANARY, Run, Target

from vault_adapters.crypto.envelope import EnvelopeKey, Purpose, encode_context
from vault_adapters.crypto.scrypt_parameters import ScryptParameters
from vault_domain.entities.errors import ConfigurationError
from vault_domain.ports.cipher import UnreadableError

CONTEXT = encode_context("tenant", "google", "access_token", "ann")
PLAINTEXTS = [b"", CANARY.encode(), b"x" * 31, b"x" * 32, b"x" * 4096, bytes(64)]


def key(purpose: Purpose = Purpose.VALUE) -> EnvelopeKey:
    """Return the key that sealed the envelopes of the corpus."""
    return EnvelopeKey(bytes(range(32)), bytes(range(16)), purpose)


@cache
def known() -> dict[bytes, bytes]:
    """Return the plaintexts by their envelope. The random parts are fixed, so the corpus can hold the envelopes."""
    return {key()._seal(text, CONTEXT, bytes([n] * 28)): text for n, text in enumerate(PLAINTEXTS)}


@contextmanager
def _opened() -> Iterator[Run]:
    def run(data: bytes) -> None:
        _read_parameters(data)
        for purpose in Purpose:
            try:
                opened = key(purpose).open(data, CONTEXT)
            except UnreadableError as error:
                refused = error
            else:
                # Only the known envelopes may open; any other one that opens is a forgery.
                assert purpose is Purpose.VALUE
                assert known()[data] == opened
                return
        raise refused

    yield run


def _read_parameters(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    try:
        parameters = ScryptParameters.from_json(text)
    except ConfigurationError:
        return
    # Accepted parameters cost no more memory than the format allows, and are the same when written and read again.
    assert parameters.log2_n <= 18
    assert ScryptParameters.from_json(parameters.to_json()) == parameters


ENVELOPE = Target(
    "envelope",
    _opened,
    (UnreadableError,),
    (b"\xe7\x01\x01\x01", b"\xe7\x01\x01\x02", bytes(range(16)), bytes(32), b"\x80", b'"log2_n":', b"99999999999"),
)
