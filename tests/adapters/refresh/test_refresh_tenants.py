"""One tenant's calls, many or in a loop, do not delay the callers of other tenants."""

import asyncio
import threading
import time
from contextlib import asynccontextmanager, suppress

from attrs import evolve
from tests.adapters.refresh.refresh_kit import HOUR, answer, store
from tests.support.scripted_provider import token_answer

from vault_adapters import Account, ProviderConfigurationError, TokenKind, Tuning, VaultError, open_vault
from vault_adapters.providers import OAuth2Refresher
from vault_domain.entities.rotation_policy import Rotation

CROWD = [Account("crowd", "acme", f"c{number}") for number in range(200)]
OTHERS = [Account(f"other{number}", "acme") for number in range(3)]
ANSWER_SECONDS = 0.5
MOST_HANGING = 150
"""Largest number of turns that one tenant gets in the second test: three quarters of all turns."""


class Slow:
    """A provider that takes its time for each answer, and refuses the crowd."""

    spends, rotation = TokenKind.REFRESH_TOKEN, Rotation.strict()

    async def refresh(self, request):
        await asyncio.sleep(ANSWER_SECONDS)
        if request.account.tenant_id == "crowd":
            raise ProviderConfigurationError(reason="unauthorized_client")
        return answer(1)


@asynccontextmanager
async def running(calls):
    """Run calls until the end of the block, and then cancel them."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def expired(vault, clock):
    for account in CROWD + OTHERS:
        await store(vault, account=account)
    clock.advance(HOUR)


async def seconds_for(call):
    began = time.monotonic()
    await call
    return time.monotonic() - began


async def test_a_tenant_that_refreshes_its_accounts_in_a_loop_does_not_delay_others(sqlite_config, clock):
    async with open_vault(sqlite_config, refreshers={"acme": Slow()}, clock=clock) as vault:
        await expired(vault, clock)

        async def loop(account):
            while True:
                with suppress(VaultError):
                    await vault.refresh_account(account)

        async with running(map(loop, CROWD)):
            await asyncio.sleep(ANSWER_SECONDS)
            for account in OTHERS:
                took = await seconds_for(vault.ensure_access_token(account, timeout=8))
                assert took < 4 * ANSWER_SECONDS


async def test_a_tenant_whose_requests_hang_leaves_connections_to_others(sqlite_config, clock, provider):
    """A request that hangs keeps its connection until `answer_deadline` has passed; its turn ends earlier."""
    config, are_released = evolve(sqlite_config, tuning=Tuning(provider_concurrency=len(CROWD))), threading.Event()

    def respond(request):
        if len(provider.requests) <= MOST_HANGING:
            are_released.wait(60)
        return token_answer("access-1", refresh_token="refresh-1")

    provider.answer_always(respond)
    refresher = OAuth2Refresher(provider.token_url, "client", "secret")
    async with open_vault(config, refreshers={"acme": refresher}, clock=clock) as vault:
        await expired(vault, clock)
        async with running(map(vault.ensure_access_token, CROWD)):
            try:
                await asyncio.to_thread(provider.wait_for_requests, MOST_HANGING)
                for account in OTHERS:
                    assert (await vault.ensure_access_token(account)).value.reveal() == "access-1"
            finally:
                are_released.set()
