"""The contract of every kind of master key. A new kind needs one more fixture."""

import os
import pickle

import pytest
from tests.adapters.crypto.kms_service import new_key
from tests.support import azure_key_server, google_kms_server, transit_server

from vault_adapters.crypto.azure_key import AzureMasterKey
from vault_adapters.crypto.google_kms import GoogleMasterKey
from vault_adapters.crypto.key_services import service_key
from vault_adapters.crypto.kms import KmsMasterKey
from vault_adapters.crypto.local_key import LocalMasterKey
from vault_adapters.crypto.service_tokens import ServiceTokens
from vault_adapters.crypto.transit import TransitMasterKey
from vault_domain.entities.errors import ConfigurationError
from vault_domain.ports.cipher import UnreadableError
from vault_domain.ports.master_key import MasterKey

DATA_KEY = bytes(range(100, 132))
DATA_KEY_ID = bytes(range(16))
TENANT = "tenant-ü"


@pytest.fixture
def local():
    return lambda: LocalMasterKey(os.urandom(32), os.urandom(16))


@pytest.fixture
def kms(kms_client):
    return lambda: KmsMasterKey(f"aws-kms:{new_key(kms_client)}", kms_client)


@pytest.fixture(scope="module")
def transit(tmp_path_factory):
    with transit_server.running() as server:
        tokens = ServiceTokens(server.tokens(tmp_path_factory.mktemp("transit")))
        yield lambda: TransitMasterKey(server.uri(os.urandom(8).hex()), tokens)


@pytest.fixture(scope="module")
def google(tmp_path_factory):
    folder = tmp_path_factory.mktemp("google")
    with google_kms_server.running(folder) as server:
        entry = ServiceTokens(server.tokens(folder)).entry
        yield lambda: GoogleMasterKey(server.uri(os.urandom(8).hex()), entry)


@pytest.fixture(scope="module")
def azure_server(tmp_path_factory):
    with azure_key_server.running(tmp_path_factory.mktemp("azure")) as server:
        yield server


@pytest.fixture
def azure(azure_server, tmp_path, monkeypatch):
    for name, value in azure_server.environment().items():
        monkeypatch.setenv(name, value)
    entry = ServiceTokens(azure_server.tokens(tmp_path)).entry
    return lambda: AzureMasterKey(azure_server.uri(f"rsa-{os.urandom(8).hex()}"), entry)


@pytest.fixture(params=["local", "kms", "transit", "google", "azure"])
def make(request):
    """Give a function that makes a new master key."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def key(make) -> MasterKey:
    return make()


async def test_round_trip(key):
    wrapped = await key.wrap(DATA_KEY, TENANT, DATA_KEY_ID)
    assert DATA_KEY not in wrapped
    assert await key.unwrap(wrapped, TENANT, DATA_KEY_ID) == DATA_KEY


async def test_every_wrap_differs(key):
    assert await key.wrap(DATA_KEY, TENANT, DATA_KEY_ID) != await key.wrap(DATA_KEY, TENANT, DATA_KEY_ID)


async def test_check(key):
    assert await key.check() is None


def test_ids(make):
    first, second = make(), make()
    assert len(first.key_id) == len(second.key_id) == 16
    assert first.key_id != second.key_id


IDS = {
    "aws-kms:arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab": (
        "cc63d7901c1be4aa2e6fdaff760480a0"
    ),
    "gcp-kms:projects/p/locations/eu/keyRings/r/cryptoKeys/k": "1b24114e53bff2db0080bc9245f062f7",
    "azure-kv:https://vault.vault.azure.net/keys/k": "abf0e039a618f0c7d520b8bae0512f92",
    "transit:https://vault.example/v1/transit/keys/k": "aa110c2f61b742b474c698f83323e4ef",
    "pkcs11:token=vault;object=k": "fb403b76b25c1880dc393ffd8c622f6b",
}


@pytest.mark.parametrize("uri", IDS)
def test_the_id_of_a_key_of_a_key_service_never_changes(uri, monkeypatch):
    """Stored wraps name it: under another id, nothing that was wrapped under the key would open."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert service_key(uri).key_id.hex() == IDS[uri]


@pytest.mark.parametrize(
    ("tenant_id", "data_key_id"),
    [("tenant-u", DATA_KEY_ID), ("tenant-\u00fc ", DATA_KEY_ID), (TENANT, bytes(16)), (TENANT, DATA_KEY_ID[::-1])],
    ids=["tenant", "tenant and a space", "zeros", "reversed"],
)
async def test_it_is_bound_to_tenant_and_id(key, tenant_id, data_key_id):
    wrapped = await key.wrap(DATA_KEY, TENANT, DATA_KEY_ID)
    with pytest.raises(UnreadableError) as caught:
        await key.unwrap(wrapped, tenant_id, data_key_id)
    assert caught.value.__context__ is None


async def test_another_key_does_not_unwrap_it(make):
    wrapped = await make().wrap(DATA_KEY, TENANT, DATA_KEY_ID)
    with pytest.raises((UnreadableError, ConfigurationError)):
        await make().unwrap(wrapped, TENANT, DATA_KEY_ID)


async def test_every_changed_byte_of_the_end_and_every_shorter_wrap(key):
    wrapped = await key.wrap(DATA_KEY, TENANT, DATA_KEY_ID)
    broken = [wrapped[:-1] + bytes([wrapped[-1] ^ 1]), wrapped[:-1], wrapped[: len(wrapped) // 2], b"", bytes(10_000)]
    for spoilt in broken:
        with pytest.raises(UnreadableError):
            await key.unwrap(spoilt, TENANT, DATA_KEY_ID)


@pytest.mark.parametrize("size", [1, 31, 33, 64])
async def test_what_is_no_data_key_is_not_given_out(key, size):
    wrapped = await key.wrap(b"k" * size, TENANT, DATA_KEY_ID)
    with pytest.raises(UnreadableError) as caught:
        await key.unwrap(wrapped, TENANT, DATA_KEY_ID)
    assert not any("kkk" in repr(entry.frame.f_locals) for entry in caught.traceback[1:])


async def test_it_does_not_show_itself(key):
    assert repr(key) == f"{type(key).__name__}(key_id={key.key_id.hex()})"
    with pytest.raises(TypeError):
        pickle.dumps(key)
