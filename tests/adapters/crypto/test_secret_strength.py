"""The estimate of a secret's entropy: it refuses obvious secrets and accepts random ones."""

import secrets
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vault_adapters import ConfigurationError, Secret, generate_encryption_secret
from vault_adapters.crypto.bootstrap import open_master_keys
from vault_adapters.crypto.secret_strength import LEAST_BITS, estimated_bits, refuse_weak

WEAK = ["a" * 32, "a" * 64_000, "a" * 31 + "b", "ab" * 16, "password" * 4, "0123456789" * 4, " " * 40, "0" * 31 + "\n"]


@pytest.mark.parametrize("text", WEAK, ids=range(len(WEAK)))
def test_the_obvious_is_refused(text):
    with pytest.raises(ConfigurationError) as caught:
        refuse_weak(Secret(text))
    assert caught.value.code == "encryption_secret_weak"
    assert text[:8] not in str(caught.value)


def test_random_secrets_pass():
    alphabets = (string.hexdigits[:16], string.digits, string.ascii_lowercase, string.ascii_letters + string.digits)
    for _ in range(2000):
        for text in ("".join(secrets.choice(alphabet) for _ in range(32)) for alphabet in alphabets):
            refuse_weak(Secret(text))
    for text in (
        "correct horse battery staple and more",
        "3f1e" * 8 + "0a9b8c7d" * 4,
        "an encryption secret for tests",
    ):
        refuse_weak(Secret(text))


def test_generated_secrets_pass():
    for _ in range(5000):
        assert estimated_bits(Secret(generate_encryption_secret())) > 3 * LEAST_BITS


@given(st.binary(min_size=32, max_size=32).filter(lambda raw: len(set(raw)) >= 20))
@settings(max_examples=300, deadline=None)
def test_any_base64_of_32_bytes_that_differ_passes(raw):
    import base64

    refuse_weak(Secret(base64.urlsafe_b64encode(raw).decode().rstrip("=")))


@given(st.text("ab", min_size=1, max_size=8), st.integers(8, 40))
@settings(deadline=None)
def test_repeating_adds_nothing(text, times):
    assert estimated_bits(Secret(text * times)) <= len(text) + 1e-9


async def test_a_vault_refuses_it_as_its_secret_only(repository):
    weak = Secret("a" * 32)
    with pytest.raises(ConfigurationError) as caught:
        await open_master_keys(repository, secret=weak, scrypt_log2_n=14)
    assert caught.value.code == "encryption_secret_weak"
    good = Secret(generate_encryption_secret())
    await open_master_keys(repository, secret=good, previous_secret=weak, scrypt_log2_n=14)
