"""The simulated cipher holds data keys for as long as the key ring does, so it opens waiting answers in an outage."""

import asyncio
from itertools import count
from types import SimpleNamespace

import pytest
from tests.examples.dict_store.keys import DictKeys
from tests.services.fakes import MASTER_KEY
from tests.simulation.database import Server
from tests.simulation.fakes import START, SimulatedCipher

from vault_adapters import Account, Secret, TokenKind
from vault_adapters.crypto.keyring import DEFAULT_TTL
from vault_adapters.testing.contract.master_keys import introduce_first
from vault_domain.entities.errors import StorageError

pytestmark = pytest.mark.tools

KEY = Account("tenant", "provider").key(TokenKind.ACCESS_TOKEN)
TTL = DEFAULT_TTL.total_seconds()


class Keys(DictKeys):
    """The tables of keys in a database that may be away."""

    is_away = False

    async def data_key(self, tenant_id, key_id):
        if self.is_away:
            raise StorageError("the database is away", retryable=True)
        return await super().data_key(tenant_id, key_id)


class Scene:
    def __init__(self):
        self.now = 0.0
        self.keys = Keys(Server(), SimpleNamespace(now=lambda: START))
        self.cipher = SimulatedCipher(self.keys, count(1), lambda: self.now)

    async def seal(self):
        await introduce_first(self.keys, MASTER_KEY)
        await self.cipher.seal([(KEY, Secret("old"))])
        return (await self.cipher.sealer(KEY.tenant_id))(KEY, Secret("new"))

    async def opens(self, sealed):
        holds = self.cipher.holds(KEY.tenant_id, sealed.data_key_id)
        try:
            assert (await self.cipher.open(KEY, sealed)).reveal() == "new"
        except StorageError:
            assert not holds
            return False
        await asyncio.sleep(0)
        return True


@pytest.fixture
def scene():
    return Scene()


async def test_an_answer_decrypts_without_the_database_for_a_while(scene):
    sealed = await scene.seal()
    scene.keys.is_away, scene.now = True, TTL - 1.0
    assert await scene.opens(sealed)
    scene.now = TTL
    assert not await scene.opens(sealed)


async def test_a_key_in_use_is_renewed(scene):
    sealed = await scene.seal()
    scene.now = TTL / 2
    assert await scene.opens(sealed)
    scene.keys.is_away, scene.now = True, TTL + 1.0
    assert await scene.opens(sealed)


async def test_the_keys_of_an_erased_tenant_are_dropped(scene):
    sealed = await scene.seal()
    scene.cipher.forget_tenant(KEY.tenant_id)
    scene.keys.is_away = True
    assert not await scene.opens(sealed)
