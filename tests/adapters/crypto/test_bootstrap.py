"""Opening master keys at start: which of several processes wins, what is refused, and that a refusal writes nothing."""

import asyncio
import json

import pytest
from attrs import evolve
from tests.adapters.crypto.memory_keys import MemoryKeyRepository

from vault_adapters.crypto.bootstrap import open_master_keys
from vault_adapters.crypto.local_key import new_record
from vault_adapters.testing.contract.master_keys import introduce
from vault_domain.entities.errors import ConfigurationError, WrongEncryptionSecretError
from vault_domain.entities.key_decisions import KeyDecision
from vault_domain.entities.key_records import DataKeyRecord, DataKeyState, MasterKeyState
from vault_domain.entities.secret import Secret
from vault_domain.ports.master_key import MasterKeys

OLD, NEW, OTHER = (Secret(f"the {name} secret, of enough characters") for name in ("old", "new", "other"))


def opening(repository, secret, previous_secret=None, **settings):
    return open_master_keys(repository, secret=secret, previous_secret=previous_secret, scrypt_log2_n=14, **settings)


@pytest.fixture
def scrypt_runs(monkeypatch):
    """Count the runs of scrypt by secret and salt."""
    import hashlib

    runs = []
    scrypt = hashlib.scrypt

    def counted(password, **parameters):
        runs.append((password, parameters["salt"]))
        return scrypt(password, **parameters)

    monkeypatch.setattr("hashlib.scrypt", counted)
    return runs


def states(repository):
    return [record.state for record in repository.masters.values()]


async def test_a_new_database_gets_an_active_key(repository):
    keys = await opening(repository, OLD)
    assert states(repository) == [MasterKeyState.ACTIVE]
    assert keys.active_id == keys.configured_id == next(iter(repository.masters))
    assert [key.key_id for key in keys] == [keys.active_id]


async def test_a_further_start_opens_it_and_writes_nothing(repository, scrypt_runs):
    first = await opening(repository, OLD)
    before, repository.calls = dict(repository.masters), []
    del scrypt_runs[:]
    again = await opening(repository, OLD)
    assert again.active_id == first.active_id
    assert repository.masters == before
    assert repository.calls == ["master_keys"]
    assert len(scrypt_runs) == 1


async def test_of_two_that_bootstrap_at_once_one_wins(repository):
    opened = await asyncio.gather(*(opening(repository, OLD) for _ in range(5)))
    assert states(repository) == [MasterKeyState.ACTIVE]
    assert {keys.active_id for keys in opened} == set(repository.masters)
    wrapped = await opened[0].active.wrap(b"d" * 32, "t", bytes(16))
    assert [await keys.active.unwrap(wrapped, "t", bytes(16)) for keys in opened] == [b"d" * 32] * 5


async def test_the_loser_with_another_secret_is_refused(repository):
    outcomes = await asyncio.gather(opening(repository, OLD), opening(repository, NEW), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {MasterKeys, WrongEncryptionSecretError}
    assert len(repository.masters) == 1


@pytest.mark.parametrize("secret", [None, Secret("a" * 31), Secret("")], ids=["none", "short", "empty"])
async def test_a_missing_or_short_secret_is_refused_before_the_database_is_asked(repository, secret):
    with pytest.raises(ConfigurationError):
        await opening(repository, secret)
    with pytest.raises(ConfigurationError):
        await opening(repository, OLD, Secret("short"))
    assert repository.calls == []


@pytest.mark.parametrize("cost", [13, 19])
async def test_a_cost_out_of_range_is_refused(repository, cost):
    with pytest.raises(ConfigurationError):
        await open_master_keys(repository, secret=OLD, scrypt_log2_n=cost)
    assert repository.masters == {}


async def test_data_without_a_master_key_is_refused(repository):
    repository.holds_tokens = True
    with pytest.raises(ConfigurationError) as caught:
        await opening(repository, OLD)
    assert caught.value.code == "master_key_missing"
    repository.holds_tokens = False
    repository.data["t", bytes(16)] = DataKeyRecord("t", bytes(16), DataKeyState.ACTIVE)
    with pytest.raises(ConfigurationError) as caught:
        await opening(repository, OLD)
    assert caught.value.code == "master_key_missing"
    assert repository.masters == {}


async def test_a_wrong_secret_is_refused_and_writes_nothing(repository):
    await opening(repository, OLD)
    before, repository.calls = dict(repository.masters), []
    for secrets in [(NEW,), (NEW, OTHER), (OTHER, NEW)]:
        with pytest.raises(WrongEncryptionSecretError) as caught:
            await opening(repository, *secrets)
        assert caught.value.__context__ is None
    assert repository.masters == before
    assert set(repository.calls) == {"master_keys"}


@pytest.mark.parametrize("change", [{"log2_n": 19}, {"log2_n": 60}, {"r": 4096}, {"p": 2}, {"salt": "00"}])
async def test_edited_parameters_are_refused_before_scrypt_runs(repository, scrypt_runs, change):
    await opening(repository, OLD)
    edit(repository, change)
    del scrypt_runs[:]
    with pytest.raises(ConfigurationError) as caught:
        await opening(repository, OLD)
    assert caught.value.code == "kdf_parameters"
    assert scrypt_runs == []


@pytest.mark.parametrize("change", [{"log2_n": 15}, {"salt": "00" * 32}])
async def test_edited_parameters_within_range_are_refused(repository, change):
    await opening(repository, OLD)
    edit(repository, change)
    with pytest.raises(WrongEncryptionSecretError):
        await opening(repository, OLD)


def edit(repository, change):
    ((key_id, record),) = repository.masters.items()
    repository.masters[key_id] = evolve(record, kdf=json.dumps(json.loads(record.kdf) | change))


async def test_a_database_without_an_active_key_is_refused(repository):
    await opening(repository, OLD)
    ((key_id, record),) = repository.masters.items()
    for state in (MasterKeyState.UNWRAP_ONLY, MasterKeyState.RETIRED):
        repository.masters[key_id] = evolve(record, state=state)
        with pytest.raises(ConfigurationError) as caught:
            await opening(repository, OLD)
        assert caught.value.code == "master_key_missing"


class TestChangingTheSecret:
    async def test_the_new_one_is_introduced_and_nothing_else_changes(self, repository):
        old = await opening(repository, OLD)
        keys = await opening(repository, NEW, OLD)
        assert states(repository) == [MasterKeyState.ACTIVE, MasterKeyState.UNWRAP_ONLY]
        assert keys.active_id == old.active_id
        assert keys.configured_id == list(repository.masters)[1]
        assert [key.key_id for key in keys] == list(repository.masters)

    async def test_it_is_introduced_once(self, repository, scrypt_runs):
        await opening(repository, OLD)
        first = await opening(repository, NEW, OLD)
        del scrypt_runs[:]
        second = await opening(repository, NEW, OLD)
        assert second.configured_id == first.configured_id
        assert len(repository.masters) == 2
        assert len(scrypt_runs) == len(set(scrypt_runs)) <= 3

    async def test_of_two_introducers_one_wins(self, repository, scrypt_runs):
        await opening(repository, OLD)
        opened = await asyncio.gather(*(opening(repository, NEW, OLD) for _ in range(4)))
        assert len(repository.masters) == 2
        assert len({keys.configured_id for keys in opened}) == 1

    async def test_two_introducers_of_different_secrets_both_go_in(self, repository):
        await opening(repository, OLD)
        first, second = await asyncio.gather(opening(repository, NEW, OLD), opening(repository, OTHER, OLD))
        assert first.configured_id != second.configured_id
        assert states(repository).count(MasterKeyState.UNWRAP_ONLY) == 2

    async def test_scrypt_runs_once_for_each_secret_and_row(self, scrypt_runs):
        class Contended(MemoryKeyRepository):
            """Before each of the first three introductions, another process introduces a key of its own."""

            others = 3

            async def change_master_keys(self, decide):
                if self.masters and self.others:
                    self.others -= 1
                    foreign, _ = await new_record(OTHER, 14)
                    await introduce(super(), foreign, set(self.masters))
                return await super().change_master_keys(decide)

        repository = Contended()
        await opening(repository, OLD)
        del scrypt_runs[:]
        keys = await opening(repository, NEW, OLD)
        assert len(repository.masters) == 5
        assert keys.configured_id == list(repository.masters)[-1]
        assert len(scrypt_runs) == len(set(scrypt_runs))
        # Both secrets are tried on the first row and on the three rows of the others; one run makes the new key.
        by_us = [run for run in scrypt_runs if run[0] != OTHER.reveal().encode()]
        assert len(by_us) == 2 + 2 * 3 + 1

    async def test_introducing_against_endless_others_ends(self):
        class Hopeless(MemoryKeyRepository):
            async def change_master_keys(self, decide):
                return await super().change_master_keys(
                    decide if not self.masters else lambda keys, _: KeyDecision(keys)
                )

        repository = Hopeless()
        await opening(repository, OLD)
        with pytest.raises(ConfigurationError) as caught:
            await opening(repository, NEW, OLD)
        assert (caught.value.code, caught.value.retryable) == ("master_key_conflict", True)

    async def test_a_mistaken_introduction_does_not_stand_in_the_way(self, repository):
        await opening(repository, OLD)
        await opening(repository, OTHER, OLD)
        keys = await opening(repository, NEW, OLD)
        assert len(keys.opened) == 2
        assert len(repository.masters) == 3

    async def test_the_whole_way(self, repository):
        old = await opening(repository, OLD)
        both = await opening(repository, NEW, OLD)
        repository.activate_master_key(both.configured_id)
        assert (await opening(repository, NEW, OLD)).active_id == both.configured_id
        assert (await opening(repository, NEW)).active_id == both.configured_id
        with pytest.raises(WrongEncryptionSecretError):
            await opening(repository, OLD)
        repository.retire_master_key(old.active_id)
        after = await opening(repository, NEW, OLD)
        assert list(after.opened) == [both.configured_id]
        with pytest.raises(WrongEncryptionSecretError):
            await opening(repository, OLD)

    async def test_going_back_to_a_retired_secret_makes_a_new_key(self, repository):
        old = await opening(repository, OLD)
        both = await opening(repository, NEW, OLD)
        repository.activate_master_key(both.configured_id)
        repository.retire_master_key(old.active_id)
        back = await opening(repository, OLD, NEW)
        assert back.configured_id not in (old.active_id, both.configured_id)

    async def test_roles_swapped_open_both(self, repository):
        await opening(repository, OLD)
        both = await opening(repository, NEW, OLD)
        swapped = await opening(repository, OLD, NEW)
        assert (swapped.active_id, swapped.configured_id) == (both.active_id, both.active_id)
        assert set(swapped.opened) == set(both.opened)

    async def test_the_same_secret_twice_counts_once(self, repository, scrypt_runs):
        await opening(repository, OLD)
        del scrypt_runs[:]
        await opening(repository, OLD, Secret(OLD.reveal()))
        assert len(scrypt_runs) == 1

    async def test_a_previous_secret_on_a_new_database_does_nothing(self, repository):
        keys = await opening(repository, NEW, OLD)
        assert list(keys.opened) == [keys.configured_id]
        assert len(repository.masters) == 1


@pytest.mark.parametrize("name", ["", "LOCAL", "gcp-kms:x", "aws-kms", "aws-kms:"])
async def test_unknown_master_keys_are_refused(repository, name):
    with pytest.raises(ConfigurationError) as caught:
        await opening(repository, OLD, master_key=name)
    assert caught.value.code == "master_key_unknown"
    assert repository.masters == {}
