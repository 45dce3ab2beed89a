"""Keys of Azure Key Vault, against a stand-in that follows the published interface, with Microsoft's own libraries."""

import json
import logging
import time
import traceback

import pytest
from tests.support.azure_key_server import SECRET, VAULT, running

from vault_adapters.crypto.azure_key import AzureMasterKey
from vault_adapters.crypto.key_services import vault_key
from vault_adapters.crypto.service_tokens import ServiceTokens
from vault_domain.entities.errors import ConfigurationError, KeyUnavailableError
from vault_domain.ports.cipher import UnreadableError

DATA_KEY, KEY_ID = bytes(range(32)), bytes(16)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("azure")) as server:
        yield server


@pytest.fixture(autouse=True)
def environment(server, monkeypatch):
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["rsa", "aes"])
def name(request):
    return f"{request.param}-{request.node.name.split('[')[0][5:].replace('_', '-')}"[:100]


@pytest.fixture
def key(server, tmp_path, name):
    server.make(name, "ok")
    return AzureMasterKey(server.uri(name), ServiceTokens(server.tokens(tmp_path)).entry)


def leaked(error):
    """Return the secrets that a traceback with the values of variables shows."""
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    return [secret for secret in (repr(DATA_KEY)[2:30], "AAECAwQFBgcICQoL", "eyJ.", SECRET) if secret in shown]


async def test_a_data_key_comes_back_for_its_own_tenant_and_id_only(key):
    wrapped = await key.wrap(DATA_KEY, "t1", KEY_ID)
    assert DATA_KEY not in wrapped
    assert await key.unwrap(wrapped, "t1", KEY_ID) == DATA_KEY
    await key.check()
    for tenant_id, key_id in (("t2", KEY_ID), ("t1", bytes(15) + b"x")):
        with pytest.raises(UnreadableError):
            await key.unwrap(wrapped, tenant_id, key_id)
    version = wrapped.partition(b"\x00")[0]
    for changed in (wrapped[:-1], b"../secrets/x\x00" + wrapped[33:], version + b"\x00", version, b"", bytes(2000)):
        with pytest.raises(UnreadableError):
            await key.unwrap(changed, "t1", KEY_ID)
    with pytest.raises(ConfigurationError):  # a version that the vault does not have
        await key.unwrap(b"0" * 32 + wrapped[32:], "t1", KEY_ID)


async def test_a_new_version_wraps_and_the_old_one_unwraps_until_it_is_disabled(server, key, name):
    old = await key.wrap(DATA_KEY, "t1", KEY_ID)
    server.make(name, "rotate")
    new = await key.wrap(DATA_KEY, "t1", KEY_ID)
    assert old.partition(b"\x00")[0] != new.partition(b"\x00")[0]
    assert await key.unwrap(old, "t1", KEY_ID) == await key.unwrap(new, "t1", KEY_ID) == DATA_KEY
    server.make(name, "retire")
    assert await key.unwrap(new, "t1", KEY_ID) == DATA_KEY
    with pytest.raises(ConfigurationError) as caught:
        await key.unwrap(old, "t1", KEY_ID)
    assert caught.value.code == "key_denied"


@pytest.mark.parametrize(
    ("mode", "error", "told"),
    [
        ("denied", ConfigurationError, "key_denied"),
        ("disabled", ConfigurationError, "key_denied"),
        ("gone", ConfigurationError, "key_denied"),
        ("deleting", ConfigurationError, "key_denied"),
        ("elsewhere", ConfigurationError, "azure_credentials"),
        ("throttled", KeyUnavailableError, "azure_throttled"),
        ("down", KeyUnavailableError, "azure_unavailable"),
        ("another", KeyUnavailableError, "azure_corrupted"),
        ("unnamed", KeyUnavailableError, "azure_corrupted"),
    ],
)
@pytest.mark.parametrize("name", ["rsa"], indirect=True)
async def test_a_refusal_is_told_without_the_data_key(server, key, name, mode, error, told):
    """A key that is disabled wraps nothing either, although its public half could."""
    wrapped = await key.wrap(DATA_KEY, "t1", KEY_ID)
    server.make(name, mode)
    calls = [key.unwrap(wrapped, "t1", KEY_ID)]
    if mode != "another":  # a wrap under another version is not told from one under the newest
        calls.append(key.wrap(DATA_KEY, "t1", KEY_ID))
    for call in calls:
        with pytest.raises(error) as caught:
            await call
        assert told in (caught.value.code, caught.value.reason)
        assert leaked(caught.value) == []


@pytest.mark.parametrize("name", ["rsa"], indirect=True)
async def test_a_service_that_hangs_costs_a_few_seconds(server, key, name):
    server.make(name, "hang")
    began = time.monotonic()
    with pytest.raises(KeyUnavailableError):
        await key.wrap(DATA_KEY, "t1", KEY_ID)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("name", ["rsa"], indirect=True)
async def test_a_client_whose_secret_is_wrong(server, tmp_path, name):
    """A new secret in the file is used at the next call."""
    key = AzureMasterKey(server.uri(name), ServiceTokens(server.tokens(tmp_path, "wrong-secret")).entry)
    with pytest.raises(ConfigurationError) as caught:
        await key.check()
    assert caught.value.code == "azure_credentials"
    assert leaked(caught.value) == []
    (tmp_path / "tokens.json").write_text(json.dumps({f"https://{VAULT}": {"tenant_id": "x"}}))
    with pytest.raises(ConfigurationError) as caught:
        await key.check()
    assert caught.value.code == "azure_credentials"
    server.tokens(tmp_path)
    await key.check()


@pytest.mark.parametrize("name", ["rsa"], indirect=True)
async def test_no_log_has_the_data_key(key, caplog):
    with caplog.at_level(logging.DEBUG):
        await key.unwrap(await key.wrap(DATA_KEY, "t1", KEY_ID), "t1", KEY_ID)
    for secret in ("AAECAwQFBgcICQoL", repr(DATA_KEY)[2:30], SECRET):
        assert secret not in caplog.text


def test_a_whole_vault_needs_a_key_under_which_only_the_service_wraps(server):
    with pytest.raises(ConfigurationError) as caught:
        vault_key(server.uri("rsa"))
    assert caught.value.code == "azure_key_type"
    assert vault_key(server.uri("aes")).is_symmetric


@pytest.mark.parametrize(
    "uri",
    [
        "azure-kv:",
        "azure-kv:http://acme.vault.azure.net/keys/k",
        "azure-kv:https://acme.vault.azure.net/secrets/k",
        "azure-kv:https://acme.vault.azure.net/keys/k/0123",
        "azure-kv:https://user:hunter2@acme.vault.azure.net/keys/k",
        "azure-kv:https://acme.vault.azure.net/keys/k;alg=RSA1_5",
        "azure-kv:https://acme.vault.azure.net/keys/k\n",
    ],
)
def test_a_name_that_is_none_is_refused_and_not_repeated(uri):
    with pytest.raises(ConfigurationError) as caught:
        AzureMasterKey(uri, ServiceTokens().entry)
    assert "acme" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
