"""A key of a hardware security module: SoftHSM, which Debian has, stands for one."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from vault_adapters import TokenKey, TokenKind, Tuning, VaultConfig, generate_encryption_secret, open_vault
from vault_adapters.crypto.pkcs11_key import Pkcs11MasterKey
from vault_adapters.crypto.service_tokens import ServiceTokens
from vault_domain.entities.errors import ConfigurationError, KeyUnavailableError
from vault_domain.ports.cipher import UnreadableError

pkcs11 = pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed")

MODULES = [Path("/usr/lib/softhsm/libsofthsm2.so"), *Path("/usr/lib").glob("*/softhsm/libsofthsm2.so")]
MODULE = next((str(path) for path in MODULES if path.exists()), None)
if MODULE is None or shutil.which("softhsm2-util") is None:
    pytest.skip("SoftHSM is not installed (Debian: softhsm2)", allow_module_level=True)

DATA_KEY, KEY_ID = bytes(range(32)), bytes(16)
PIN = "5678"


@pytest.fixture(scope="module")
def token(tmp_path_factory):
    """Make a token with a key; the module reads its configuration when it is loaded, so there is one for all tests."""
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n")
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    make = ["softhsm2-util", "--init-token", "--free", "--label", "acme", "--so-pin", "1234", "--pin", PIN]
    subprocess.run(make, check=True, capture_output=True)
    token = pkcs11.lib(MODULE).get_token(token_label="acme")
    with token.open(rw=True, user_pin=PIN) as session:
        session.generate_key(pkcs11.KeyType.AES, 256, label="kek", store=True)
        session.generate_key(pkcs11.KeyType.AES, 256, label="short-lived", store=True)
    yield token
    del os.environ["SOFTHSM2_CONF"]


@pytest.fixture
def key_of(token, tmp_path):
    path = tmp_path / "tokens.json"

    def key_of(name="kek", pin=PIN):
        path.write_text(json.dumps({"pkcs11:token=acme": {"module": MODULE, "pin": pin}}))
        return Pkcs11MasterKey(f"pkcs11:token=acme;object={name}", ServiceTokens(path).entry)

    return key_of


async def test_a_data_key_comes_back_for_its_own_tenant_and_id_only(key_of):
    key = key_of()
    wrapped = await key.wrap(DATA_KEY, "t1", KEY_ID)
    assert DATA_KEY not in wrapped
    assert await key.unwrap(wrapped, "t1", KEY_ID) == DATA_KEY
    await key.check()
    assert await key.wrap(DATA_KEY, "t1", KEY_ID) != wrapped
    for tenant_id, key_id in (("t2", KEY_ID), ("t1", bytes(15) + b"x")):
        # SoftHSM calls a wrong tag a general error, which another module may have for other reasons too.
        with pytest.raises((UnreadableError, KeyUnavailableError)):
            await key.unwrap(wrapped, tenant_id, key_id)
    with pytest.raises(UnreadableError):
        await key.unwrap(wrapped[:-1], "t1", KEY_ID)


async def test_a_key_that_was_removed_or_a_wrong_pin_is_a_denial(token, key_of):
    key = key_of("short-lived")
    await key.check()
    with token.open(rw=True, user_pin=PIN) as session:
        session.get_key(label="short-lived").destroy()
    for denied in (key, key_of("never-was"), key_of(pin="0000")):
        with pytest.raises(ConfigurationError) as caught:
            await denied.check()
        assert caught.value.code == "key_denied"
        assert "0000" not in str(caught.value)


async def test_a_tenants_key_in_a_module(token, key_of, tmp_path):
    with token.open(rw=True, user_pin=PIN) as session:
        session.generate_key(pkcs11.KeyType.AES, 256, label="tenants", store=True)
    await key_of("tenants").check()
    key, tuning = TokenKey("t1", "acme", TokenKind.API_KEY), Tuning(key_service_tokens=tmp_path / "tokens.json")
    url, secret = f"sqlite:///{tmp_path}/vault.db", generate_encryption_secret()
    async with open_vault(VaultConfig(url, encryption_secret=secret, tuning=tuning)) as vault:
        await vault.store_token(key, "value")
        assert (await vault.keys.set_tenant_master_key("t1", "pkcs11:token=acme;object=tenants")).moved == 1
    async with open_vault(VaultConfig(url, encryption_secret=secret, tuning=tuning)) as vault:
        assert (await vault.get_token(key)).value.reveal() == "value"
    with token.open(rw=True, user_pin=PIN) as session:
        session.get_key(label="tenants").destroy()
    async with open_vault(VaultConfig(url, encryption_secret=secret, tuning=tuning)) as vault:
        with pytest.raises(KeyUnavailableError) as caught:
            await vault.get_token(key)
        assert caught.value.reason == "key_denied"


async def test_the_whole_vault_under_a_key_in_a_module(key_of, tmp_path):
    await key_of().check()  # writes the file with the PIN
    key, tuning = TokenKey("t1", "acme", TokenKind.API_KEY), Tuning(key_service_tokens=tmp_path / "tokens.json")
    config = VaultConfig(f"sqlite:///{tmp_path}/vault.db", master_key="pkcs11:token=acme;object=kek", tuning=tuning)
    async with open_vault(config) as vault:
        await vault.store_token(key, "value")
    async with open_vault(config) as vault:
        assert (await vault.get_token(key)).value.reveal() == "value"
        assert (await vault.ready()).ok
    (tmp_path / "tokens.json").unlink()
    async with open_vault(config) as vault:
        with pytest.raises(ConfigurationError) as caught:
            await vault.get_token(key)
        assert caught.value.code == "key_service_tokens"


def test_a_name_that_is_none_or_holds_a_pin_is_refused():
    for uri in ("pkcs11:", "pkcs11:token=a", "pkcs11:token=a;object=b?pin-value=5678", "pkcs11:object=b;token=a"):
        with pytest.raises(ConfigurationError) as caught:
            Pkcs11MasterKey(uri, ServiceTokens().entry)
        assert "5678" not in str(caught.value)


async def test_without_an_entry_in_the_file_nothing_is_loaded():
    with pytest.raises(ConfigurationError) as caught:
        await Pkcs11MasterKey("pkcs11:token=acme;object=kek", ServiceTokens().entry).check()
    assert caught.value.code == "pkcs11_pin_missing"
