"""The keyring finds data keys by id, shares calls for the same key, makes no key by mistake and holds none for ever."""

import asyncio
import copy
import gc
import os
import pickle
from datetime import timedelta

import pytest
from attrs import evolve
from tests.adapters.crypto.open_keys import Seconds, SwitchableMasterKey, cipher_over, keyring_over

from vault_adapters.crypto.envelope import EnvelopeKey, Purpose
from vault_adapters.crypto.key_cache import KeyCache
from vault_domain.entities.account import TokenKey
from vault_domain.entities.errors import ConfigurationError, DecryptionError, KeyUnavailableError
from vault_domain.entities.key_records import DataKeyState, DataKeyWrap, MasterKeyRecord, MasterKeyState
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import SealedToken
from vault_domain.ports.cipher import NO_ACTIVE_KEY, UnreadableError

KEY = TokenKey("tenant-1", "github", "access_token", "alice@example.com")
VALUE = Secret("gho_16C7e42F292c6912E7710c838347Ae178B4a")
TTL = timedelta(minutes=5)


@pytest.fixture
def master():
    return SwitchableMasterKey()


@pytest.fixture
def seconds():
    return Seconds()


@pytest.fixture
async def cipher(repository, master, seconds):
    cipher = cipher_over(repository, master, ttl=TTL, monotonic=seconds)
    yield cipher
    await cipher._keyring.aclose()


@pytest.fixture
async def other(repository, master):
    """Another process over the same tables."""
    other = cipher_over(repository, master)
    yield other
    await other._keyring.aclose()


async def seal(cipher, key=KEY, value=VALUE):
    (sealed,) = await cipher.seal([(key, value)])
    return sealed


def keys_in_memory(key_id):
    gc.collect()
    return sum(type(each) is EnvelopeKey and each.key_id == key_id for each in gc.get_objects())


def flipped(blob):
    """Return an envelope whose last bit is changed."""
    return blob[:-1] + bytes((blob[-1] ^ 1,))


async def wrap_also(repository, second, *opened_by):
    """Add a wrap under a second master key to each data key, as a rotation does."""
    keyring = keyring_over(repository, second, *opened_by)
    for place, record in repository.data.items():
        repository.data[place] = evolve(record, wraps=(*record.wraps, await keyring.make_missing_wrap(record)))


def is_held(cipher, tenant_id):
    """Return whether any key of this tenant is held."""
    keyring = cipher._keyring
    tenant = keyring._cache._tenants.get(tenant_id)
    return tenant is not None and any(keyring.get_held_key(tenant_id, key_id) for key_id in list(tenant.held))


async def refusal(cipher, key, sealed):
    with pytest.raises(UnreadableError) as caught:
        await cipher.open(key, sealed)
    assert caught.value.__context__ is None
    return caught.value.reason


class TestPlaces:
    async def test_round_trip_in_two_processes(self, cipher, other):
        sealed = await seal(cipher)
        assert await cipher.open(KEY, sealed) == await other.open(KEY, sealed) == VALUE

    @pytest.mark.parametrize(
        "change",
        [{"provider": "gitlab"}, {"kind": "refresh_token"}, {"identifier": "bob@example.com"}, {"identifier": None}],
        ids=str,
    )
    async def test_moved_within_the_tenant(self, cipher, change):
        assert await refusal(cipher, evolve(KEY, **change), await seal(cipher)) == "commitment"

    async def test_what_is_held_opens_at_once_and_nothing_else_does(self, cipher, other):
        [sealed] = await cipher.seal([(KEY, VALUE)], [Secret("extra")])
        opening = cipher.opening(KEY, sealed)
        assert opening() == opening() == (VALUE, Secret("extra"))
        assert cipher.opening(KEY, evolve(sealed, extra=None))() == (VALUE, None)
        assert other.opening(KEY, sealed) is None  # its data key is not held in that process
        assert cipher.opening(evolve(KEY, provider="gitlab"), sealed) is None
        assert cipher.opening(KEY, evolve(sealed, extra=sealed.blob)) is None

    async def test_what_was_changed_after_its_salt_does_not_open_at_once(self, cipher):
        [sealed] = await cipher.seal([(KEY, VALUE)], [Secret("extra")])
        changed = [evolve(sealed, blob=flipped(sealed.blob)), evolve(sealed, extra=flipped(sealed.extra))]
        assert [cipher.opening(KEY, each)() for each in changed] == [None, None]

    async def test_an_opening_ends_with_the_time_of_its_data_key(self, cipher, seconds):
        sealed = await seal(cipher)
        opening = cipher.opening(KEY, sealed)
        seconds.now += TTL.total_seconds() - 1
        assert opening() == (VALUE, None)
        seconds.now += 1
        assert opening() is None
        await cipher.open(KEY, sealed)
        assert opening() is None  # the data key was unwrapped anew, so the old subkeys are not used again
        assert cipher.opening(KEY, sealed)() == (VALUE, None)

    async def test_an_opening_ends_when_its_tenant_is_erased(self, cipher):
        opening = cipher.opening(KEY, await seal(cipher))
        cipher.forget_tenant("tenant-1")
        assert opening() is None

    async def test_an_opening_does_not_keep_its_data_key_in_memory(self, cipher):
        sealed = await seal(cipher)
        opening = cipher.opening(KEY, sealed)
        assert opening() == (VALUE, None)
        assert keys_in_memory(sealed.data_key_id) == 1
        cipher.forget_tenant("tenant-1")
        assert (keys_in_memory(sealed.data_key_id), opening()) == (0, None)

    async def test_an_opening_does_not_copy_a_long_value(self, cipher):
        sealed = await seal(cipher, value=Secret("x" * 60_000))
        opening = cipher.opening(KEY, sealed)
        assert opening._value._blob is sealed.blob
        assert opening() == (Secret("x" * 60_000), None)

    async def test_an_opening_shows_no_key_and_is_not_copied(self, cipher):
        opening = cipher.opening(KEY, await seal(cipher))
        for each in (opening, opening._value):
            assert not hasattr(each, "__dict__")
            assert repr(each).startswith("<vault_adapters.crypto.")
            for leak in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(TypeError, match="cannot be pickled or copied"):
                    leak(each)

    async def test_moved_to_another_tenant(self, cipher, repository):
        sealed, theirs = await seal(cipher), evolve(KEY, tenant_id="tenant-2")
        assert await refusal(cipher, theirs, sealed) == "unknown_key"
        await seal(cipher, theirs)
        assert await refusal(cipher, theirs, sealed) == "unknown_key"

    async def test_moved_to_another_tenant_with_its_wrapped_key(self, cipher, other, repository):
        sealed = await seal(cipher)
        record = repository.data["tenant-1", sealed.data_key_id]
        repository.data["tenant-2", record.key_id] = evolve(record, tenant_id="tenant-2")
        theirs = evolve(KEY, tenant_id="tenant-2")
        assert await refusal(other, theirs, sealed) == "data_key_commitment"
        with pytest.raises(DecryptionError):
            await seal(other, theirs)

    @pytest.mark.parametrize("confirmed", [None, DataKeyState.DECRYPT_ONLY])
    async def test_another_tenants_active_key_is_a_wrong_row_whatever_its_state(
        self, cipher, repository, caplog, confirmed
    ):
        await seal(cipher)
        [record] = repository.data.values()
        repository.data["tenant-2", record.key_id] = evolve(record, confirmed=confirmed)
        with pytest.raises(UnreadableError) as caught:
            await cipher._keyring.find_active_key("tenant-2")
        assert (caught.value.reason, caught.value.data_key_id) == ("active_wrong_row", record.key_id)
        assert "set back" not in caplog.text

    async def test_an_own_active_key_that_was_set_back_is_told_as_such(self, cipher, repository):
        await seal(cipher)
        [record] = repository.data.values()
        repository.data["tenant-1", record.key_id] = evolve(record, confirmed=DataKeyState.DECRYPT_ONLY)
        cipher.forget_active(["tenant-1"])
        with pytest.raises(UnreadableError) as caught:
            await cipher._keyring.find_active_key("tenant-1")
        assert (caught.value.reason, caught.value.data_key_id) == ("resurrected_key", record.key_id)

    async def test_wraps_swapped_between_keys_of_one_tenant(self, cipher, other, repository):
        sealed = await seal(cipher)
        record = repository.data["tenant-1", sealed.data_key_id]
        second = await cipher._keyring.make_data_key("tenant-1")
        repository.data["tenant-1", record.key_id] = evolve(record, wraps=second.wraps)
        assert await refusal(other, KEY, sealed) == "data_key_commitment"

    async def test_a_changed_wrap(self, cipher, other, repository):
        sealed = await seal(cipher)
        record = repository.data["tenant-1", sealed.data_key_id]
        (wrap,) = record.wraps
        for broken in (wrap.wrapped[:-1] + bytes([wrap.wrapped[-1] ^ 1]), wrap.wrapped[:-1], b"", wrap.wrapped * 2):
            spoilt = evolve(record, wraps=(DataKeyWrap(wrap.master_key_id, broken),))
            repository.data["tenant-1", record.key_id] = spoilt
            assert (await refusal(other, KEY, sealed)).startswith("data_key_")

    async def test_the_row_names_another_key_than_the_envelope(self, cipher, repository):
        sealed = await seal(cipher)
        first = repository.data["tenant-1", sealed.data_key_id]
        second = await cipher._keyring.make_data_key("tenant-1")
        repository.replace_active(second)
        assert await refusal(cipher, KEY, SealedToken(second.key_id, sealed.blob)) == "key_id"
        assert await refusal(cipher, KEY, SealedToken(bytes(16), sealed.blob)) == "unknown_key"
        assert first.state is DataKeyState.ACTIVE

    async def test_what_is_no_text_is_no_value(self, cipher):
        sealed = await seal(cipher)
        envelope = await cipher._keyring.find_key("tenant-1", sealed.data_key_id)
        for plaintext in (b"\xff\xfe", b"\xed\xa0\x80"):
            blob = envelope.seal(plaintext, cipher._contexts.encode(KEY))
            assert await refusal(cipher, KEY, SealedToken(sealed.data_key_id, blob)) == "encoding"

    @pytest.mark.parametrize("text", ["", "\0", "ünïcödé 🔑", "x" * 64 * 1024])
    async def test_values(self, cipher, text):
        assert (await cipher.open(KEY, await seal(cipher, value=Secret(text)))).reveal() == text


class TestSealingMany:
    async def test_each_under_its_tenants_key_in_order(self, cipher, repository):
        keys = [TokenKey(f"tenant-{number % 7}", "github", "api_key", str(number)) for number in range(600)]
        sealed = await cipher.seal([(key, Secret(str(key.identifier))) for key in keys])
        assert len(repository.data) == 7
        for key, one in zip(keys, sealed, strict=True):
            assert (await cipher.open(key, one)).reveal() == key.identifier

    async def test_it_gives_way_to_other_tasks(self, cipher):
        await seal(cipher)
        turns = 0

        async def count():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        await cipher.seal([(KEY, VALUE)] * 2048)
        counting.cancel()
        assert turns >= 8

    async def test_more_tenants_than_are_held(self, repository, master):
        cipher = cipher_over(repository, master, capacity=3)
        keys = [TokenKey(f"tenant-{number}", "github", "api_key") for number in range(10)]
        sealed = await cipher.seal([(key, VALUE) for key in keys])
        assert [await cipher.open(key, one) for key, one in zip(keys, sealed, strict=True)] == [VALUE] * 10
        assert [is_held(cipher, key.tenant_id) for key in keys] == [False] * 7 + [True] * 3

    async def test_nothing(self, cipher, repository):
        assert await cipher.seal([]) == []
        assert repository.calls == []


class TestRenewing:
    """A key in use is unwrapped again in the background, so that an outage finds it with half of its time left."""

    @pytest.fixture
    async def cipher(self, repository, master, seconds):
        cipher = cipher_over(repository, master, ttl=TTL, monotonic=seconds, renewing=True)
        yield cipher
        await cipher._keyring.aclose()

    async def used(self, cipher, sealed):
        value = await cipher.open(KEY, sealed)
        for _ in range(20):
            await asyncio.sleep(0)
        return value

    async def test_a_key_service_that_fails_is_not_asked_for_each_use(self, cipher, repository, master, seconds):
        sealed = await seal(cipher)
        seconds.now += TTL.total_seconds() / 2
        master.switch_off()
        asked = repository.calls.count("data_key")
        for _ in range(50):
            seconds.now += 1
            assert await self.used(cipher, sealed) == VALUE
        assert 3 <= repository.calls.count("data_key") - asked <= 4

    async def test_after_half_of_its_time(self, cipher, master, seconds):
        sealed = await seal(cipher)
        half = TTL.total_seconds() / 2
        seconds.now += half
        assert await self.used(cipher, sealed) == VALUE
        master.switch_off()
        seconds.now += TTL.total_seconds() - 1
        assert await self.used(cipher, sealed) == VALUE
        seconds.now += 1
        with pytest.raises(KeyUnavailableError):
            await cipher.open(KEY, sealed)

    async def test_not_before(self, cipher, repository, seconds):
        sealed = await seal(cipher)
        seconds.now += TTL.total_seconds() / 2 - 1
        repository.calls.clear()
        await self.used(cipher, sealed)
        assert repository.calls == []

    async def test_a_key_that_was_destroyed_meanwhile_is_dropped(self, cipher, repository, seconds):
        sealed = await seal(cipher)
        record = repository.data["tenant-1", sealed.data_key_id]
        repository.data["tenant-1", sealed.data_key_id] = evolve(record, state=DataKeyState.DESTROYED, wraps=())
        seconds.now += TTL.total_seconds() / 2
        await self.used(cipher, sealed)
        assert not is_held(cipher, "tenant-1")


class TestSealers:
    async def test_it_seals_through_an_outage_and_beyond_its_time(self, cipher, other, master, seconds):
        await seal(other)
        seal_now = await cipher.sealer("tenant-1")
        master.switch_off()
        seconds.now += 10 * TTL.total_seconds()
        cipher.forget_active(["tenant-1"])
        sealed = seal_now(KEY, VALUE)
        master.outage = None
        assert await other.open(KEY, sealed) == VALUE

    async def test_it_serves_one_tenant(self, cipher):
        await seal(cipher)
        seal_now = await cipher.sealer("tenant-1")
        with pytest.raises(ValueError, match="one tenant"):
            seal_now(evolve(KEY, tenant_id="tenant-2"), VALUE)

    async def test_it_makes_no_key_and_shows_nothing(self, cipher, repository):
        with pytest.raises(UnreadableError) as caught:
            await cipher.sealer("tenant-1")  # the tenant has no data key, as after an erasure
        assert (caught.value.reason, repository.data) == (NO_ACTIVE_KEY, {})
        await seal(cipher)
        seal_now = await cipher.sealer("tenant-1")
        assert seal_now(KEY, VALUE).data_key_id in {key_id for _, key_id in repository.data}
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
            pickle.dumps(seal_now)


class TestLettingGo:
    async def test_of_a_tenant_that_is_erased_while_its_key_is_on_its_way(self, cipher, repository, other, master):
        sealed = await seal(other)
        master.gate = asyncio.Event()
        for asking in (cipher.sealer("tenant-1"), cipher.seal([(KEY, VALUE)]), cipher.open(KEY, sealed)):
            task = asyncio.create_task(asking)
            for _ in range(20):
                await asyncio.sleep(0)
            cipher.forget_tenant("tenant-1")
            master.gate.set()
            await task
            master.gate.clear()
            assert not is_held(cipher, "tenant-1")
            assert cipher._keyring.get_held_key("tenant-1", sealed.data_key_id) is None

    async def test_of_keys_whose_time_is_over(self, cipher, seconds):
        keys = [evolve(KEY, tenant_id=f"tenant-{number}") for number in range(50)]
        sealed = await cipher.seal([(key, VALUE) for key in keys])
        seconds.now += TTL.total_seconds() + 1
        assert cipher._keyring.get_held_key("tenant-7", sealed[7].data_key_id) is None
        assert cipher._keyring._cache._size == 49  # the expired key that was asked for is dropped
        await seal(cipher, evolve(KEY, tenant_id="another"))
        assert cipher._keyring._cache._size == 1

    async def test_at_the_end_nothing_is_under_way(self, repository, master, other):
        await seal(other)
        cipher = cipher_over(repository, master)
        master.gate = asyncio.Event()
        asking = asyncio.create_task(seal(cipher))
        for _ in range(20):
            await asyncio.sleep(0)
        cipher.forget_tenant("tenant-1")
        await cipher._keyring.aclose()
        await asyncio.gather(asking, return_exceptions=True)
        assert cipher._keyring._flights.under_way == 0


class TestMakingDataKeys:
    async def test_of_concurrent_ones_in_one_process_one_is_made(self, cipher, repository):
        sealed = await asyncio.gather(*(seal(cipher) for _ in range(50)))
        assert {one.data_key_id for one in sealed} == {key_id for _, key_id in repository.data}
        assert repository.calls == ["active_data_key", "create_data_key"]

    async def test_of_several_processes_all_take_the_winners(self, repository, master):
        ciphers = [cipher_over(repository, master) for _ in range(8)]
        sealed = await asyncio.gather(*(seal(cipher) for cipher in ciphers))
        assert repository.calls.count("create_data_key") == 8
        assert len(repository.data) == 1
        assert {one.data_key_id for one in sealed} == {key_id for _, key_id in repository.data}
        for cipher in ciphers:
            assert [await cipher.open(KEY, one) for one in sealed] == [VALUE] * 8

    async def test_only_the_active_master_key_wraps_it(self, repository, master):
        await seal(cipher_over(repository, master, SwitchableMasterKey()))
        (record,) = repository.data.values()
        assert [wrap.master_key_id for wrap in record.wraps] == [master.key_id]

    async def test_none_is_made_because_one_could_not_be_unwrapped(self, cipher, other, repository, master):
        await seal(other)
        master.switch_off()
        with pytest.raises(KeyUnavailableError):
            await seal(cipher)
        assert len(repository.data) == 1
        assert repository.calls.count("create_data_key") == 1
        master.outage = None
        await seal(cipher)
        assert len(repository.data) == 1

    async def test_none_is_stored_while_the_service_is_out(self, cipher, repository, master):
        master.switch_off()
        with pytest.raises(KeyUnavailableError) as caught:
            await seal(cipher)
        assert caught.value.retryable
        assert repository.data == {}

    async def test_its_bytes_are_in_no_traceback(self, cipher, master, monkeypatch):
        drawn = []
        urandom = os.urandom
        monkeypatch.setattr("os.urandom", lambda size: drawn.append(urandom(size)) or drawn[-1])
        master.switch_off()
        with pytest.raises(KeyUnavailableError) as caught:
            await seal(cipher)
        (data_key,) = [value for value in drawn if len(value) == 32]
        frames = [entry.frame for entry in caught.traceback[1:]]  # the first frame is this test's, which holds `drawn`
        held = [repr(value) for frame in frames for value in frame.f_locals.values()]
        assert not any(repr(data_key)[2:-1] in text for text in held)


class TestHolding:
    async def test_a_held_key_needs_no_call(self, cipher, repository, master):
        sealed = await seal(cipher)
        repository.calls, master.unwraps = [], 0
        for _ in range(5):
            assert await cipher.open(KEY, sealed) == VALUE
            await seal(cipher)
        assert (repository.calls, master.unwraps) == ([], 0)

    async def test_it_ends(self, cipher, repository, master, seconds):
        sealed = await seal(cipher)
        seconds.now += TTL.total_seconds() - 0.1
        assert is_held(cipher, "tenant-1")
        await cipher.open(KEY, sealed)
        repository.calls, master.unwraps = [], 0
        seconds.now += 0.1
        assert not is_held(cipher, "tenant-1")
        assert await cipher.open(KEY, sealed) == VALUE
        assert (repository.calls, master.unwraps) == (["data_key"], 1)
        await seal(cipher)
        assert repository.calls == ["data_key", "active_data_key"]

    @pytest.mark.parametrize("way", ["seal", "sealer"])
    async def test_the_active_key_seals_no_longer_than_it_opens(self, cipher, repository, master, seconds, way):
        """Open nothing in between, because opening checks the time as well."""
        do = {"seal": lambda: seal(cipher), "sealer": lambda: cipher.sealer(KEY.tenant_id)}[way]
        await seal(cipher)
        seconds.now += TTL.total_seconds() - 0.1
        repository.calls, master.unwraps = [], 0
        await do()
        assert (repository.calls, master.unwraps) == ([], 0)
        seconds.now += 0.1
        await do()
        assert (repository.calls, master.unwraps) == (["active_data_key"], 1)

    async def test_an_outage_is_not_noticed_until_then(self, cipher, master, seconds):
        sealed = await seal(cipher)
        master.switch_off()
        assert await cipher.open(KEY, sealed) == VALUE
        await seal(cipher)
        seconds.now += TTL.total_seconds()
        with pytest.raises(KeyUnavailableError):
            await cipher.open(KEY, sealed)
        with pytest.raises(KeyUnavailableError):
            await seal(cipher)
        master.outage = None
        assert await cipher.open(KEY, sealed) == VALUE

    async def test_a_destroyed_key_opens_nothing(self, cipher, other, repository):
        sealed = await seal(cipher)
        (record,) = repository.data.values()
        repository.erase("tenant-1")
        assert await refusal(other, KEY, sealed) == "destroyed_key"
        repository.data["tenant-1", record.key_id] = evolve(record, state=DataKeyState.DESTROYED)
        assert await refusal(other, KEY, sealed) == "destroyed_key"
        repository.data["tenant-1", record.key_id] = evolve(record, wraps=())
        assert await refusal(other, KEY, sealed) == "unknown_key"

    async def test_another_process_loses_a_destroyed_key_in_time(self, cipher, repository, seconds):
        sealed = await seal(cipher)
        repository.erase("tenant-1")
        seconds.now += TTL.total_seconds()
        assert await refusal(cipher, KEY, sealed) == "destroyed_key"

    async def test_least_recently_used_tenants_leave_first(self, repository, master):
        cipher = cipher_over(repository, master, capacity=2)
        keys = [TokenKey(f"tenant-{number}", "github", "api_key") for number in range(3)]
        first = await seal(cipher, keys[0])
        await seal(cipher, keys[1])
        await cipher.open(keys[0], first)
        await seal(cipher, keys[2])
        assert [is_held(cipher, key.tenant_id) for key in keys] == [True, False, True]

    async def test_a_key_that_is_dropped_is_not_the_active_one_either(self):
        seconds = Seconds()
        cache = KeyCache(10, TTL.total_seconds(), seconds)
        active, old = (EnvelopeKey(bytes(32), bytes([number]) * 16, Purpose.VALUE) for number in range(2))
        for key in (old, active):
            cache.put("tenant-1", key)
        cache.put_active("tenant-1", active)
        cache.put("tenant-1", active)  # read again, as the renewal in the background does
        cache.forget_key("tenant-1", old.key_id)
        assert cache.get_active("tenant-1") is active
        cache.put("tenant-1", old)
        cache.forget_key("tenant-1", active.key_id)
        assert cache.get_active("tenant-1") is None

    async def test_after_a_rotation_the_old_key_still_opens(self, cipher, repository):
        before = await seal(cipher)
        repository.replace_active(await cipher._keyring.make_data_key("tenant-1"))
        assert (await seal(cipher)).data_key_id == before.data_key_id
        cipher.forget_active(["tenant-1", "tenant-2"])
        after = await seal(cipher)
        assert after.data_key_id != before.data_key_id
        repository.calls = []
        assert await cipher.open(KEY, before) == await cipher.open(KEY, after) == VALUE
        assert repository.calls == []

    async def test_an_erased_tenant_starts_afresh(self, cipher, repository):
        before = await seal(cipher)
        repository.erase("tenant-1")
        cipher.forget_tenant("tenant-1")
        assert not is_held(cipher, "tenant-1")
        assert await refusal(cipher, KEY, before) == "destroyed_key"
        after = await seal(cipher)
        assert after.data_key_id != before.data_key_id
        assert await cipher.open(KEY, after) == VALUE


class TestFlights:
    @pytest.fixture
    async def cold(self, other, master):
        """A value whose key the cipher does not hold, and a master key that waits."""
        sealed = await seal(other)
        master.gate, master.unwraps = asyncio.Event(), 0
        return sealed

    async def start(self, *coroutines):
        tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
        for _ in range(10):
            await asyncio.sleep(0)
        return tasks

    async def test_one_unwrap_serves_all(self, cipher, repository, master, cold):
        repository.calls = []
        tasks = await self.start(*(cipher.open(KEY, cold) for _ in range(20)), *(seal(cipher) for _ in range(20)))
        master.gate.set()
        await asyncio.gather(*tasks)
        assert master.unwraps == 1
        assert sorted(repository.calls) == ["active_data_key", "data_key"]

    async def test_a_cancelled_caller_only_leaves(self, cipher, master, cold):
        first, second = await self.start(cipher.open(KEY, cold), cipher.open(KEY, cold))
        first.cancel()
        await asyncio.sleep(0)
        master.gate.set()
        assert await second == VALUE
        with pytest.raises(asyncio.CancelledError):
            await first
        assert master.unwraps == 1

    async def test_what_all_have_left_is_still_held(self, cipher, master, cold):
        tasks = await self.start(cipher.open(KEY, cold), seal(cipher))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        master.gate.set()
        await self.start()
        assert is_held(cipher, "tenant-1")

    async def test_all_get_the_failure_and_the_next_call_tries_again(self, cipher, master, cold):
        tasks = await self.start(*(cipher.open(KEY, cold) for _ in range(3)))
        master.switch_off()
        master.gate.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [KeyUnavailableError] * 3
        master.outage = None
        assert await cipher.open(KEY, cold) == VALUE

    async def test_a_failure_that_nobody_waits_for_is_not_complained_about(self, cipher, master, cold, caplog):
        import gc

        (task,) = await self.start(cipher.open(KEY, cold))
        task.cancel()
        master.switch_off()
        master.gate.set()
        await self.start()
        del task
        gc.collect()
        assert caplog.records == []

    async def test_a_tenant_forgotten_meanwhile_is_not_held(self, cipher, repository, master, cold):
        tasks = await self.start(cipher.open(KEY, cold), seal(cipher))
        repository.erase("tenant-1")
        cipher.forget_tenant("tenant-1")
        master.gate.set()
        await asyncio.gather(*tasks)
        assert not is_held(cipher, "tenant-1")

    async def test_an_active_key_forgotten_meanwhile_is_looked_up_again(self, cipher, repository, master, cold):
        (task,) = await self.start(seal(cipher))
        cipher.forget_active(["tenant-1"])
        master.gate.set()
        await task
        repository.calls = []
        await seal(cipher)
        assert repository.calls == ["active_data_key"]

    async def test_closing_ends_them(self, cipher, cold):
        (task,) = await self.start(cipher.open(KEY, cold))
        await cipher._keyring.aclose()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not is_held(cipher, "tenant-1")


class TestSeveralMasterKeys:
    @pytest.fixture
    def second(self):
        return SwitchableMasterKey()

    @pytest.mark.parametrize("outage", [KeyUnavailableError(), ConfigurationError(code="kms_access_denied")], ids=repr)
    async def test_another_one_serves_while_the_active_one_cannot(self, repository, master, second, outage):
        sealed = await seal(cipher_over(repository, master))
        await wrap_also(repository, second, master)
        master.outage = outage
        assert await cipher_over(repository, master, second).open(KEY, sealed) == VALUE
        second.outage = KeyUnavailableError()
        with pytest.raises(KeyUnavailableError):
            await cipher_over(repository, master, second).open(KEY, sealed)

    async def test_a_wrap_that_was_changed_is_not_passed_over(self, repository, master, second):
        sealed = await seal(cipher_over(repository, master))
        await wrap_also(repository, second, master)
        ((place, record),) = repository.data.items()
        wraps = (evolve(record.wraps[0], wrapped=bytes(200)), record.wraps[1])
        repository.data[place] = evolve(record, wraps=wraps)
        assert await refusal(cipher_over(repository, master, second), KEY, sealed) == "data_key_header"

    async def test_a_data_key_that_only_others_wrap_is_unavailable_not_unreadable(self, repository, master, second):
        sealed = await seal(cipher_over(repository, master))
        with pytest.raises(KeyUnavailableError) as caught:
            await cipher_over(repository, second).open(KEY, sealed)
        assert (caught.value.reason, caught.value.retryable) == ("unknown_master_key", False)
        with pytest.raises(KeyUnavailableError):
            await seal(cipher_over(repository, second))
        assert len(repository.data) == 1

    async def test_all_calls_follow_a_rotation_by_another_process(self, repository, master, second):
        for key in (master, second):
            repository.masters[key.key_id] = MasterKeyRecord(key.key_id, "local", state=MasterKeyState.UNWRAP_ONLY)
        cipher = cipher_over(repository, master, second)
        repository.activate_master_key(second.key_id)
        await asyncio.gather(*(seal(cipher, evolve(KEY, tenant_id=f"tenant-{number}")) for number in range(5)))
        assert len(repository.data) == 5
        assert {wrap.master_key_id for key in repository.data.values() for wrap in key.wraps} == {second.key_id}
        with pytest.raises(KeyUnavailableError) as caught:
            await seal(cipher_over(repository, master), evolve(KEY, tenant_id="another"))
        assert caught.value.reason == "retired_master_key"
        assert len(repository.data) == 5

    async def test_missing_wraps_are_of_the_same_key(self, repository, master, second):
        sealed = await seal(cipher_over(repository, master))
        ((place, record),) = repository.data.items()
        wrap = await cipher_over(repository, second, master)._keyring.make_missing_wrap(record)
        assert wrap.master_key_id == second.key_id
        repository.data[place] = evolve(record, wraps=(wrap,))
        assert await cipher_over(repository, second).open(KEY, sealed) == VALUE
        assert await cipher_over(repository, second)._keyring.make_missing_wrap(repository.data[place]) is None

    async def test_wraps_agree_where_they_open_to_the_same_key(self, repository, master, second):
        await seal(cipher_over(repository, master))
        await wrap_also(repository, second, master)
        (record,) = repository.data.values()
        keyring = keyring_over(repository, master, second)
        assert await keyring.wraps_agree(record)
        another = await second.wrap(os.urandom(32), record.tenant_id, record.key_id)
        for wrapped in (another, bytes(200)):
            mine, theirs = record.wraps
            differing = evolve(record, wraps=(mine, evolve(theirs, wrapped=wrapped)))
            assert not await keyring.wraps_agree(differing)
            assert await keyring_over(repository, master).wraps_agree(differing)  # it can open only one wrap
        assert not await keyring_over(repository, SwitchableMasterKey()).wraps_agree(record)


async def test_check_asks_the_active_master_key(repository, master):
    later, stranger = SwitchableMasterKey(), SwitchableMasterKey()
    cipher = cipher_over(repository, master, later)
    for key, state in (master, MasterKeyState.ACTIVE), (later, MasterKeyState.UNWRAP_ONLY):
        repository.masters[key.key_id] = MasterKeyRecord(key.key_id, "local", state=state)
    await cipher.check()
    master.switch_off()
    with pytest.raises(KeyUnavailableError) as caught:
        await cipher.check()
    assert caught.value.reason == "kms_unavailable"
    # Another process has rotated the master key meanwhile.
    repository.activate_master_key(later.key_id)
    await cipher.check()
    repository.masters[stranger.key_id] = MasterKeyRecord(stranger.key_id, "local")
    repository.activate_master_key(stranger.key_id)
    with pytest.raises(KeyUnavailableError) as caught:
        await cipher.check()
    assert caught.value.reason == "unknown_master_key"
