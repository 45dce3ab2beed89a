"""A write or an erasure that overtakes a read may destroy the row's data key; the read answers with what is stored.

Without reading a second time, the vault would report each such value as changed by somebody.
"""

from datetime import timedelta

import pytest
from attrs import evolve
from tests.services.conftest import ACCESS, ACCOUNT, REFRESH
from tests.services.test_tokens import stored

from vault_adapters import AuditAction, DecryptionError, StorageError
from vault_domain.ports.cipher import UnreadableError
from vault_domain.rules.remembering import MemoryPolicy


class Overtaken:
    """A token repository that runs a function between a read and its return, as often as told."""

    def __init__(self, tokens, happens, times=1):
        self._tokens, self._happens, self._times = tokens, happens, times

    async def get(self, key):
        return await self._after(await self._tokens.get(key))

    async def get_many(self, keys):
        return await self._after(await self._tokens.get_many(keys))

    async def _after(self, answer):
        if self._times:
            self._times -= 1
            await self._happens()
        return answer

    def __getattr__(self, name):
        return getattr(self._tokens, name)


def reads(cases):
    """Return each way to read an access token, as a function that returns the text of its value or None."""

    async def get():
        token = await cases.tokens.get(ACCESS)
        return token and token.value.reveal()

    async def get_many():
        token = (await cases.tokens.get_many([ACCESS])).get(ACCESS)
        return token and token.value.reveal()

    async def get_access():
        usable = await cases.tokens.get_access(ACCOUNT, None)
        return usable and usable.token.value.reveal()

    async def get_refresh():
        token = await cases.tokens.get_refresh(ACCOUNT)
        return token and token.value.reveal()

    return {"get": get, "get_many": get_many, "get_access": get_access, "get_refresh": get_refresh}


def overtaken(cases, happens, times=1):
    return cases.over(store=evolve(cases.store, accounts=Overtaken(cases.store.accounts, happens, times)))


async def destroy_the_data_key(cases):
    """Erase the tenant and store its tokens again, under a new data key."""
    cases.cipher.forget_tenant(ACCESS.tenant_id)
    await cases.store.accounts.erase(ACCESS.tenant_id, actor=None)
    await stored(cases, value="v2")
    await stored(cases, REFRESH, "v2")


@pytest.mark.parametrize("way", ["get", "get_many", "get_access", "get_refresh"])
async def test_an_erased_tenant_has_no_token_rather_than_a_damaged_one(cases, way):
    await stored(cases)
    await stored(cases, REFRESH)
    cases.sink.events.clear()
    cases = overtaken(cases, lambda: cases.store.accounts.erase(ACCESS.tenant_id, actor=None))
    assert await reads(cases)[way]() is None
    assert cases.sink.events == []
    assert cases.opener.failed_reads.count() == 0


@pytest.mark.parametrize("way", ["get", "get_many", "get_access", "get_refresh"])
async def test_a_value_that_replaced_the_overtaken_one_is_read(cases, way):
    await stored(cases)
    await stored(cases, REFRESH)
    found = overtaken(cases, lambda: destroy_the_data_key(cases))
    assert await reads(found)[way]() == "v2"
    assert found.opener.failed_reads.count() == 0


async def test_a_read_that_was_overtaken_asks_the_store_even_if_the_old_row_is_cached(cases):
    """The first read has put the old row into the cache before it finds that its data key is gone."""
    await stored(cases)
    found = overtaken(cases, lambda: destroy_the_data_key(cases))
    found = found.over(memory=MemoryPolicy(read_cache=timedelta(seconds=30)))
    assert await reads(found)["get"]() == "v2"


async def test_a_read_that_is_overtaken_again_and_again_ends(cases):
    await stored(cases)
    found = overtaken(cases, lambda: destroy_the_data_key(cases), times=100)
    with pytest.raises(DecryptionError):
        await found.tokens.get(ACCESS)


class Spoilt:
    """A cipher that opens nothing."""

    def __init__(self, cipher):
        self._cipher = cipher

    def open_at_hand(self, key, sealed):
        return None

    async def open(self, key, sealed):
        raise UnreadableError("tag")

    def __getattr__(self, name):
        return getattr(self._cipher, name)


@pytest.mark.parametrize("way", ["get", "get_many", "get_access"])
async def test_a_value_that_is_still_stored_is_reported_once(cases, way):
    await stored(cases)
    cases.sink.events.clear()
    found = cases.over(cipher=Spoilt(cases.cipher))
    with pytest.raises(DecryptionError):
        await reads(found)[way]()
    assert [event.action for event in found.sink.events] == [AuditAction.DECRYPTION_FAILED]
    assert found.opener.failed_reads.count() == 1


async def test_a_value_counts_as_stored_while_the_store_does_not_answer(cases):
    await stored(cases)
    row = (await cases.store.accounts.get(ACCESS)).row

    class Silent(Overtaken):
        async def get(self, key):
            raise StorageError(retryable=True)

    found = cases.over(
        store=evolve(cases.store, accounts=Silent(cases.store.accounts, None, 0)), cipher=Spoilt(cases.cipher)
    )
    with pytest.raises(DecryptionError):
        await found.opener.open(ACCESS, row, cases.clock.now())
    assert found.opener.failed_reads.count() == 1
