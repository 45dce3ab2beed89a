"""Resealing in bulk: fetches each key once, several at a time, and gives up if the master key is unavailable."""

import asyncio
import os

import pytest
from attrs import evolve
from tests.adapters.crypto.open_keys import SwitchableMasterKey, cipher_over

from vault_domain.entities.account import TokenKey
from vault_domain.entities.errors import ConfigurationError, KeyUnavailableError
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import SealedToken
from vault_domain.ports.cipher import DESTROYED_KEY, NO_ACTIVE_KEY, UnreadableError

VALUE = Secret("gho_16C7e42F292c6912E7710c838347Ae178B4a")
KEYS = [TokenKey(f"tenant-{number % 20}", "github", "access_token", f"user{number}") for number in range(300)]


@pytest.fixture
def master():
    return SwitchableMasterKey()


@pytest.fixture
async def cipher(repository, master):
    cipher = cipher_over(repository, master)
    yield cipher
    await cipher._keyring.aclose()


async def rotated(cipher, repository, keys=KEYS):
    """Seal values and rotate all data keys; return the values as (key, sealed)."""
    values = list(zip(keys, await cipher.seal([(key, VALUE) for key in keys]), strict=True))
    for tenant in {key.tenant_id for key in keys}:
        repository.replace_active(await cipher._keyring.make_data_key(tenant))
    cipher.forget_active({key.tenant_id for key in keys})
    return values


async def test_values_are_under_the_active_keys_then_and_open_in_their_places_only(cipher, repository):
    values = await rotated(cipher, repository)
    resealed = await cipher.reseal(values)
    for (key, before), after in zip(values, resealed, strict=True):
        assert after.data_key_id != before.data_key_id
        assert await cipher.open(key, after) == VALUE
    with pytest.raises(UnreadableError):
        await cipher.open(KEYS[0], resealed[20])
    assert len({after.blob for after in resealed}) == len(KEYS)


async def test_a_cold_cipher_asks_for_each_key_once_and_for_several_at_a_time(cipher, repository, master):
    values = await rotated(cipher, repository)
    cold = cipher_over(repository, master)
    master.gate, master.unwraps = asyncio.Event(), 0
    resealing = asyncio.create_task(cold.reseal(values))
    for _ in range(200):
        await asyncio.sleep(0)
    assert master.unwraps == 8  # the others wait for their turn
    master.gate.set()
    assert all(isinstance(after, SealedToken) for after in await resealing)
    assert master.unwraps == 40  # each tenant's old and new key
    await cold._keyring.aclose()


async def test_others_get_their_turn_meanwhile(cipher, repository):
    values = await rotated(cipher, repository)
    await cipher.reseal(values)  # all keys are at hand now
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await cipher.reseal(values)
    counting.cancel()
    assert turns >= 2


async def test_what_was_changed_is_left_out_and_the_log_says_why(cipher, repository, caplog):
    values = await rotated(cipher, repository)
    key, sealed = values[3]
    flipped = sealed.blob[:-1] + bytes([sealed.blob[-1] ^ 1])
    values[3] = (key, evolve(sealed, blob=flipped))
    values[4] = (values[4][0], values[24][1])  # the ciphertext of another context of the same tenant
    values[5] = (values[5][0], SealedToken(os.urandom(16), values[5][1].blob))
    resealed = await cipher.reseal(values)
    assert [number for number, after in enumerate(resealed) if not isinstance(after, SealedToken)] == [3, 4, 5]
    reasons = [record.getMessage() for record in caplog.records]
    assert sorted(reason.rsplit(": ")[1] for reason in reasons) == ["commitment", "tag", "unknown_key"]
    assert VALUE.reveal() not in caplog.text


async def test_a_damaged_active_key_is_the_trouble_of_its_tenant_alone(cipher, repository, master, caplog):
    values = await rotated(cipher, repository)
    record = repository._active("tenant-7")
    damaged = tuple(evolve(wrap, wrapped=wrap.wrapped[:-1] + bytes([wrap.wrapped[-1] ^ 1])) for wrap in record.wraps)
    repository.data["tenant-7", record.key_id] = evolve(record, wraps=damaged)
    cold = cipher_over(repository, master)
    resealed = await cold.reseal(values)
    refused = [(key, after) for (key, _), after in zip(values, resealed, strict=True) if isinstance(after, Exception)]
    assert [key.tenant_id for key, _ in refused] == ["tenant-7"] * 15
    assert {after.data_key_id for _, after in refused} == {record.key_id}  # not the intact old key
    assert "active_data_key_" in caplog.text
    await cold._keyring.aclose()


async def test_a_master_key_that_is_away_ends_it_and_is_not_asked_for_the_rest(cipher, repository, master):
    keys = [TokenKey(f"tenant-{number}", "github", "access_token") for number in range(200)]
    values = await rotated(cipher, repository, keys)
    cold = cipher_over(repository, master)
    master.switch_off()
    master.unwraps = 0
    with pytest.raises(KeyUnavailableError) as caught:
        await cold.reseal(values)
    assert caught.value.retryable
    assert master.unwraps <= 64
    assert repository.calls.count("create_data_key") == 200  # all of them by the first seal, none in the outage
    await cold._keyring.aclose()


async def test_a_data_key_of_another_key_of_the_service_is_left_out_and_the_others_are_not(cipher, repository, master):
    values = await rotated(cipher, repository)
    cold = cipher_over(repository, master)
    active, unwrap = repository._active("tenant-7").key_id, master.unwrap

    async def refusing(wrapped, tenant_id, data_key_id):
        if data_key_id == active:
            raise ConfigurationError("wrapped with another key", code="kms_wrong_key")
        return await unwrap(wrapped, tenant_id, data_key_id)

    master.unwrap = refusing
    resealed = await cold.reseal(values)
    refused = {(key.tenant_id, after.reason) for (key, _), after in zip(values, resealed, strict=True)
               if isinstance(after, Exception)}  # fmt: skip
    assert refused == {("tenant-7", "kms_wrong_key")}
    await cold._keyring.aclose()


async def test_a_configuration_that_opens_no_data_key_ends_it(cipher, repository, master):
    values = await rotated(cipher, repository, KEYS[:3])
    cold = cipher_over(repository, master)
    master.outage = ConfigurationError("not allowed", code="kms_access_denied")
    with pytest.raises(ConfigurationError):
        await cold.reseal(values)
    await cold._keyring.aclose()


async def test_a_key_of_a_master_key_that_nobody_has_here_is_left_out(cipher, repository):
    values = await rotated(cipher, repository, KEYS[:3])
    stranger = cipher_over(repository, SwitchableMasterKey())
    assert [after.reason for after in await stranger.reseal(values)] == ["unknown_master_key"] * 3
    await stranger._keyring.aclose()


async def test_no_key_is_made_for_a_tenant_that_was_erased(cipher, repository):
    values = await rotated(cipher, repository, KEYS[:2])
    repository.erase("tenant-0")
    cipher.forget_tenant("tenant-0")
    gone, there = await cipher.reseal(values)
    assert (gone.reason, type(there)) == (DESTROYED_KEY, SealedToken)
    repository.calls.clear()
    cold = cipher_over(repository, SwitchableMasterKey())
    with pytest.raises(UnreadableError) as caught:
        await cold._keyring.find_active_key("tenant-0")
    assert caught.value.reason == NO_ACTIVE_KEY
    assert "create_data_key" not in repository.calls


async def test_nothing_is_asked_for_nothing(cipher, repository):
    assert await cipher.reseal([]) == []
    assert repository.calls == []
