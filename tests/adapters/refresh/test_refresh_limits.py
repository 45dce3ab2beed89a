"""Tenants share the turns of a provider that limits token requests, across processes and in real time."""

import asyncio
import time
from contextlib import AsyncExitStack
from datetime import timedelta

from tests.support.scripted_provider import token_answer

from vault_adapters import Account, RefreshFailedError, RequestLimit, Rotation, TokenSet, open_vault
from vault_adapters.providers import OAuth2Refresher

LIMIT = RequestLimit(30, timedelta(seconds=10))


async def test_a_tenant_with_many_accounts_leaves_each_other_tenant_its_share(postgres_config, provider):
    """Five tenants get their tokens within seconds, beside forty callers of a sixth; none waits over ten seconds."""
    provider.answer_always(token_answer("access-2"))
    crowd = [Account("t0", "acme", f"user-{number}") for number in range(40)]
    victims = [Account(f"t{number}", "acme") for number in range(1, 6)]
    waits = {}

    async def call(vault, account):
        began = time.monotonic()
        try:
            await vault.ensure_access_token(account)
            reason = None
        except RefreshFailedError as error:
            reason = error.reason
        waits[account] = reason, time.monotonic() - began

    async with AsyncExitStack() as stack:
        refreshers = {
            "acme": OAuth2Refresher(
                provider.token_url, "client", "secret", request_limit=LIMIT, rotation=Rotation.non_rotating()
            )
        }
        vaults = [await stack.enter_async_context(open_vault(postgres_config, refreshers=refreshers)) for _ in range(2)]
        for account in (*crowd, *victims):
            await vaults[0].store_token_set(
                account, TokenSet("access", "refresh", expires_in=timedelta(milliseconds=1))
            )
        async with asyncio.TaskGroup() as group:
            for number, account in enumerate((*crowd, *victims)):
                group.create_task(call(vaults[number % 2], account))
    assert [waits[account][0] for account in victims] == [None] * 5
    assert max(waits[account][1] for account in victims) < 6  # 2.6 seconds on an idle machine
    assert {reason for reason, _ in waits.values()} == {None, "rate_limited"}
    assert max(wait for _, wait in waits.values()) < 13
    times = sorted(request.received_monotonic for request in provider.requests)
    assert all(after - first > 10 for first, after in zip(times, times[LIMIT.requests :], strict=False))
