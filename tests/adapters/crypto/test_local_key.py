"""The local master key: vectors, the accepted secrets and parameters, and wrong ones that open nothing."""

import json
import pickle

import pytest
from attrs import evolve
from tests.adapters.crypto.vectors import read_vectors

from vault_adapters.crypto import local_key
from vault_adapters.crypto.local_key import (
    LocalMasterKey,
    as_encryption_secret,
    generate_encryption_secret,
    new_record,
    open_record,
)
from vault_adapters.crypto.scrypt_parameters import ScryptParameters
from vault_domain.entities.errors import ConfigurationError
from vault_domain.entities.secret import Secret

VECTORS = read_vectors("local-master-key")
SECRET = Secret("0123456789abcdef0123456789abcdef")
CHEAP = 14


@pytest.fixture
def no_scrypt(monkeypatch):
    """Fail the test if scrypt runs."""

    def scrypt(*args, **kwargs):
        raise AssertionError("scrypt ran")

    monkeypatch.setattr("hashlib.scrypt", scrypt)


@pytest.mark.real_scrypt
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"2^{vector['log2_n']}")
class TestVectors:
    async def test_derivation(self, vector):
        parameters = ScryptParameters(vector["log2_n"], bytes.fromhex(vector["salt"]))
        root = local_key._root(Secret(vector["secret"]), parameters)
        assert root.hex() == vector["root"]
        assert local_key._block(root, b"tokenvault/v1/kek-wrap")[:32].hex() == vector["wrap_key"]
        derived = local_key._derive_now(Secret(vector["secret"]), parameters)
        assert derived.check_value.hex() == vector["check_value"]
        assert derived.key.key_id.hex() == vector["key_id"]

    async def test_the_wrap_key_is_the_one_that_wraps(self, vector):
        derived = local_key._derive_now(
            Secret(vector["secret"]), ScryptParameters(vector["log2_n"], bytes.fromhex(vector["salt"]))
        )
        same = LocalMasterKey(bytes.fromhex(vector["wrap_key"]), bytes.fromhex(vector["key_id"]))
        wrapped = await derived.key.wrap(b"d" * 32, "t", bytes(16))
        assert await same.unwrap(wrapped, "t", bytes(16)) == b"d" * 32


async def test_the_published_wrap_is_read():
    (vector,) = [vector for vector in read_vectors("envelope-v1") if vector["purpose"] == 2]
    key = LocalMasterKey(bytes.fromhex(vector["key"]), bytes.fromhex(vector["key_id"]))
    _, tenant_id, data_key_id = vector["context"]
    data_key = await key.unwrap(bytes.fromhex(vector["blob"]), tenant_id, bytes.fromhex(data_key_id))
    assert data_key.hex() == vector["plaintext_hex"]


async def test_a_new_record_opens_with_its_secret_only():
    record, key = await new_record(SECRET, CHEAP)
    assert (record.provider, record.uri, record.key_id) == ("local", "", key.key_id)
    assert (await open_record(record, Secret(SECRET.reveal()))).key_id == key.key_id
    assert await open_record(record, Secret(SECRET.reveal() + " ")) is None


async def test_records_of_one_secret_differ():
    first, second = [(await new_record(SECRET, CHEAP))[0] for _ in range(2)]
    assert first.key_id != second.key_id
    assert first.kdf != second.kdf


class TestStoredParameters:
    async def test_their_form(self):
        record, _ = await new_record(SECRET, CHEAP)
        members = json.loads(record.kdf)
        assert len(bytes.fromhex(members.pop("salt"))) == 32
        assert members == {"name": "scrypt", "log2_n": CHEAP, "r": 8, "p": 1}
        assert ScryptParameters.from_json(record.kdf).to_json() == record.kdf

    @pytest.mark.parametrize(
        "change",
        [
            {"log2_n": 13},
            {"log2_n": 19},
            {"log2_n": 63},
            {"log2_n": -1},
            {"log2_n": "17"},
            {"log2_n": 17.0},
            {"log2_n": True},
            {"log2_n": None},
            {"r": 1},
            {"r": 1 << 30},
            {"p": 2},
            {"name": "pbkdf2"},
            {"salt": ""},
            {"salt": "00" * 31},
            {"salt": "00" * 33},
            {"salt": "0g" * 32},
            {"salt": " 0" * 32},
            {"salt": None},
            {"extra": 1},
        ],
        ids=json.dumps,
    )
    async def test_unacceptable_ones_are_refused_before_scrypt(self, no_scrypt, change):
        members = json.loads(ScryptParameters(CHEAP, bytes(32)).to_json()) | change
        await self.refused(json.dumps(members))

    @pytest.mark.parametrize("text", ["", "{}", "[]", "null", "{", "[" * 100_000, '"scrypt"', "NaN"])
    async def test_what_is_no_record_is_refused_before_scrypt(self, no_scrypt, text):
        await self.refused(text)

    async def refused(self, kdf):
        record = local_key.MasterKeyRecord(bytes(16), "local", kdf=kdf, check_value=bytes(32))
        with pytest.raises(ConfigurationError) as caught:
            await open_record(record, SECRET)
        assert caught.value.code == "kdf_parameters"
        assert caught.value.__context__ is None

    async def test_edits_within_range_do_not_open(self):
        record, _ = await new_record(SECRET, CHEAP)
        members = json.loads(record.kdf)
        salt = "ff" + members["salt"][2:] if members["salt"][:2] != "ff" else "00" + members["salt"][2:]
        for change in ({"log2_n": CHEAP + 1}, {"salt": salt}):
            assert await open_record(evolve(record, kdf=json.dumps(members | change)), SECRET) is None
        assert await open_record(evolve(record, check_value=bytes(32)), SECRET) is None
        assert await open_record(evolve(record, check_value=b""), SECRET) is None
        assert await open_record(evolve(record, key_id=bytes(16)), SECRET) is None

    @pytest.mark.parametrize("log2_n", [13, 19, 0, True, "14"])
    async def test_a_configured_cost_out_of_range_is_refused(self, no_scrypt, log2_n):
        with pytest.raises(ConfigurationError):
            await new_record(SECRET, log2_n)

    async def test_too_little_memory_is_an_error_without_the_secret(self, monkeypatch):
        def scrypt(*args, **kwargs):
            raise MemoryError

        monkeypatch.setattr("hashlib.scrypt", scrypt)
        with pytest.raises(ConfigurationError) as caught:
            await new_record(SECRET, CHEAP)
        assert caught.value.code == "scrypt_memory"
        assert caught.value.__context__ is None


class TestSecretRules:
    @pytest.mark.parametrize(
        "text",
        ["a" * 32, "a" * 33, " " * 32, "\t" + "a" * 30 + "\n", "🔑" * 16, "é" * 32, "e\u0301" * 16, "\0" * 32],
        ids=ascii,
    )
    def test_accepted_as_they_are(self, text):
        assert as_encryption_secret(text).reveal() == text
        secret = Secret(text)
        assert as_encryption_secret(secret) is secret

    @pytest.mark.parametrize("text", ["", "a" * 31, "🔑" * 15, "🔑" * 15 + "a"], ids=ascii)
    def test_too_short(self, text):
        for value in (text, Secret(text)):
            with pytest.raises(ConfigurationError) as caught:
                as_encryption_secret(value)
            assert caught.value.code == "encryption_secret_short"

    @pytest.mark.parametrize("text", ["\ud800" + "a" * 40, "a" * 40 + "\udfff", "a" * 70_000, b"a" * 40, None, 5])
    def test_unacceptable(self, text):
        with pytest.raises(ConfigurationError) as caught:
            as_encryption_secret(text)
        assert caught.value.code == "encryption_secret_invalid"
        assert caught.value.__context__ is None
        assert "text" not in caught.traceback[-1].frame.f_locals

    async def test_neither_stripped_nor_normalised(self):
        composed, decomposed = "\u00e9" * 32, "e\u0301" * 32
        record, _ = await new_record(Secret(composed), CHEAP)
        assert await open_record(record, Secret(decomposed)) is None
        record, _ = await new_record(Secret("a" * 32 + "\n"), CHEAP)
        assert await open_record(record, Secret("a" * 32)) is None

    def test_a_generated_one(self):
        generated = {generate_encryption_secret() for _ in range(50)}
        assert len(generated) == 50
        assert all(as_encryption_secret(text) and len(text) == 56 for text in generated)


@pytest.mark.real_scrypt
@pytest.mark.parametrize(
    ("secret", "cost"),
    [
        (generate_encryption_secret(), 14),
        (generate_encryption_secret()[:-1] + "x", 15),
        ("tvs1_" + "password" * 5 + "abc" + "01234567", 15),
        (generate_encryption_secret() + "\n", 15),
        ("0123456789abcdef0123456789abcdef", 15),
    ],
    ids=["generated", "changed", "made up", "with a line end", "another form"],
)
async def test_only_a_secret_that_proves_its_randomness_is_derived_at_the_lowest_cost(secret, cost):
    record, key = await new_record(Secret(secret), 15)
    assert ScryptParameters.from_json(record.kdf).log2_n == cost
    assert (await open_record(record, Secret(secret))).key_id == key.key_id


@pytest.mark.real_scrypt
async def test_scrypt_leaves_the_event_loop_alone():
    import asyncio

    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.001)

    counting = asyncio.create_task(count())
    await new_record(SECRET, 15)
    counting.cancel()
    assert turns > 3


async def test_nothing_shows_the_key():
    record, key = await new_record(SECRET, CHEAP)
    assert repr(key) == f"LocalMasterKey(key_id={key.key_id.hex()})"
    assert record.check_value.hex() not in repr(record)
    assert not hasattr(key, "__dict__")
    with pytest.raises(TypeError):
        pickle.dumps(key)
