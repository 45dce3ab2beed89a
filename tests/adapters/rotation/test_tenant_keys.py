"""A master key of the tenant's own: moving to it, to another and back, while others use the vault."""

import asyncio

import pytest
from tests.adapters.crypto.kms_service import client_for, new_key
from tests.adapters.rotation.place import NEW, OLD, read_all
from tests.support.databases import both_stores

from vault_adapters import (
    AuditAction,
    ConfigurationError,
    DecryptionError,
    InvalidInputError,
    KeyUnavailableError,
    TokenKey,
    TokenKind,
)

pytestmark = pytest.mark.usefixtures("kms")

OWN = TokenKey("own", "acme", TokenKind.API_KEY)
OTHER = TokenKey("other", "acme", TokenKind.API_KEY)


@pytest.fixture(scope="module")
def kms_server():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def kms(kms_server, monkeypatch):
    for name, value in {
        "AWS_ENDPOINT_URL": kms_server,
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }.items():
        monkeypatch.setenv(name, value)
    client = client_for(kms_server)
    yield client
    client.close()


def uri_of(client):
    return f"aws-kms:{new_key(client)}"


def wraps_of(place):
    return [bytes(wrapped) for (wrapped,) in place.rows("SELECT wrapped FROM {data_key_wrap}")]


async def test_a_tenant_moves_to_its_own_key_to_another_and_back(place, kms):
    first, second = uri_of(kms), uri_of(kms)
    async with place.vault() as vault:
        await vault.store_tokens([(OWN, "one"), (OTHER, "two")])
        keys = vault.with_actor("ops").keys
        for uri in (first, second, None):
            report = await keys.set_tenant_master_key("own", uri)
            assert (report.tenant_id, report.uri, report.moved, report.incomplete) == ("own", uri, 1, False)
            assert (await keys.status(tenant_id="own")).tenant_master_key == uri
            assert (await keys.status(tenant_id="other")).tenant_master_key is None
            async with place.vault() as another:
                assert await read_all(another, [OWN, OTHER]) == ["one", "two"]
            assert (await keys.set_tenant_master_key("own", uri)).moved == 0
        events = [event async for event in vault.iter_audit_events()]
        told = [(e.tenant_id, e.actor, len(e.code)) for e in events if e.action is AuditAction.TENANT_MASTER_KEY_SET]
        assert told == [("own", "ops", 32), ("own", "ops", 32), ("own", "ops", 10)]


async def test_without_its_key_a_tenants_values_do_not_open(place, kms, monkeypatch):
    async with place.vault() as vault:
        await vault.store_tokens([(OWN, "one"), (OTHER, "two")])
        await vault.keys.set_tenant_master_key("own", uri_of(kms))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    async with place.vault() as vault:
        assert await read_all(vault, [OTHER]) == ["two"]
        with pytest.raises(KeyUnavailableError) as caught:
            await vault.get_token(OWN)
        assert (caught.value.code, caught.value.reason) == ("key_unavailable", "tenant_key_unavailable")
        assert caught.value.retryable
        # An erasure needs no key.
        assert (await vault.erase_tenant("own")).data_keys == 1


async def test_new_data_keys_are_under_the_tenants_key(place, kms):
    uri = uri_of(kms)
    async with place.vault() as vault:
        assert (await vault.keys.set_tenant_master_key("own", uri)).moved == 1  # its first data key
        await vault.store_token(OWN, "one")
        assert (await vault.keys.rotate_data_key("own")).rotated
        assert (await vault.keys.rotate_data_keys()).rotated == 1
        assert (await vault.keys.reencrypt()).reencrypted == 1
        assert (await vault.keys.status(tenant_id="own")).tenant_master_key == uri
        wraps = wraps_of(place)
        assert len(wraps) == 3
        assert all(uri.encode() in wrapped for wrapped in wraps)
        assert (await vault.keys.set_tenant_master_key("own", None)).moved == 3
        assert await read_all(vault, [OWN]) == ["one"]


async def test_the_vaults_master_key_rotates_without_the_tenants_keys(place, kms, monkeypatch):
    uri = uri_of(kms)
    async with place.vault(OLD) as vault:
        await vault.store_tokens([(OWN, "one"), (OTHER, "two")])
        await vault.keys.set_tenant_master_key("own", uri)
    with monkeypatch.context() as gone:
        gone.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        async with place.vault(NEW, OLD) as vault:
            report = await vault.keys.rotate_master_key()
            assert (report.wrapped, report.unwrapped, report.retired, report.incomplete) == (2, 2, 1, False)
    async with place.vault(NEW) as vault:
        assert (await vault.keys.status(tenant_id="own")).tenant_master_key == uri
        assert await read_all(vault, [OWN, OTHER]) == ["one", "two"]


async def test_an_unknown_or_dangerous_name_changes_nothing(place):
    async with place.vault() as vault:
        await vault.store_token(OWN, "one")
        for uri in ("local", "https://user:hunter2@kms.example", "aws-kms:", "aws-kms:a b", "no-service:key", 7):
            with pytest.raises((InvalidInputError, ConfigurationError)) as caught:
                await vault.keys.set_tenant_master_key("own", uri)
            assert "hunter2" not in str(caught.value)
        with pytest.raises(ConfigurationError) as caught:
            await vault.keys.set_tenant_master_key("own", "aws-kms:00000000-0000-0000-0000-000000000000")
        assert caught.value.code == "kms_key_not_found"
        assert (await vault.keys.status(tenant_id="own")).tenant_master_key is None
        assert await read_all(vault, [OWN]) == ["one"]


async def test_a_name_that_was_changed_in_the_database_is_not_asked(place, kms):
    """Otherwise a writer to the database could lead the vault to a key service of their own."""
    mine, theirs = uri_of(kms), uri_of(kms)
    async with place.vault() as vault:
        await vault.store_token(OWN, "one")
        await vault.keys.set_tenant_master_key("own", mine)
    [wrapped] = wraps_of(place)
    place.rows("UPDATE {data_key_wrap} SET wrapped = ?", wrapped.replace(mine.encode(), theirs.encode()))
    async with place.vault() as vault:
        with pytest.raises(DecryptionError):
            await vault.get_token(OWN)
        with pytest.raises(DecryptionError):
            await vault.store_token(OWN, "two")
    for cut in (wrapped[:8], wrapped[:-1], wrapped[:8] + b"\xff\xff", wrapped + b"x"):
        place.rows("UPDATE {data_key_wrap} SET wrapped = ?", cut)
        async with place.vault() as vault:
            with pytest.raises(DecryptionError):
                await vault.get_token(OWN)
            assert (await vault.keys.status(tenant_id="own")).tenant_master_key in (None, mine)
            report = await vault.keys.set_tenant_master_key("own", None)
            assert [key.tenant_id for key in report.unreadable] == ["own"]
    place.rows("UPDATE {data_key_wrap} SET wrapped = ?", wrapped)
    async with place.vault() as vault:
        assert await read_all(vault, [OWN]) == ["one"]


@both_stores
async def test_the_vault_stays_in_use_while_a_tenant_moves_and_its_data_key_rotates(place, kms):
    uris = [uri_of(kms), uri_of(kms), None]
    async with place.vault() as vault, place.vault() as another:
        await vault.store_token(OWN, "0")
        stored, is_over = 0, False

        async def use():
            nonlocal stored
            while not is_over:
                stored += 1
                await another.store_token(OWN, str(stored))
                assert await read_all(vault, [OWN]) == [str(stored)]
                if stored <= 10:  # each rotation gives every later move one more key to wrap
                    await another.keys.rotate_data_key("own")

        async def move():
            nonlocal is_over
            for uri in uris * 2:
                await vault.keys.set_tenant_master_key("own", uri)
                assert {b"aws-kms:" in wrapped for wrapped in wraps_of(place)} == {uri is not None}
            is_over = True

        await asyncio.gather(use(), move())
        assert stored > 1


@both_stores
async def test_of_two_processes_that_move_a_tenant_one_wins(place, kms):
    uris = [uri_of(kms), uri_of(kms)]
    async with place.vault() as one, place.vault() as two:
        await one.store_token(OWN, "one")
        for _ in range(3):
            await one.keys.rotate_data_key("own")
        await asyncio.gather(
            one.keys.set_tenant_master_key("own", uris[0]), two.keys.set_tenant_master_key("own", uris[1])
        )
        won = (await one.keys.status(tenant_id="own")).tenant_master_key
        wraps = wraps_of(place)
        assert won in uris
        assert [won.encode() in wrapped for wrapped in wraps] == [True] * 4
