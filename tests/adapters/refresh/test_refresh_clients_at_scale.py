"""A wrong client secret for an hour costs none of a thousand connected accounts, and few requests."""

import asyncio
from collections import Counter

import pytest
from tests.adapters.refresh.refresh_kit import HOUR, failure
from tests.adapters.refresh.test_refresh_clients import Server, connect, events_of, minutes

from vault_adapters import Account, AuditAction, ConnectionState, ProviderConfigurationError

MANY = [Account(f"t{number % 100:02}", "acme", f"user-{number:04}") for number in range(1000)]


async def of_all(call, at_once=25):
    """Return what a coroutine function returns for each of the accounts."""
    found = []
    for start in range(0, len(MANY), at_once):
        found += await asyncio.gather(*map(call, MANY[start : start + at_once]))
    return found


async def states_of(vault):
    return Counter(info.state for info in await of_all(vault.get_account))


@pytest.mark.soak
async def test_an_hour_with_a_wrong_secret_over_a_thousand_accounts(opened, clock):
    server = Server()
    right = [await opened(server.refresher()) for _ in range(2)]
    wrong = [await opened(server.refresher(secret="wrong")) for _ in range(2)]
    await of_all(lambda account: connect(right[0], [account]))
    clock.advance(HOUR)  # all tokens expire together; from now on, only processes with the wrong secret refresh them
    errors = []
    for number in range(60):
        await minutes(wrong, clock, 1)
        errors.append(await failure(wrong[number % 2].ensure_access_token(MANY[16 * number])))
    assert server.requests <= 20 + 61  # what ran at once when the pause began, and a probe a minute
    assert Counter((type(error), error.reason) for error in errors) == {
        (ProviderConfigurationError, "invalid_client"): len(errors)
    }
    assert await events_of(right[0]) == [(AuditAction.CLIENT_PAUSED, "invalid_client")]
    assert set(await states_of(right[0])) <= {ConnectionState.CONNECTED, ConnectionState.RETRYING}

    server.requests = 0
    await minutes(right, clock, 6)
    assert await states_of(right[0]) == {ConnectionState.CONNECTED: len(MANY)}
    assert server.requests == len(MANY)
    tokens = await of_all(right[0].ensure_access_token)
    assert [token.value.reveal() for token in tokens] == [f"access of {account.identifier}" for account in MANY]
    assert await events_of(right[0], {AuditAction.TOKEN_INVALIDATED}) == []
