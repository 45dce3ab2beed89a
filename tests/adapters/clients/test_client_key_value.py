"""A vault as the key-value store of FastMCP and others: sealed, per tenant, with a time to live."""

import asyncio
import warnings
from datetime import UTC, datetime, timedelta

import pytest

from vault_adapters import ConnectionState, InvalidInputError, Secret
from vault_adapters.clients.key_value import VaultKeyValue
from vault_adapters.testing import memory_sync_vault, memory_vault


@pytest.fixture
async def vault():
    async with memory_vault() as opened:
        yield opened


@pytest.fixture
def store(vault):
    return VaultKeyValue(vault, "tenant-1")


async def test_it_has_the_shape_of_the_protocol(store):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from key_value.aio.protocols.key_value import AsyncKeyValueProtocol
    assert isinstance(store, AsyncKeyValueProtocol)


async def test_a_value_is_kept_by_collection_and_tenant(vault, store):
    value = {"token": "secret-1", "nested": {"a": [1, None, "ö"]}}
    await store.put("k", value, collection="c")
    assert await store.get("k", collection="c") == value
    assert await store.ttl("k", collection="c") == (value, None)
    assert await store.get("k") is None
    assert await VaultKeyValue(vault, "tenant-2").get("k", collection="c") is None
    await store.put("k", {"b": 2}, collection="c")
    assert await store.get_many(["k", "other"], collection="c") == [{"b": 2}, None]
    assert await store.delete("k", collection="c") is True
    assert await store.delete("k", collection="c") is False


async def test_neither_key_nor_value_stands_in_the_database_in_clear(vault, store):
    await store.put("refresh-token-as-a-key", {"token": "secret-1"})
    [info] = [each async for each in vault.iter_tokens("tenant-1")]
    assert "refresh-token" not in repr(info)
    assert len(info.key.identifier) == 64


async def test_a_value_ends_with_its_time_to_live(vault, store):
    await store.put_many(["a", "b"], [{"n": 1}, {"n": 2}], ttl=0.3)
    await store.put("c", {"n": 3}, ttl=60)
    value, left = await store.ttl("c")
    assert value == {"n": 3}
    assert 50 < left <= 60
    await asyncio.sleep(0.4)
    assert await store.get_many(["a", "b", "c"]) == [None, None, {"n": 3}]
    await store.cull()
    assert len([each async for each in vault.iter_tokens("tenant-1")]) == 1
    assert await store.delete_many(["a", "c"]) == 1


async def test_culling_leaves_a_value_that_is_stored_anew_meanwhile(vault, store, monkeypatch):
    await store.put("a", {"n": 1}, ttl=0.1)
    await asyncio.sleep(0.2)
    read = type(vault).get_tokens

    async def read_and_store(self, keys):
        found = await read(self, keys)
        await store.delete("a")
        await store.put("a", {"n": 2})
        return found

    monkeypatch.setattr(type(vault), "get_tokens", read_and_store)
    await store.cull()
    monkeypatch.undo()
    assert await store.get("a") == {"n": 2}


async def test_a_value_that_has_expired_is_no_account_to_connect_again(vault, store):
    await store.put("a", {"n": 1}, ttl=0.1)
    await asyncio.sleep(0.2)
    assert await store.get("a") is None
    assert [info.state async for info in vault.iter_accounts("tenant-1")] == [ConnectionState.CONNECTED]
    await store.cull()
    assert [info async for info in vault.iter_accounts("tenant-1")] == []


async def test_a_value_that_an_earlier_version_stored_is_read(vault, store):
    await store.put("a", {})
    [info] = [each async for each in vault.iter_tokens("tenant-1")]
    for left, value in ((60, {"n": 1}), (-60, None)):
        end = datetime.now(UTC) + timedelta(seconds=left)
        await vault.store_token(info.key, Secret('{"n":1}'), expires_at=end)
        assert await store.get("a") == value
    await store.cull()
    assert [each async for each in vault.iter_tokens("tenant-1")] == []


@pytest.mark.parametrize("value", [{"a": object()}, {"a": "x" * 70_000}, [1], "text", None])
async def test_a_value_that_cannot_be_kept_is_refused_and_the_old_one_stays(store, value):
    await store.put("k", {"old": True})
    with pytest.raises(InvalidInputError) as caught:
        await store.put("k", value)
    assert "xxx" not in str(caught.value)
    assert await store.get("k") == {"old": True}


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf")])
async def test_a_time_to_live_is_positive(store, ttl):
    with pytest.raises(InvalidInputError):
        await store.put("k", {}, ttl=ttl)


def test_a_sync_vault_is_refused():
    with memory_sync_vault() as vault, pytest.raises(InvalidInputError, match="TokenVault"):
        VaultKeyValue(vault, "t1")


async def test_arguments_are_checked(vault):
    for arguments in (("no vault", "t1"), (vault, "")):
        with pytest.raises(InvalidInputError):
            VaultKeyValue(*arguments)
    with pytest.raises(InvalidInputError):
        await VaultKeyValue(vault, "t1").get(5)
    with pytest.raises(InvalidInputError):
        await VaultKeyValue(vault, "t1").put_many(["a"], [])


@pytest.mark.parametrize("ttl", ["secret-1", object(), 0, -1, float("nan"), 10**400])
async def test_a_time_to_live_that_is_none_is_refused_without_repeating_it(vault, store, ttl):
    with pytest.raises(InvalidInputError, match="ttl must be a positive number of seconds"):
        await store.put("k", {"n": 1}, ttl=ttl)
    assert await store.get("k") is None


async def test_several_values_are_stored_all_or_none(store):
    with pytest.raises(InvalidInputError):
        await store.put_many(["a", "b"], [{"n": 1}, {"n": object()}])
    with pytest.raises(InvalidInputError):
        await store.put_many(None, None)
    assert await store.get("a") is None
    await store.put_many(["a", "a", "b"], [{"n": 1}, {"n": 2}, {"n": 3}])
    assert await store.get_many(["a", "b"]) == [{"n": 2}, {"n": 3}]
    await store.put_many([], [])


async def test_a_value_nested_too_deep_is_refused(store):
    deep = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(InvalidInputError, match="64 KiB"):
        await store.put("k", deep)
