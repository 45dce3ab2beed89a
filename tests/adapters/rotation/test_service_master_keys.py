"""A whole vault, and one tenant, under a key of each key service: move there, read, deny, enable, move back."""

from datetime import timedelta

import pytest
from tests.adapters.rotation.place import OLD, read_all
from tests.support import azure_key_server, google_kms_server, transit_server

from vault_adapters import ConfigurationError, KeyUnavailableError, TokenKey, TokenKind, Tuning

KEYS = [TokenKey("t1", "acme", TokenKind.API_KEY), TokenKey("t2", "acme", TokenKind.API_KEY)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("services")


@pytest.fixture(scope="module")
def servers(folder):
    with (
        transit_server.running() as transit,
        google_kms_server.running(folder) as google,
        azure_key_server.running(folder) as azure,
    ):
        yield {"transit": transit, "google": google, "azure": azure}


@pytest.fixture(params=["transit", "google", "azure"])
def service(request, servers, place, tmp_path, monkeypatch):
    """Give a stand-in; the place's vaults find its credentials."""
    server = servers[request.param]
    if request.param == "azure":
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
    place.settings.update(tuning=Tuning(key_service_tokens=server.tokens(tmp_path)), data_key_ttl=timedelta(seconds=1))
    return server


async def refusal(call):
    with pytest.raises((ConfigurationError, KeyUnavailableError)) as caught:
        await call
    return caught.value.reason or caught.value.code


async def test_the_whole_vault(place, service):
    """It moves from the secret to the service while it holds values, and back."""
    name = f"aes-vault-{place.is_sqlite}"
    uri = service.uri(name)
    async with place.vault() as vault:
        await vault.store_tokens([(key, key.tenant_id) for key in KEYS])
    moving = {"master_key": uri, "previous_master_key": "local"}
    async with place.vault(**moving) as vault:
        assert (await vault.keys.rotate_master_key()).incomplete is False
    alone = {"secret": None, "master_key": uri}
    async with place.vault(**alone) as vault:
        assert await read_all(vault, KEYS) == ["t1", "t2"]
        [key] = [key for key in (await vault.keys.status()).master_keys if key.is_configured]
        assert (key.provider, key.uri) == (uri.partition(":")[0], uri)
        assert (await vault.ready()).master_key is None
    service.make(name, "denied")
    async with place.vault(**alone) as vault:
        assert await refusal(vault.get_token(KEYS[0])) == "key_denied"
        assert (await vault.ready()).master_key == "key_denied"
        service.make(name, "ok")
        assert await read_all(vault, KEYS) == ["t1", "t2"]
    async with place.vault(OLD, master_key="local", previous_master_key=uri) as vault:
        assert (await vault.keys.rotate_master_key()).incomplete is False
    service.make(name, "gone")
    async with place.vault() as vault:
        assert await read_all(vault, KEYS) == ["t1", "t2"]


async def test_one_tenant(place, service):
    name = f"tenant-{place.is_sqlite}"
    async with place.vault() as vault:
        await vault.store_tokens([(key, key.tenant_id) for key in KEYS])
        assert (await vault.keys.set_tenant_master_key("t1", service.uri(name))).moved == 1
    service.make(name, "disabled")
    async with place.vault() as vault:
        assert await refusal(vault.get_token(KEYS[0])) == "key_denied"
        assert await read_all(vault, KEYS[1:]) == ["t2"]
        assert (await vault.keys.status(tenant_id="t1")).tenant_key_problem == "key_denied"
        service.make(name, "ok")
        assert (await vault.keys.status(tenant_id="t1")).tenant_key_problem is None
    async with place.vault() as vault:
        assert (await vault.keys.set_tenant_master_key("t1", None)).moved == 1
        assert await read_all(vault, KEYS) == ["t1", "t2"]
