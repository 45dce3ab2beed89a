"""What the frames of an ended call held, such as a credential, is freed without the garbage collector."""

import asyncio
import contextlib
import gc
import weakref

import pytest

from vault_adapters import Account, RefreshFailedError, Secret
from vault_adapters.providers.http import settle
from vault_adapters.runtime.tasks import AsyncioTasks
from vault_domain.entities.errors import InvalidInputError, VaultError
from vault_domain.entities.scrub import scrubbed, scrubbed_async


class Held:
    """Something that a frame holds."""


@pytest.fixture(autouse=True)
def _without_collector():
    gc.disable()
    yield
    gc.enable()


async def _is_freed(call):
    """Return whether an object that a caller of ``call`` held is freed once the call and its tasks have ended."""
    held = []

    async def caller():
        mine = Held()
        held.append(weakref.ref(mine))
        await call(mine)

    with contextlib.suppress(VaultError):
        await caller()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return held[0]() is None


async def _fail():
    await asyncio.sleep(0)
    raise RefreshFailedError


async def test_a_call_under_a_lease():
    async def work():
        pass

    async def call(held):
        async def renew():
            assert held is not None

        await AsyncioTasks().within_lease(10.0, work, pace=5.0, renew=renew)

    assert await _is_freed(call)


async def test_a_shared_call_that_failed():
    assert await _is_freed(lambda held: AsyncioTasks().share("a", _fail, 10.0))


async def test_an_exchange_that_failed():
    async def call(held):
        settle(RefreshFailedError(), Account("t1", "acme"))

    assert await _is_freed(call)


async def test_a_refused_argument():
    @scrubbed
    def refuse():
        raise InvalidInputError("wrong")

    async def call(held):
        refuse()

    async def construct(held):
        Secret(5)

    assert await _is_freed(call)
    assert await _is_freed(construct)


async def test_a_refused_argument_of_a_coroutine():
    @scrubbed_async
    async def refuse(held):
        raise InvalidInputError("wrong")

    assert await _is_freed(refuse)
