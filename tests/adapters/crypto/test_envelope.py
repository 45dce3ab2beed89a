"""The envelope: test vectors, and a blob that opens only unchanged and in its own context."""

import copy
import gc
import hmac
import pickle
import traceback

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from tests.adapters.crypto.vectors import read_vectors

from vault_adapters.crypto.context import ContextEncoder, beside
from vault_adapters.crypto.envelope import EnvelopeKey, Purpose, encode_context
from vault_domain.entities.account import TokenKey, TokenKind
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.extra import decoded_extra
from vault_domain.entities.secret import Secret
from vault_domain.ports.cipher import UnreadableError

VECTORS = read_vectors("envelope-v1") + read_vectors("extra-v1")
KEY = bytes(range(32))
KEY_ID = bytes(range(100, 116))
PLACE = ("tenant-1", "github", "access_token", "alice@example.com")
CONTEXT = encode_context(*PLACE)
PLAINTEXT = b"gho_16C7e42F292c6912E7710c838347Ae178B4a"


def envelope_key(key=KEY, key_id=KEY_ID, purpose=Purpose.VALUE):
    return EnvelopeKey(key, key_id, purpose)


def key_of(vector):
    (purpose,) = [purpose for purpose in Purpose if purpose.value[0] == vector["purpose"]]
    return envelope_key(bytes.fromhex(vector["key"]), bytes.fromhex(vector["key_id"]), purpose)


def reason(blob, context=CONTEXT, key=None):
    with pytest.raises(UnreadableError) as caught:
        (key or envelope_key()).open(blob, context)
    return caught.value.reason


@pytest.fixture(scope="module")
def blob():
    return envelope_key().seal(PLAINTEXT, CONTEXT)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
class TestVectors:
    def test_context(self, vector):
        assert encode_context(*vector["context"]).hex() == vector["context_encoded"]

    def test_read(self, vector):
        opened = key_of(vector).open(bytes.fromhex(vector["blob"]), encode_context(*vector["context"]))
        assert opened.hex() == vector["plaintext_hex"]

    def test_write(self, vector):
        random = bytes.fromhex(vector["salt"] + vector["nonce"])
        sealed = key_of(vector)._seal(
            bytes.fromhex(vector["plaintext_hex"]), encode_context(*vector["context"]), random
        )
        assert sealed.hex() == vector["blob"]
        assert sealed[48:80].hex() == vector["commitment"]

    def test_the_description_of_the_format_suffices(self, vector):
        """Read the vector with nothing but HMAC and AES-GCM."""
        blob, context = bytes.fromhex(vector["blob"]), bytes.fromhex(vector["context_encoded"])
        label = {1: b"tokenvault/v1/value", 2: b"tokenvault/v1/dek-wrap"}[vector["purpose"]]
        fixed = b"\0\0\0\1" + label + b"\0" + blob[:48] + context + b"\0\0\2\0"
        derived = hmac.digest(bytes.fromhex(vector["key"]), fixed, "sha512")
        assert (derived[:32].hex(), derived[32:].hex()) == (vector["subkey"], vector["commitment"])
        padded = AESGCM(derived[:32]).decrypt(blob[36:48], blob[80:], blob[:80] + context)
        assert padded.rstrip(b"\0")[:-1].hex() == vector["plaintext_hex"]

    def test_another_purpose_does_not_read_it(self, vector):
        key = key_of(vector)
        other, _ = [purpose for purpose in Purpose if purpose.value[0] != vector["purpose"]]
        context = encode_context(*vector["context"])
        blob = bytes.fromhex(vector["blob"])
        elsewhere = envelope_key(bytes.fromhex(vector["key"]), key.key_id, other)

        assert reason(blob, context, elsewhere) == "header"
        # Changing the header to match does not help, because each purpose derives its keys with its own label.
        assert reason(blob[:3] + bytes([other.value[0]]) + blob[4:], context, elsewhere) == "commitment"


class TestRoundTrip:
    @given(st.binary(max_size=200))
    def test_any_plaintext(self, plaintext):
        key = envelope_key()
        assert key.open(key.seal(plaintext, CONTEXT), CONTEXT) == plaintext

    @given(st.lists(st.text(st.characters(codec="utf-8"), max_size=40), min_size=4, max_size=4))
    def test_any_context(self, parts):
        key, context = envelope_key(), encode_context(*parts)
        assert key.open(key.seal(PLAINTEXT, context), context) == PLAINTEXT

    @pytest.mark.parametrize("size", [0, 1, 30, 31, 32, 33, 63, 64, 64 * 1024 - 1, 64 * 1024])
    def test_sizes(self, size):
        key = envelope_key()
        blob = key.seal(b"\x80" * size, CONTEXT)
        assert len(blob) == 80 + (size // 32 + 1) * 32 + 16
        assert key.open(blob, CONTEXT) == b"\x80" * size

    @pytest.mark.parametrize("plaintext", [b"\x80", b"\x00", b"\x80" + bytes(31), bytes(32), b"a\x80\x00\x00"])
    def test_what_looks_like_padding(self, plaintext):
        key = envelope_key()
        assert key.open(key.seal(plaintext, CONTEXT), CONTEXT) == plaintext

    def test_too_long_a_value_is_refused(self):
        with pytest.raises(InvalidInputError):
            envelope_key().seal(bytes(64 * 1024 + 1), CONTEXT)

    def test_every_envelope_differs(self):
        key = envelope_key()
        blobs = {key.seal(PLAINTEXT, CONTEXT) for _ in range(100)}
        assert len({blob[20:36] for blob in blobs}) == 100
        assert len({blob[36:48] for blob in blobs}) == 100

    def test_length_is_hidden_up_to_a_block(self):
        key = envelope_key()
        assert len({len(key.seal(bytes(size), CONTEXT)) for size in range(32)}) == 1


class TestTampering:
    def test_every_bit(self, blob):
        for bit in range(len(blob) * 8):
            changed = bytearray(blob)
            changed[bit // 8] ^= 1 << bit % 8
            found = reason(bytes(changed))
            place = bit // 8
            expected = (
                {"header"} if place < 4 else {"key_id"} if place < 20 else {"commitment"} if place < 80 else {"tag"}
            )
            assert {found} == expected, place

    def test_every_truncation(self, blob):
        for size in range(len(blob)):
            assert reason(blob[:size]) in {"header", "size", "tag"}
            assert reason(blob[len(blob) - size :]) in {"header"}

    @pytest.mark.parametrize("extra", [1, 16, 31, 32, 64, 1 << 20])
    def test_extension(self, blob, extra):
        assert reason(blob + bytes(extra)) in {"size", "tag"}
        assert reason(bytes(extra) + blob) == "header"

    @pytest.mark.parametrize("position", range(4))
    def test_every_context_element(self, blob, position):
        changed = list(PLACE)
        changed[position] += "x"
        assert reason(blob, encode_context(*changed)) == "commitment"

    def test_shifted_context_elements(self, blob):
        assert reason(blob, encode_context("tenant-1g", "ithub", *PLACE[2:])) == "commitment"
        assert reason(blob, encode_context(*PLACE, "")) == "commitment"

    def test_another_key(self, blob):
        assert reason(blob, key=envelope_key(key=bytes(32))) == "commitment"

    def test_the_original_format_is_not_read(self):
        assert reason(b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaG9PE4VVBynYWAFNuPiQI9LPX") == "header"

    def test_the_commitment_is_checked_before_anything_is_decrypted(self, blob):
        # The tag covers the commitment too, so both checks fail; the commitment is checked first.
        assert reason(blob[:48] + bytes(32) + blob[80:]) == "commitment"

    @pytest.mark.parametrize("padding", [bytes(64), b"\x80" + bytes(63), b"\x80" + bytes(32) + bytes(31), b"a" * 64])
    def test_padding_that_no_writer_makes(self, padding):
        assert reason(sealed_without_padding(padding)) == "padding"

    def test_a_padded_block_passes(self):
        assert envelope_key().open(sealed_without_padding(b"a" * 31 + b"\x80"), CONTEXT) == b"a" * 31


class TestPlaces:
    @given(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=255),
        st.sampled_from(TokenKind),
        st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=80),
    )
    def test_places_are_encoded_as_contexts(self, tenant_id, kind, identifier):
        key = TokenKey(tenant_id, "github", kind, identifier)
        expected = encode_context(key.tenant_id, key.provider, key.kind, key.identifier or "")
        encoder = ContextEncoder(remembered=2)
        assert encoder.encode(key) == encoder.encode(key) == expected

    def test_what_is_remembered_is_bounded(self):
        encoder = ContextEncoder(remembered=2)
        for number in range(10):
            encoder.encode(TokenKey(f"tenant-{number}", "github", "api_key"))
        assert encoder._shared_part.cache_info().currsize == 2


class TestDiscretion:
    def test_nothing_shows_the_key(self):
        key = envelope_key(key=b"K" * 32)
        assert "K" * 8 not in repr(key) + str(key) + f"{key}"
        assert not hasattr(key, "__dict__")
        assert not any(b"K" * 32 in value for value in held_bytes(key))

    @pytest.mark.parametrize("carry", [pickle.dumps, copy.copy, copy.deepcopy])
    def test_it_is_not_carried_away(self, carry):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            carry(envelope_key())

    def test_tracebacks_hold_neither_subkey_nor_plaintext(self, blob):
        for broken in (blob[:-1] + bytes([blob[-1] ^ 1]), sealed_without_padding(b"S" * 64)):
            with pytest.raises(UnreadableError) as caught:
                envelope_key().open(broken, CONTEXT)
            assert caught.value.__context__ is None
            locals_ = [frame.f_locals for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
            assert all(set(names) <= {"self", "blob", "context", "opened"} for names in locals_)
            assert all(isinstance(names["opened"], str) for names in locals_)

    @pytest.mark.parametrize(("key", "key_id"), [(bytes(31), KEY_ID), (bytes(33), KEY_ID), (KEY, bytes(15))])
    def test_wrong_sizes(self, key, key_id):
        with pytest.raises(ValueError, match="32 bytes"):
            EnvelopeKey(key, key_id, Purpose.VALUE)


def sealed_without_padding(padded):
    """Return an envelope around whole blocks that were not padded."""
    blocks = EnvelopeKey(KEY, KEY_ID, Purpose.VALUE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vault_adapters.crypto.envelope._PADDING", (b"",) * 32)
        return blocks.seal(padded, CONTEXT)


def held_bytes(thing, depth=3):
    """Yield every bytes object that is reachable in a few steps."""
    for other in gc.get_referents(thing) if depth else ():
        if isinstance(other, bytes):
            yield other
        elif not isinstance(other, type):
            yield from held_bytes(other, depth - 1)


@pytest.mark.parametrize("vector", read_vectors("extra-v1"), ids=lambda vector: vector["name"])
def test_extra_members_are_bound_to_the_value_beside_them(vector):
    *place, _, _ = vector["context"]
    key = TokenKey(place[0], place[1], TokenKind(place[2]), place[3])
    value = bytes.fromhex(vector["value_blob"])
    context = beside(ContextEncoder().encode(key), value)
    assert context.hex() == vector["context_encoded"]
    extra = decoded_extra(Secret(key_of(vector).open(bytes.fromhex(vector["blob"]), context).decode()))
    assert (dict(extra), extra.token_type) == (vector["extra"], vector["token_type"])
    assert beside(ContextEncoder().encode(key), value[:47] + b"\0" + value[48:]) != context
