"""A key of Google Cloud KMS, against a stand-in that follows the published interface."""

import asyncio
import json
import logging
import time
import traceback

import pytest
from tests.support.google_kms_server import PROJECT, new_private_key, running

from vault_adapters.crypto.crc32c import crc32c
from vault_adapters.crypto.google_kms import GoogleMasterKey
from vault_adapters.crypto.service_tokens import ServiceTokens
from vault_domain.entities.errors import ConfigurationError, KeyUnavailableError
from vault_domain.ports.cipher import UnreadableError

DATA_KEY, KEY_ID = bytes(range(32)), bytes(16)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("google")) as server:
        yield server


@pytest.fixture
def name(request):
    return request.node.name.split("[")[0][5:60]


@pytest.fixture
def key(server, tmp_path, name):
    server.make(name, "ok")
    return GoogleMasterKey(server.uri(name), ServiceTokens(server.tokens(tmp_path)).entry)


def leaked(error):
    """Return the secrets that a traceback with the values of variables shows."""
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    secrets = (repr(DATA_KEY)[2:30], "AAECAwQFBgcICQoL", "ya29.", "BEGIN PRIVATE", "Invalid JWT")
    return [secret for secret in secrets if secret in shown]


def test_the_checksum_is_the_published_one():
    """The values of RFC 3720, B.4."""
    assert crc32c(b"") == 0
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(bytes(range(32))) == 0x46DD794E


async def test_a_data_key_comes_back_for_its_own_tenant_and_id_only(key):
    wrapped = await key.wrap(DATA_KEY, "t1", KEY_ID)
    assert DATA_KEY not in wrapped
    assert await key.unwrap(wrapped, "t1", KEY_ID) == DATA_KEY
    await key.check()
    for tenant_id, key_id in (("t2", KEY_ID), ("t1", bytes(15) + b"x")):
        with pytest.raises(UnreadableError):
            await key.unwrap(wrapped, tenant_id, key_id)


async def test_a_new_version_wraps_and_the_old_one_unwraps_until_it_is_disabled(server, key, name):
    old = await key.wrap(DATA_KEY, "t1", KEY_ID)
    server.make(name, "rotate")
    new = await key.wrap(DATA_KEY, "t1", KEY_ID)
    assert (old[0], new[0]) == (0, 1)  # the stand-in writes the version first
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
        ("expired", ConfigurationError, "gcp_credentials"),
        ("throttled", KeyUnavailableError, "gcp_throttled"),
        ("down", KeyUnavailableError, "gcp_unavailable"),
    ],
)
async def test_a_refusal_is_told_without_the_data_key(server, key, name, mode, error, told):
    wrapped = await key.wrap(DATA_KEY, "t1", KEY_ID)
    server.make(name, mode)
    for call in (key.wrap(DATA_KEY, "t1", KEY_ID), key.unwrap(wrapped, "t1", KEY_ID)):
        with pytest.raises(error) as caught:
            await call
        assert told in (caught.value.code, caught.value.reason)
        assert leaked(caught.value) == []


@pytest.mark.parametrize("mode", ["wrong_crc", "flipped", "unverified", "renamed"])
async def test_an_answer_that_was_changed_on_its_way_is_refused(server, key, name, mode):
    wrapped = await key.wrap(DATA_KEY, "t1", KEY_ID)
    server.make(name, mode)
    with pytest.raises(KeyUnavailableError) as caught:
        await key.wrap(DATA_KEY, "t1", KEY_ID)
    assert caught.value.reason == "gcp_corrupted"
    if mode in ("wrong_crc", "flipped"):
        with pytest.raises(KeyUnavailableError) as caught:
            await key.unwrap(wrapped, "t1", KEY_ID)
        assert caught.value.reason == "gcp_corrupted"


async def test_a_service_that_hangs_costs_a_few_seconds(server, key, name):
    server.make(name, "hang")
    began = time.monotonic()
    with pytest.raises(KeyUnavailableError):
        await key.wrap(DATA_KEY, "t1", KEY_ID)
    assert time.monotonic() - began < 6


async def test_an_account_that_google_does_not_know(server, tmp_path, name):
    """Its assertion is signed by another key; a new file is read at the next call."""
    key = GoogleMasterKey(server.uri(name), ServiceTokens(server.tokens(tmp_path, new_private_key()[0])).entry)
    with pytest.raises(ConfigurationError) as caught:
        await key.wrap(DATA_KEY, "t1", KEY_ID)
    assert caught.value.code == "gcp_credentials"
    assert leaked(caught.value) == []
    await asyncio.sleep(0.01)
    server.tokens(tmp_path)
    await key.check()


async def test_without_credentials(tmp_path, server, name):
    path = tmp_path / "tokens"
    for entry, code in (
        ({"credentials": str(tmp_path / "missing"), "endpoint": server.address}, "gcp_credentials"),
        ({"endpoint": "http://kms.example"}, "gcp_endpoint"),
        ({"endpoint": "https://kms.example/path?x"}, "gcp_endpoint"),
    ):
        path.write_text(json.dumps({f"gcp-kms:projects/{PROJECT}": entry}))
        with pytest.raises(ConfigurationError) as caught:
            await GoogleMasterKey(server.uri(name), ServiceTokens(path).entry).check()
        assert caught.value.code == code


async def test_no_log_has_the_data_key(key, caplog):
    with caplog.at_level(logging.DEBUG):
        await key.unwrap(await key.wrap(DATA_KEY, "t1", KEY_ID), "t1", KEY_ID)
    for secret in ("AAECAwQFBgcICQoL", repr(DATA_KEY)[2:30], "ya29."):
        assert secret not in caplog.text


@pytest.mark.parametrize(
    "uri",
    [
        "gcp-kms:",
        "gcp-kms:projects/p/locations/l/keyRings/r",
        "gcp-kms:projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
        "gcp-kms:projects/p/locations/l/keyRings/../cryptoKeys/k",
        "gcp-kms:projects/p/locations/l/keyRings/r/cryptoKeys/k?hunter2",
        "gcp-kms:projects/p/locations/l/keyRings/r/cryptoKeys/k\n",
    ],
)
def test_a_name_that_is_none_is_refused_and_not_repeated(uri):
    with pytest.raises(ConfigurationError) as caught:
        GoogleMasterKey(uri, ServiceTokens().entry)
    assert "hunter2" not in str(caught.value)
