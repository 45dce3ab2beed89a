"""A key of a Transit engine, against a stand-in that follows the published interface."""

import asyncio
import json
import time
import traceback
from contextlib import suppress

import pytest
from tests.support.transit_server import TOKEN, running

from vault_adapters.crypto.service_tokens import ServiceTokens
from vault_adapters.crypto.transit import TransitMasterKey
from vault_domain.entities.errors import ConfigurationError, KeyUnavailableError
from vault_domain.ports.cipher import UnreadableError

DATA_KEY, KEY_ID = bytes(range(32)), bytes(16)


@pytest.fixture(scope="module")
def server():
    with running() as server:
        yield server


@pytest.fixture
def key(server, tmp_path, request):
    return TransitMasterKey(server.uri(request.node.name.split("[")[0]), ServiceTokens(server.tokens(tmp_path)))


async def test_a_data_key_comes_back_for_its_own_tenant_and_id_only(key):
    wrapped = await key.wrap(DATA_KEY, "t1", KEY_ID)
    assert wrapped.startswith(b"vault:v1:")
    assert await key.unwrap(wrapped, "t1", KEY_ID) == DATA_KEY
    await key.check()
    for tenant_id, key_id in (("t2", KEY_ID), ("t1", bytes(15) + b"x")):
        with pytest.raises(UnreadableError):
            await key.unwrap(wrapped, tenant_id, key_id)
    for changed in (wrapped[:-4], b"vault:v1:AAAA", b"\xff", b""):
        with pytest.raises(UnreadableError):
            await key.unwrap(changed, "t1", KEY_ID)


@pytest.mark.parametrize(
    ("mode", "error", "code"),
    [
        ("denied", ConfigurationError, "key_denied"),
        ("disabled", ConfigurationError, "key_denied"),
        ("sealed", KeyUnavailableError, "key_unavailable"),
    ],
)
async def test_a_refusal_is_told_without_the_data_key(server, key, mode, error, code):
    name = "test_a_refusal_is_told_without_the_data_key"
    server.make(name, mode)
    with pytest.raises(error) as caught:
        await key.wrap(DATA_KEY, "t1", KEY_ID)
    server.make(name, "ok")
    assert caught.value.code == code
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    for secret in (repr(DATA_KEY)[2:30], "AAECAwQFBgcICQoL", TOKEN):
        assert secret not in shown


async def test_a_token_goes_to_its_own_address_only(server, tmp_path):
    """A name that leads elsewhere finds no token, so nothing is sent there."""
    path = server.tokens(tmp_path)
    elsewhere = server.address.replace("127.0.0.1", "localhost")
    with pytest.raises(ConfigurationError) as caught:
        await TransitMasterKey(f"transit:{elsewhere}/transit/elsewhere", ServiceTokens(path)).check()
    assert caught.value.code == "transit_token_missing"
    assert server.asked("elsewhere") == 0
    key = TransitMasterKey(server.uri("renewed"), ServiceTokens(path))
    path.write_text(json.dumps({server.address: {"token": "hvs.expired"}}))
    with pytest.raises(ConfigurationError) as caught:
        await key.check()
    assert caught.value.code == "key_denied"
    server.tokens(tmp_path)  # the file is read at each use
    await key.check()
    for content in (json.dumps({server.address: "text"}), json.dumps({server.address: {"token": 7}}), "{}"):
        path.write_text(content)
        with pytest.raises(ConfigurationError) as caught:
            await key.check()
        assert caught.value.code == "transit_token_missing"


async def test_a_file_of_tokens_that_cannot_be_used_is_told_as_such(server, tmp_path):
    path = server.tokens(tmp_path)
    key = TransitMasterKey(server.uri("file"), ServiceTokens(path))
    for content, why in (("", "holds no JSON"), ("hvs.secret", "holds no JSON"), ("[]", "holds no JSON object")):
        path.write_text(content)
        await _is_refused(key, why)
    path.unlink()
    await _is_refused(key, "cannot be read")
    path.mkdir()
    await _is_refused(key, "cannot be read")
    assert server.asked("file") == 0


async def _is_refused(key, why):
    with pytest.raises(ConfigurationError) as caught:
        await key.check()
    assert (caught.value.code, str(caught.value)) == (
        "key_service_tokens",
        f"the file of key_service_tokens {why}",
    )


@pytest.mark.parametrize(
    "uri",
    [
        "transit:",
        "transit:http://vault.example/transit/key",
        "transit:ftp://127.0.0.1/transit/key",
        "transit:https://vault.example/key",
        "transit:https://vault.example/../sys/key",
        "transit:https://vault.example/transit/key?x=1",
        "transit:https://127.0.0.1:99999/transit/key",
        "transit:https://user:hunter2@vault.example/transit/key",
        "transit:https://vault.example/transit/key\n",
    ],
)
def test_a_name_that_is_none_is_refused_and_not_repeated(uri):
    with pytest.raises(ConfigurationError) as caught:
        TransitMasterKey(uri, ServiceTokens())
    assert "example" not in str(caught.value).replace("<", "")
    assert "hunter2" not in str(caught.value)


async def test_nobody_answers(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(json.dumps({"http://127.0.0.1:1": {"token": "t"}}))
    with pytest.raises(KeyUnavailableError):
        await TransitMasterKey("transit:http://127.0.0.1:1/transit/key", ServiceTokens(path)).check()


async def test_a_whole_vault_needs_a_key_under_which_only_the_engine_wraps(server, tmp_path):
    """Everybody who has the public half of an RSA key can make a wrap under it."""
    tokens = ServiceTokens(server.tokens(tmp_path))
    server.make("public", "rsa")
    of_tenant = TransitMasterKey(server.uri("public"), tokens)
    wrapped = await of_tenant.wrap(DATA_KEY, "t1", KEY_ID)
    assert await of_tenant.unwrap(wrapped, "t1", KEY_ID) == DATA_KEY
    key = TransitMasterKey(server.uri("public"), tokens, only_symmetric=True)
    with pytest.raises(ConfigurationError) as caught:
        await key.check()
    assert caught.value.code == "transit_key_type"
    with pytest.raises(UnreadableError):
        await key.unwrap(wrapped, "t1", KEY_ID)


async def test_a_server_that_sends_byte_after_byte_is_given_up(tmp_path):
    ended = asyncio.Event()

    async def drip(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        with suppress(ConnectionError):
            for _ in range(100):
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.3)
        writer.close()
        ended.set()

    path = tmp_path / "tokens"
    async with await asyncio.start_server(drip, "127.0.0.1", 0) as dripping:
        address = f"http://127.0.0.1:{dripping.sockets[0].getsockname()[1]}"
        path.write_text(json.dumps({address: {"token": "t"}}))
        began = time.monotonic()
        with pytest.raises(KeyUnavailableError) as caught:
            await TransitMasterKey(f"transit:{address}/transit/key", ServiceTokens(path)).check()
        assert caught.value.reason == "transit_unavailable"
        assert time.monotonic() - began < 8
        await asyncio.wait_for(ended.wait(), 5)
