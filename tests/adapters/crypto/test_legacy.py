"""The original format: vectors, strict base64, and a bad row that does not affect the others."""

import base64

import pytest
from tests.adapters.crypto.vectors import read_vectors

from vault_adapters.crypto.legacy import read_original, read_originals
from vault_domain.entities.secret import Secret

VECTORS = read_vectors("legacy")
FIRST = VECTORS[0]
SECRET = Secret(FIRST["secret"])


@pytest.mark.real_scrypt
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vectors(vector):
    assert read_original(vector["encoded"], Secret(vector["secret"])).reveal() == vector["plaintext"]


def test_another_secret_reads_nothing():
    assert read_original(FIRST["encoded"], Secret(FIRST["secret"] + " ")) is None


@pytest.mark.parametrize("position", [0, 15, 16, 27, 28, 43, 44, -1])
def test_a_changed_byte(position):
    raw = bytearray(base64.b64decode(FIRST["encoded"]))
    raw[position] ^= 1
    assert read_original(base64.b64encode(raw).decode(), SECRET) is None


def not_canonical():
    encoded = next(vector["encoded"] for vector in VECTORS if vector["encoded"].endswith("="))
    yield "whitespace", encoded[:8] + "\n" + encoded[8:]
    yield "leading space", " " + encoded
    yield "trailing newline", encoded + "\n"
    yield "no padding", encoded.rstrip("=")
    yield "more padding", encoded + "="
    yield "url alphabet", encoded.replace("+", "-").replace("/", "_")
    yield "unused bits", _with_unused_bits(encoded)
    yield "not base64", "!" * 80
    yield "not ascii", "é" * 80
    yield "lone surrogate", "\ud800" * 80
    yield "empty", ""
    yield "too short", base64.b64encode(bytes(43)).decode()
    yield "too long", base64.b64encode(bytes(70_000)).decode()


def _with_unused_bits(encoded):
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body = encoded.rstrip("=")
    return body[:-1] + alphabet[alphabet.index(body[-1]) + 1] + encoded[len(body) :]


@pytest.mark.parametrize("encoded", [pytest.param(text, id=name) for name, text in not_canonical()])
def test_only_the_canonical_form_is_read_and_scrypt_does_not_run_for_others(monkeypatch, encoded):
    def scrypt(*args, **kwargs):
        raise AssertionError("scrypt ran")

    monkeypatch.setattr("hashlib.scrypt", scrypt)
    assert read_original(encoded, SECRET) is None


@pytest.mark.real_scrypt
async def test_many_in_order_with_bad_ones_among_them():
    column = [FIRST["encoded"], "bad", FIRST["encoded"][:-4], FIRST["encoded"]] * 3
    values = [value async for value in read_originals(column, SECRET, threads=2)]
    read = FIRST["plaintext"]
    assert [value and value.reveal() for value in values] == [read, None, None, read] * 3


async def test_a_long_column_is_taken_a_few_at_a_time():
    taken = 0

    def column():
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield "bad"

    values = read_originals(column(), SECRET, threads=2)
    assert await anext(values) is None
    assert taken <= 32
    await values.aclose()
