"""What `TokenVault.health` counts in SQL is what `TokenInfo.health` says in Python, to the microsecond."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from datetime import timedelta
from uuid import uuid4

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vault_adapters import (
    Account,
    ImportedToken,
    Secret,
    TokenHealth,
    TokenKey,
    TokenKind,
    TokenSet,
    TokenStatus,
    VaultConfig,
)
from vault_adapters.composition import open_vault_over
from vault_adapters.testing import ManualClock
from vault_domain.entities.token import RECONNECT_NOTICE
from vault_domain.rules.freshness import Freshness, RefreshPolicy, freshness

MICROSECOND = timedelta(microseconds=1)
BUFFER = timedelta(minutes=7, microseconds=13)
CONFIG = VaultConfig(encryption_secret=Secret("health-law-" + "0" * 40), scrypt_log2_n=14, refresh_buffer=BUFFER)
PROVIDERS = ["google", "github"]

# Many distances lie within two microseconds of a moment at which the health changes.
nearby = st.builds(
    lambda base, micros: base + micros * MICROSECOND,
    st.sampled_from([timedelta(0), BUFFER, RECONNECT_NOTICE]),
    st.integers(-2, 2),
)
distances = st.none() | nearby | st.timedeltas(timedelta(days=-400), timedelta(days=4000))
tokens = st.tuples(
    st.integers(0, 1), st.sampled_from(PROVIDERS), st.sampled_from(TokenKind), st.sampled_from(TokenStatus), distances
)


lifetimes = st.builds(
    lambda base, micros: max(base + micros * MICROSECOND, MICROSECOND),
    st.sampled_from([timedelta(minutes=1), 2 * BUFFER, timedelta(hours=1)]),
    st.integers(-2, 2),
)
# Token sets: tenant, provider, lifetime, microseconds until the access token is due, and whether it is invalid.
token_sets = st.tuples(st.integers(0, 1), st.sampled_from(PROVIDERS), lifetimes, st.integers(-2, 2), st.booleans())


async def store_sets(vault, tenants, now, rows):
    for number, (tenant, provider, lifetime, micros, is_invalid) in enumerate(rows):
        account = Account(tenants[tenant], provider, f"set {number}")
        expires_at = now + min(lifetime // 2, BUFFER) + micros * MICROSECOND
        await vault.store_token_set(account, TokenSet("value", expires_at=expires_at, expires_in=lifetime))
        token = await vault.get_token(account.key(TokenKind.ACCESS_TOKEN))
        assert token.info.lifetime == lifetime
        if is_invalid:
            await vault.mark_token_invalid(token, "revoked")


async def stored_infos(vault, tenants):
    return [info for tenant in tenants for info in [each async for each in vault.iter_tokens(tenant)]]


def counted(infos, now):
    return dict(Counter((info.key.provider, info.health(now, BUFFER)) for info in infos))


async def reported(vault, tenant):
    report = await vault.health(tenant_id=tenant)
    counts = {(each.provider, each.health): each.count for each in report.counts}
    assert len(counts) == len(report.counts)
    return counts


async def check(vault, clock, rows, sets):
    tenants = [uuid4().hex, uuid4().hex]
    now = clock.now()
    imported = [
        ImportedToken(
            TokenKey(tenants[tenant], provider, kind, f"{number}"),
            "value",
            status=status,
            expires_at=None if distance is None else now + distance,
        )
        for number, (tenant, provider, kind, status, distance) in enumerate(rows)
    ]
    assert (await vault.import_tokens(imported)).imported == len(rows)
    await store_sets(vault, tenants, now, sets)
    infos = await stored_infos(vault, tenants)
    assert len(infos) == len(rows) + len(sets)
    for info in infos:
        # A refresh token is expiring within the reconnect notice, which is longer than BUFFER.
        is_refreshable = info.key.kind is not TokenKind.REFRESH_TOKEN
        if is_refreshable and info.status is TokenStatus.VALID and not info.is_expired(now):
            is_due = freshness(info, now, RefreshPolicy(BUFFER)) is Freshness.DUE
            assert is_due == (info.health(now, BUFFER) is TokenHealth.EXPIRING)
    for tenant in tenants:
        mine = [info for info in infos if info.key.tenant_id == tenant]
        assert await reported(vault, tenant) == counted(mine, now)
    # The report on all tenants counts only these two, because the tenants of earlier examples were erased.
    assert await reported(vault, None) == counted(infos, now)
    for tenant in tenants:
        await vault.erase_tenant(tenant)


def every_boundary():
    """Return a token of each status on each side of each moment at which the health may change."""
    bases = (timedelta(0), BUFFER)
    distances = [None, *(base + micros * MICROSECOND for base in bases for micros in (-1, 0, 1))]
    return [(0, "google", TokenKind.ACCESS_TOKEN, status, distance) for status in TokenStatus for distance in distances]


def every_lifetime():
    """Return token sets of odd and even lifetimes, on each side of the moment at which they are due."""
    return [
        (0, "google", base + odd * MICROSECOND, micros, False)
        for base in (timedelta(minutes=1), 2 * BUFFER, timedelta(hours=1))
        for odd in (0, 1, 2, 3)
        for micros in (-1, 0, 1, 2)
    ]


def test_health_is_counted_as_it_is_judged(opener):
    with asyncio.Runner() as runner:
        clock, stack = ManualClock(), AsyncExitStack()
        store = runner.run(stack.enter_async_context(opener(clock)))
        vault = runner.run(stack.enter_async_context(open_vault_over(store, CONFIG)))

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(tokens, max_size=12), st.lists(token_sets, max_size=6))
        @example(every_boundary(), every_lifetime())
        def law(rows, sets):
            clock.advance(timedelta(seconds=1, microseconds=7))
            runner.run(check(vault, clock, rows, sets))

        law()
        runner.run(stack.aclose())
