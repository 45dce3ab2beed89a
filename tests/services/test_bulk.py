"""Many values at once: they are sealed when the store takes them; an import prepares the next batch meanwhile."""

import asyncio

import pytest
from attrs import evolve
from tests.services.conftest import ACCESS, POLICY
from tests.services.fakes import Failing, settle

from vault_adapters import DecryptionError, Secret, StorageError, TokenKey
from vault_adapters.runtime.tasks import AsyncioTasks
from vault_adapters.testing.contract.master_keys import replace
from vault_domain.entities.imported import ImportedToken
from vault_domain.entities.token import TokenDraft
from vault_domain.ports.change import DataKeyInactiveError
from vault_domain.services.tokens.importing import ImportOptions, ImportService

MANY = 1001


def keys(count=MANY):
    return [TokenKey("t1", "google", "api_key", f"u{number:04}") for number in range(count)]


def drafts(count=MANY):
    return [TokenDraft(key, Secret(f"v{key.identifier}")) for key in keys(count)]


async def rotate(cases):
    """Rotate the tenant's data key as another process does, so that this cipher still holds the old one as active."""
    active = await cases.store.keys.data_key("t1", None)
    record = await cases.cipher.make_data_key("t1")
    await replace(cases.store.keys, active.key_id, record)


class Watched:
    """A repository of tokens that notes what was sealed when the store got many values."""

    def __init__(self, right, cipher):
        self._right, self._cipher, self.sealed = right, cipher, []

    def __getattr__(self, name):
        return getattr(self._right, name)

    async def store(self, writes, *, actor):
        self.sealed.append(self._cipher.count)
        change = await self._right.store(writes, actor=actor)
        self.sealed.append(self._cipher.count)
        return change


class Counting:
    """A cipher that counts the values that it seals."""

    def __init__(self, right):
        self._right, self.count = right, 0

    def __getattr__(self, name):
        return getattr(self._right, name)

    async def ensure_sealer(self, tenant_ids):
        sealer = await self._right.ensure_sealer(tenant_ids)

        def seal(*args):
            self.count += 1
            return sealer(*args)

        return seal


async def test_many_values_are_sealed_when_the_store_takes_them(cases):
    cipher = Counting(cases.cipher)
    tokens = Watched(cases.store.accounts, cipher)
    cases = cases.over(store=evolve(cases.store, accounts=tokens), cipher=cipher)
    infos = await cases.writing.store(drafts(), actor="me")
    assert [info.key for info in infos] == keys()
    assert tokens.sealed == [0, MANY]
    found = await cases.tokens.get_many(keys())
    assert [token.value.reveal() for token in found.values()] == [f"v{key.identifier}" for key in keys()]
    assert len(cases.sink.events) == MANY


async def test_many_values_are_sealed_anew_where_the_data_key_was_rotated_meanwhile(cases):
    await cases.writing.store(drafts(1), actor=None)
    await rotate(cases)
    await cases.writing.store(drafts(), actor=None)
    active = await cases.store.keys.data_key("t1", None)
    rows, _ = await cases.store.accounts.get_many(keys())
    assert {row.sealed.data_key_id for row in rows} == {active.key_id}


async def test_a_data_key_that_keeps_changing_is_given_up(cases):
    failing = Failing(cases.store.accounts, "store", DataKeyInactiveError())
    cases = cases.over(store=evolve(cases.store, accounts=failing))
    with pytest.raises(StorageError) as caught:
        await cases.writing.store(drafts(), actor=None)
    assert caught.value.retryable


class Slow:
    """Accounts; each batch of an import waits until the test lets it be stored. Notes what happened."""

    def __init__(self, right):
        self._right, self.log, self.gate = right, [], asyncio.Event()

    def __getattr__(self, name):
        return getattr(self._right, name)

    def begin_import(self, source, **options):
        prepare = self._right.begin_import(source, **options)

        async def prepare_batch(writes):
            self.log.append("prepared")
            batch = await prepare(writes)

            async def store():
                await self.gate.wait()
                self.log.append("stored")
                return await batch()

            return store

        return prepare_batch


def importing(cases, imports, cipher=None):
    return ImportService(imports, cipher or cases.cipher, cases.sink, AsyncioTasks(), POLICY)


async def test_a_batch_of_an_import_is_prepared_while_another_is_stored(cases):
    imports = Slow(cases.store.accounts)
    rows = [ImportedToken(key, Secret("v")) for key in keys(3000)]
    running = asyncio.create_task(importing(cases, imports).run(rows, ImportOptions(), None, actor=None))
    await settle()
    assert imports.log == ["prepared"] * 2
    imports.gate.set()
    assert (await running).imported == 3000
    assert sorted(imports.log) == ["prepared"] * 3 + ["stored"] * 3


async def test_a_batch_is_sealed_again_if_its_data_key_was_rotated_meanwhile(cases):
    imports = Slow(cases.store.accounts)
    rows = [ImportedToken(key, Secret("v")) for key in keys(10)]
    running = asyncio.create_task(importing(cases, imports).run(rows, ImportOptions(), None, actor=None))
    await settle()
    await rotate(cases)
    imports.gate.set()
    assert (await running).imported == 10
    assert imports.log == ["prepared", "stored", "prepared", "stored"]
    active = await cases.store.keys.data_key("t1", None)
    rows, _ = await cases.store.accounts.get_many(keys(10))
    assert {row.sealed.data_key_id for row in rows} == {active.key_id}


class Unreadable:
    """A cipher that cannot use the data key of one tenant."""

    def __init__(self, right, tenant_id):
        self._right, self._tenant_id = right, tenant_id

    def __getattr__(self, name):
        return getattr(self._right, name)

    async def ensure_sealer(self, tenant_ids):
        if self._tenant_id in tenant_ids:
            raise DecryptionError("the tenant's data key cannot be used")
        return await self._right.ensure_sealer(tenant_ids)


async def test_a_data_key_that_cannot_be_used_fails_the_rows_of_its_tenant_only(cases):
    rows = [
        ImportedToken(TokenKey(f"t{number % 3}", "google", "api_key", str(number)), Secret("v"), line=number)
        for number in range(9)
    ]
    service = importing(cases, cases.store.accounts, Unreadable(cases.cipher, "t1"))
    report = await service.run(rows, ImportOptions(), None, actor=None)
    assert (report.imported, report.failed) == (6, 3)
    assert {(failure.line, failure.code) for failure in report.failures} == {
        (1, "data_key_unreadable"),
        (4, "data_key_unreadable"),
        (7, "data_key_unreadable"),
    }
    assert await cases.tokens.get(ACCESS) is None
