"""AWS KMS: its requests, the meaning of its answers, and no data key in logs or tracebacks."""

import asyncio
import base64
import logging
import os
import sys
import threading
from functools import partial

import pytest
from attrs import evolve
from botocore import exceptions
from botocore.stub import Stubber
from tests.adapters.crypto.kms_service import client_for, new_key

from vault_adapters.crypto.bootstrap import open_master_keys, open_with_sources
from vault_adapters.crypto.cipher import AesGcmCipher
from vault_adapters.crypto.keyring import Keyring
from vault_adapters.crypto.kms import KmsMasterKey
from vault_adapters.crypto.kms_client import connect
from vault_adapters.crypto.master_key_source import LocalSource, ServiceSource
from vault_domain.entities.account import TokenKey
from vault_domain.entities.errors import ConfigurationError, KeyUnavailableError
from vault_domain.entities.key_records import MasterKeyState
from vault_domain.entities.secret import Secret
from vault_domain.ports.cipher import UnreadableError

DATA_KEY = os.urandom(32)
DATA_KEY_ID = bytes(range(16))
URI = "aws-kms:arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
KEY = TokenKey("tenant-1", "github", "access_token")
BESIDE = Secret("a secret beside a key service, 01")
VALUE = Secret("gho_16C7e42F292c6912E7710c838347Ae178B4a")


@pytest.fixture
def stubbed():
    """A master key whose client gives the answers that a test adds to the stubber."""
    client = client_for("http://127.0.0.1:9")
    with Stubber(client) as stubber:
        yield KmsMasterKey(URI, client), stubber
    client.close()


@pytest.fixture
def key(kms_client):
    return KmsMasterKey(f"aws-kms:{new_key(kms_client)}", kms_client)


class TestRequests:
    async def test_the_context_is_tenant_and_id_and_nothing_else(self, stubbed):
        key, stubber = stubbed
        named = {
            "KeyId": URI.removeprefix("aws-kms:"),
            "EncryptionContext": {"tenant": "tenant-1", "data_key": DATA_KEY_ID.hex()},
        }
        stubber.add_response("encrypt", {"CiphertextBlob": b"wrapped"}, {"Plaintext": DATA_KEY, **named})
        stubber.add_response("decrypt", {"Plaintext": DATA_KEY}, {"CiphertextBlob": b"wrapped", **named})
        assert await key.wrap(DATA_KEY, "tenant-1", DATA_KEY_ID) == b"wrapped"
        assert await key.unwrap(b"wrapped", "tenant-1", DATA_KEY_ID) == DATA_KEY
        stubber.assert_no_pending_responses()

    async def test_calls_run_in_threads(self, key, kms_client):
        threads = set()
        kms_client.meta.events.register("before-call.kms", lambda **_: threads.add(threading.current_thread()))
        await key.check()
        assert threads
        assert threading.current_thread() not in threads

    def test_the_id_is_derived_from_the_uri(self):
        assert KmsMasterKey(URI).key_id == KmsMasterKey(URI).key_id != KmsMasterKey(URI + "x").key_id

    @pytest.mark.parametrize("uri", ["", "aws-kms:", "local", "arn:aws:kms:eu-central-1:1:key/x"])
    def test_what_names_no_key(self, uri):
        with pytest.raises(ConfigurationError):
            KmsMasterKey(uri)


def client_error(code):
    return {"service_error_code": code, "http_status_code": 400, "service_message": "of the service"}


class TestErrors:
    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            ("AccessDeniedException", "kms_access_denied"),
            ("DisabledException", "kms_key_disabled"),
            ("KMSInvalidStateException", "kms_key_state"),
            ("NotFoundException", "kms_key_not_found"),
            ("InvalidKeyUsageException", "kms_key_usage"),
            ("IncorrectKeyException", "kms_wrong_key"),
            ("UnrecognizedClientException", "kms_credentials"),
            ("ValidationException", "kms_request"),
        ],
    )
    async def test_refusals(self, stubbed, code, expected):
        for error in await self.both(stubbed, code):
            assert type(error) is ConfigurationError
            assert (error.code, error.retryable) == (expected, False)

    @pytest.mark.parametrize("code", ["ThrottlingException", "LimitExceededException", "RequestLimitExceeded"])
    async def test_throttling(self, stubbed, code):
        for error in await self.both(stubbed, code):
            assert type(error) is KeyUnavailableError
            assert (error.reason, error.retryable) == ("kms_throttled", True)

    @pytest.mark.parametrize(
        "code",
        [
            "KMSInternalException",
            "DependencyTimeoutException",
            "KeyUnavailableException",
            "ServiceUnavailable",
            "ExpiredTokenException",
            "RequestExpired",
            "SomethingNew",
        ],
    )
    async def test_outages(self, stubbed, code):
        for error in await self.both(stubbed, code):
            assert type(error) is KeyUnavailableError
            assert (error.reason, error.retryable) == ("kms_unavailable", True)

    async def both(self, stubbed, code):
        key, stubber = stubbed
        stubber.add_client_error("encrypt", **client_error(code))
        stubber.add_client_error("decrypt", **client_error(code))
        with pytest.raises(Exception) as wrapping:  # noqa: PT011 - the caller looks at its type
            await key.wrap(DATA_KEY, "t", DATA_KEY_ID)
        with pytest.raises(Exception) as unwrapping:  # noqa: PT011
            await key.unwrap(b"w", "t", DATA_KEY_ID)
        for caught in (wrapping, unwrapping):
            assert caught.value.__context__ is None
            assert "of the service" not in str(caught.value)
            assert not any(repr(DATA_KEY) in repr(entry.frame.f_locals) for entry in caught.traceback)
        return wrapping.value, unwrapping.value

    async def test_a_wrap_that_was_changed(self, stubbed):
        key, stubber = stubbed
        stubber.add_client_error("decrypt", **client_error("InvalidCiphertextException"))
        with pytest.raises(UnreadableError):
            await key.unwrap(b"w", "t", DATA_KEY_ID)

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (exceptions.NoCredentialsError(), "kms_credentials"),
            (exceptions.NoRegionError(), "kms_region"),
            (exceptions.EndpointConnectionError(endpoint_url="https://kms"), "key_unavailable"),
            (exceptions.ConnectTimeoutError(endpoint_url="https://kms"), "key_unavailable"),
            (exceptions.ReadTimeoutError(endpoint_url="https://kms"), "key_unavailable"),
            (RuntimeError("anything"), "key_unavailable"),
        ],
        ids=lambda value: type(value).__name__,
    )
    async def test_what_never_came_back(self, kms_client, error, expected):
        def fail(**_):
            raise error

        kms_client.meta.events.register_first("before-send.kms", fail)
        with pytest.raises((ConfigurationError, KeyUnavailableError)) as caught:
            await KmsMasterKey(URI, kms_client).unwrap(b"w", "t", DATA_KEY_ID)
        assert caught.value.code == expected

    async def test_nobody_listens(self):
        client = client_for("http://127.0.0.1:9")
        with pytest.raises(KeyUnavailableError):
            await KmsMasterKey(URI, client).check()
        client.close()

    async def test_a_key_that_was_never_made(self, kms_client):
        with pytest.raises(ConfigurationError) as caught:
            await KmsMasterKey(URI, kms_client).check()
        assert caught.value.code in ("kms_key_not_found", "kms_access_denied")

    async def test_check_notices_another_key_behind_the_name(self, stubbed):
        key, stubber = stubbed
        stubber.add_response("encrypt", {"CiphertextBlob": b"wrapped"})
        stubber.add_response("decrypt", {"Plaintext": bytes(32)})
        with pytest.raises(ConfigurationError) as caught:
            await key.check()
        assert caught.value.code == "kms_wrong_key"

    async def test_without_boto3(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "boto3", None)
        with pytest.raises(ConfigurationError) as caught:
            await KmsMasterKey(URI).check()
        assert caught.value.code == "aws_extra_missing"


class TestLogs:
    async def test_at_debug_no_data_key_is_logged(self, key, kms_client, caplog):
        with caplog.at_level(logging.DEBUG):
            wrapped = await key.wrap(DATA_KEY, "tenant-1", DATA_KEY_ID)
            await key.unwrap(wrapped, "tenant-1", DATA_KEY_ID)
            with pytest.raises(UnreadableError):
                await key.unwrap(wrapped, "tenant-2", DATA_KEY_ID)
        logged = everything(caplog)
        assert "Making request" in logged
        assert "Response body" in logged
        assert not any(form in logged for form in forms(DATA_KEY))

    async def test_without_the_handlers_it_would_be(self, kms_client, caplog):
        """Show that a client without the handlers of `hide_bodies` logs data keys.

        If it did not, the test above would prove nothing.
        """
        bare = client_for(kms_client.meta.endpoint_url)
        with caplog.at_level(logging.DEBUG):
            wrapped = bare.encrypt(KeyId=new_key(kms_client), Plaintext=DATA_KEY)["CiphertextBlob"]
        assert any(form in everything(caplog) for form in forms(DATA_KEY))
        caplog.clear()
        with caplog.at_level(logging.DEBUG):
            bare.decrypt(CiphertextBlob=wrapped)
        assert any(form in everything(caplog) for form in forms(DATA_KEY))
        bare.close()

    async def test_the_hosts_loggers_are_left_alone(self, key):
        await key.check()
        names = [name for name in logging.root.manager.loggerDict if name.startswith(("boto", "urllib3"))]
        assert names
        assert [logging.getLogger(name).filters for name in names] == [[]] * len(names)


def everything(caplog):
    return "\n".join(f"{record.getMessage()} {record.args!r} {record.exc_text}" for record in caplog.records)


def forms(secret):
    """Return the forms that bytes can take in a log."""
    return [base64.b64encode(secret).decode(), secret.hex(), repr(secret)[2:-1]]


class TestClient:
    def test_the_region_of_an_arn_is_used(self):
        client = connect("arn:aws:kms:sa-east-1:111122223333:key/x")
        assert client.meta.region_name == "sa-east-1"
        client.close()

    async def test_one_is_made_at_the_first_call(self, monkeypatch, kms_endpoint, kms_client):
        made = []

        def connecting(name):
            made.append(name)
            return client_for(kms_endpoint)

        monkeypatch.setattr("vault_adapters.crypto.kms.connect", connecting)
        arn = new_key(kms_client)
        key = KmsMasterKey(f"aws-kms:{arn}")
        assert made == []
        await asyncio.gather(key.check(), key.check(), key.check())
        assert made == [arn]
        key._client.close()


class TestMoving:
    """From the local secret to KMS and back, over the same tables."""

    async def test_there_and_back(self, repository, kms_client):
        kms = ServiceSource(f"aws-kms:{new_key(kms_client)}", partial(KmsMasterKey, client=kms_client))
        secret = LocalSource(BESIDE, 14)
        sealed = await self.seal(repository, secret)

        await self.rotate(repository, kms, secret)
        assert await self.read(repository, sealed, kms) == VALUE
        # The secret's first key is retired; the same secret makes a new key.
        await self.rotate(repository, secret, kms)
        assert await self.read(repository, sealed, secret) == VALUE
        # The service's key comes back under its own id.
        await self.rotate(repository, kms, secret)
        assert await self.read(repository, sealed, kms) == VALUE
        assert len(repository.masters) == 3

    async def test_a_key_that_cannot_be_used_is_not_introduced(self, repository, kms_client):
        broken = ServiceSource(URI, partial(KmsMasterKey, client=kms_client))
        with pytest.raises(ConfigurationError):
            await open_with_sources(repository, [broken])
        secret = LocalSource(BESIDE, 14)
        await open_with_sources(repository, [secret])
        with pytest.raises(ConfigurationError):
            await open_with_sources(repository, [broken, secret])
        assert len(repository.masters) == 1

    async def test_an_outage_does_not_keep_a_vault_from_opening(self, repository, kms_client):
        uri = f"aws-kms:{new_key(kms_client)}"
        await open_with_sources(repository, [ServiceSource(uri, partial(KmsMasterKey, client=kms_client))])
        away = client_for("http://127.0.0.1:9")
        keys = await open_with_sources(repository, [ServiceSource(uri, partial(KmsMasterKey, client=away))])
        with pytest.raises(KeyUnavailableError):
            await AesGcmCipher(Keyring(repository, keys)).seal([(KEY, VALUE)])
        away.close()

    async def test_another_kms_key_is_refused(self, repository, kms_client):
        await open_with_sources(
            repository, [ServiceSource(f"aws-kms:{new_key(kms_client)}", partial(KmsMasterKey, client=kms_client))]
        )
        for configured in (
            {"master_key": URI},
            {"secret": BESIDE, "scrypt_log2_n": 14},
        ):
            with pytest.raises(ConfigurationError) as caught:
                await open_master_keys(repository, **configured)
            assert caught.value.code == "wrong_master_key"
        assert len(repository.masters) == 1

    async def test_by_configuration(self, repository, kms_endpoint, kms_client, monkeypatch):
        monkeypatch.setattr("vault_adapters.crypto.kms.connect", lambda _: client_for(kms_endpoint))
        secret, uri = BESIDE, f"aws-kms:{new_key(kms_client)}"
        local = await open_master_keys(repository, secret=secret, scrypt_log2_n=14)
        both = await open_master_keys(
            repository, secret=secret, scrypt_log2_n=14, master_key=uri, previous_master_key="local"
        )
        assert both.active_id == local.active_id
        assert both.configured_id == KmsMasterKey(uri).key_id
        assert list(repository.masters.values())[1].uri == uri
        repository.activate_master_key(both.configured_id)
        assert (await open_master_keys(repository, master_key=uri)).active_id == both.configured_id

    async def test_local_as_the_previous_one_needs_a_secret(self, repository):
        with pytest.raises(ConfigurationError) as caught:
            await open_master_keys(repository, master_key=URI, previous_master_key="local")
        assert caught.value.code == "encryption_secret_missing"
        assert "ENCRYPTION_SECRET_FILE" in str(caught.value)

    async def seal(self, repository, *sources):
        cipher = AesGcmCipher(Keyring(repository, await open_with_sources(repository, sources)))
        (sealed,) = await cipher.seal([(KEY, VALUE)])
        return sealed

    async def read(self, repository, sealed, *sources):
        return await AesGcmCipher(Keyring(repository, await open_with_sources(repository, sources))).open(KEY, sealed)

    async def rotate(self, repository, *sources):
        """Do what a rotation of the master key does."""
        keys = await open_with_sources(repository, sources)
        assert keys.configured_id != keys.active_id
        keyring = Keyring(repository, keys)
        for place, record in repository.data.items():
            wrap = await keyring.make_missing_wrap(record)
            repository.data[place] = evolve(record, wraps=(*record.wraps, wrap))
        repository.activate_master_key(keys.configured_id)
        repository.retire_master_key(keys.active_id)
        assert repository.masters[keys.configured_id].state is MasterKeyState.ACTIVE


async def test_the_debug_mode_of_asyncio_shows_no_data_key(stubbed, caplog):
    key, stubber = stubbed
    data_key = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
    stubber.add_response("decrypt", {"Plaintext": data_key})
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0  # every callback counts as slow and is logged with its arguments
    try:
        with caplog.at_level(logging.DEBUG):
            assert await key.unwrap(b"wrapped", "tenant-1", DATA_KEY_ID) == data_key
            await asyncio.sleep(0)
    finally:
        loop.set_debug(False)
        loop.slow_callback_duration = 0.1
    assert "Executing" in caplog.text
    assert "ABCDE" not in caplog.text
    assert "12345" not in caplog.text
