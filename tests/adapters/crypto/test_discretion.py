"""A traceback with locals shows no secret, no value and no key, whatever failed."""

import base64
import os
import traceback

import pytest
from attrs import evolve
from tests.adapters.crypto.open_keys import SwitchableMasterKey, cipher_over

from vault_adapters.crypto.bootstrap import open_master_keys
from vault_adapters.crypto.legacy import read_original
from vault_adapters.crypto.local_key import LocalMasterKey
from vault_domain.entities.account import TokenKey
from vault_domain.entities.errors import DecryptionError, VaultError, WrongEncryptionSecretError
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import SealedToken
from vault_domain.ports.cipher import UnreadableError

CANARY = "canary-7f3a91c2-canary-7f3a91c2-canary"
KEY = TokenKey("tenant-1", "github", "access_token")
DATA_KEY = bytes(range(200, 232))
FORMS = (CANARY, CANARY.encode().hex(), base64.b64encode(CANARY.encode()).decode(), repr(DATA_KEY)[2:-1])


def shown(error):
    """Return an error as a renderer with locals prints it, and assert that it has neither cause nor context."""
    rendered = traceback.TracebackException.from_exception(error, capture_locals=True)
    # Skip the first frame: it belongs to this module, whose locals may hold the canary.
    frames = "".join(str(frame.locals) for frame in list(rendered.stack)[1:])
    assert error.__cause__ is None
    assert error.__context__ is None
    return frames + "".join(rendered.format_exception_only()) + repr(error) + repr(vars(error))


async def failing(awaitable, kind):
    with pytest.raises(kind) as caught:
        await awaitable
    text = shown(caught.value)
    assert not any(form in text for form in FORMS), text
    return caught.value


async def test_secrets_that_do_not_fit(repository):
    await open_master_keys(repository, secret=Secret("another secret of 32 characters.."), scrypt_log2_n=14)
    await failing(open_master_keys(repository, secret=Secret(CANARY), scrypt_log2_n=14), WrongEncryptionSecretError)
    await failing(open_master_keys(repository, secret=Secret(CANARY[:20]), scrypt_log2_n=14), VaultError)
    await failing(open_master_keys(repository, secret=Secret(CANARY), scrypt_log2_n=1), VaultError)
    await failing(open_master_keys(repository, secret=Secret(CANARY), master_key="x"), VaultError)


async def test_values_that_are_opened_in_vain(repository):
    cipher = cipher_over(repository, SwitchableMasterKey())
    (sealed,) = await cipher.seal([(KEY, Secret(CANARY))])
    await failing(cipher.open(evolve(KEY, provider="gitlab"), sealed), UnreadableError)
    await failing(
        cipher.open(KEY, evolve(sealed, blob=sealed.blob[:-1] + bytes([sealed.blob[-1] ^ 1]))), UnreadableError
    )
    envelope = await cipher._keyring.find_key("tenant-1", sealed.data_key_id)
    no_text = envelope.seal(CANARY.encode() + b"\xff", cipher._contexts.encode(KEY))
    await failing(cipher.open(KEY, SealedToken(sealed.data_key_id, no_text)), UnreadableError)


async def test_values_that_cannot_be_sealed(repository):
    master = SwitchableMasterKey()
    cipher = cipher_over(repository, master)
    master.switch_off()
    value = Secret(CANARY)
    await failing(cipher.seal([(KEY, value)]), VaultError)
    master.outage = None
    await cipher.seal([(KEY, value)])
    master.switch_off()
    await failing(cipher_over(repository, master).sealer("tenant-1"), VaultError)
    master.outage = None
    (place, record), *_ = repository.data.items()
    repository.data[place] = evolve(record, wraps=(evolve(record.wraps[0], wrapped=bytes(200)),))
    await failing(cipher_over(repository, master).seal([(KEY, value)]), DecryptionError)
    seal_now = await cipher.sealer("tenant-1")
    with pytest.raises(ValueError, match="one tenant") as caught:
        seal_now(evolve(KEY, tenant_id="tenant-2"), value)
    assert not any(form in shown(caught.value) for form in FORMS)


async def test_data_keys_that_are_wrapped_or_unwrapped_in_vain():
    key = LocalMasterKey(os.urandom(32), os.urandom(16))
    wrapped = await key.wrap(DATA_KEY, "t", bytes(16))
    await failing(key.unwrap(wrapped, "u", bytes(16)), UnreadableError)
    too_long = await key.wrap(DATA_KEY + b"x", "t", bytes(16))
    await failing(key.unwrap(too_long, "t", bytes(16)), UnreadableError)
    await failing(key.wrap(DATA_KEY * 4000, "t", bytes(16)), VaultError)


def test_values_of_the_original_format_are_none_not_errors():
    assert read_original(base64.b64encode(CANARY.encode() * 3).decode(), Secret(CANARY)) is None
