"""A sweep refreshes what the rules say, on both stores, whatever was stored, claimed, refused or left behind.

The schedule in the database says when a sweep must read an account. This law shows that no sweep reads one too late.
"""

import asyncio
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from itertools import permutations
from uuid import uuid4

import pytest
from attrs import frozen
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vault_adapters import (
    Account,
    ImportedToken,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    Rotation,
    Secret,
    TokenKind,
    TokenSet,
    VaultConfig,
    VaultError,
)
from vault_adapters.composition import open_vault_over
from vault_adapters.testing import ManualClock
from vault_domain.entities.attempt import Attempt
from vault_domain.rules.freshness import RefreshPolicy
from vault_domain.rules.refresh import Claim, Demand, RefreshRule, decide, decide_ahead
from vault_domain.rules.timing import RefreshTiming
from vault_domain.services.refresh import exchange
from vault_domain.services.refresh.attempt_ledger import AttemptLedger

pytestmark = pytest.mark.exhaustive

SECOND = timedelta(seconds=1)
ROTATIONS = {
    "strict": Rotation.strict(),
    "grace": Rotation.grace(120),
    "steady": Rotation.non_rotating(),
    "idle": Rotation.strict(),
    "idle-steady": Rotation.non_rotating(),
}
IDLE = {"idle": timedelta(seconds=600), "idle-steady": timedelta(seconds=600)}
"""The providers whose refresh tokens lapse unused."""
ANSWERS = {
    "answered": lambda: TokenSet("access", "refresh", expires_in=timedelta(hours=1)),
    "answered without a refresh token": lambda: TokenSet("access", expires_in=timedelta(minutes=12)),
    "answered without an expiry": lambda: TokenSet("access", "refresh"),
    "not now": lambda: RefreshFailedError(retry_after=timedelta(seconds=90)),
    "unknown": lambda: RefreshFailedError(outcome_unknown=True),
    "dead": lambda: ReauthorizationRequiredError(reason="invalid_grant"),
    "misconfigured": lambda: ProviderConfigurationError(reason="invalid_request"),
}
MANY = list(permutations([TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN]))

# Few accounts and times, so that several changes meet the same account.
seconds = st.sampled_from([1, 30, 90, 300, 700, 4000])
identifiers = st.sampled_from(["ann", "ann", "ann", None])
stored_kinds = st.sampled_from([TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN])
both_kinds = st.sampled_from(MANY)
answers = st.sampled_from([*sorted(ANSWERS), "not now", "unknown"])
changes = st.one_of(
    st.none(),
    st.none(),
    st.tuples(st.just("set"), identifiers, seconds, st.booleans()),
    st.tuples(st.just("set for"), identifiers, seconds, st.booleans()),
    st.tuples(st.just("store"), identifiers, stored_kinds, st.none() | seconds),
    st.tuples(st.just("store many"), identifiers, both_kinds, st.none() | seconds),
    st.tuples(st.just("import"), identifiers, st.sampled_from([*MANY, *((kind,) for kind in MANY[0])]), seconds),
    st.tuples(st.just("mark"), identifiers, stored_kinds),
    st.tuples(st.just("delete"), identifiers, stored_kinds),
    st.tuples(st.just("abandon"), identifiers),
    st.tuples(st.just("renew"), identifiers, st.booleans()),
    st.tuples(st.just("force"), identifiers, answers),
    st.tuples(st.just("move while refreshing"), identifiers, st.none() | seconds, st.booleans(), answers),
)
rounds = st.tuples(changes, seconds, answers)
stories = st.tuples(st.sampled_from(sorted(ROTATIONS)), st.lists(rounds, min_size=2, max_size=7))


class Provider:
    """Gives all calls the same answer, until a test sets another one, and records which accounts were refreshed."""

    spends = TokenKind.REFRESH_TOKEN

    def __init__(self, rotation, idle_lifetime):
        self.rotation = rotation
        self.idle_lifetime = idle_lifetime
        self.answer = "answered"
        self.called = []
        self.meanwhile = None

    async def refresh(self, request):
        self.called.append(request.account)
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        answer = ANSWERS[self.answer]()
        if isinstance(answer, VaultError):
            raise answer
        return answer


@frozen
class World:
    """A store, a vault over it, its clock and its providers."""

    store: object
    vault: object
    clock: ManualClock
    providers: dict
    policy: RefreshPolicy
    rules: dict

    async def play(self, tenant, provider, change, wait, answer):
        """Change something, let time pass, and sweep."""
        if change is not None:
            kind, identifier, *arguments = change
            act = getattr(self, "do_" + kind.replace(" ", "_"))
            await act(Account(tenant, provider, identifier), *arguments)
        self.clock.advance(wait * SECOND)
        await self.sweep(tenant, provider, answer)

    async def sweep(self, tenant, provider, answer):
        accounts = [Account(tenant, provider, identifier) for identifier in ("ann", "bob", None)]
        expected = [account for account in accounts if await self.is_due(account)]
        self.tell(answer)
        await self.vault.refresh_due()
        # Within a grace period, one attempt may ask several times.
        called = {each for provider in self.providers.values() for each in provider.called}
        assert sorted(map(str, called)) == sorted(map(str, expected))

    async def is_due(self, account):
        snapshot = await self.store.accounts.read(account)
        decision = decide_ahead(snapshot.record, snapshot.now, self.policy, self.rules[account.provider])
        return isinstance(decision, Claim)

    def tell(self, answer):
        for provider in self.providers.values():
            provider.answer, provider.called = answer, []

    async def do_set(self, account, left, with_refresh):
        token_set = TokenSet("a", "r" if with_refresh else None, expires_at=self.clock.now() + left * SECOND)
        await self.vault.store_token_set(account, token_set)

    async def do_set_for(self, account, lifetime, with_refresh):
        token_set = TokenSet("a", "r" if with_refresh else None, expires_in=max(lifetime, 1) * SECOND)
        await self.vault.store_token_set(account, token_set)

    async def do_store(self, account, kind, left):
        expires_at = None if left is None else self.clock.now() + left * SECOND
        await self.vault.store_token(account.key(kind), "value", expires_at=expires_at)

    async def do_store_many(self, account, kinds, left):
        """Store a token of each kind for two identifiers in one call."""
        expires_at = None if left is None else self.clock.now() + left * SECOND
        accounts = [account, Account(account.tenant_id, account.provider, "bob")]
        items = [(each.key(kind), "value", expires_at) for each in accounts for kind in kinds]
        await self.vault.store_tokens(items)

    async def do_import(self, account, kinds, age):
        """Import tokens that were refreshed some time ago."""
        past = self.clock.now() - age * SECOND
        rows = [ImportedToken(account.key(kind), Secret("v"), last_refreshed_at=past) for kind in kinds]
        await self.vault.import_tokens(rows, overwrite=True)

    async def do_move_while_refreshing(self, account, left, with_refresh, answer):
        """Another writer stores tokens while the request is open, so that the provider's answer comes too late."""

        async def move():
            await self.do_store(account, TokenKind.ACCESS_TOKEN, left)
            if with_refresh:
                await self.do_store(account, TokenKind.REFRESH_TOKEN, None)

        provider = self.providers[account.provider]
        provider.meanwhile = move
        await self.do_force(account, answer)
        provider.meanwhile = None

    async def do_mark(self, account, kind):
        token = await self.vault.get_token(account.key(kind))
        if token is not None:
            await self.vault.mark_token_invalid(token, "invalid_token")

    async def do_delete(self, account, kind):
        await self.vault.delete_token(account.key(kind))

    async def do_abandon(self, account):
        """A process claims the account and dies."""
        snapshot = await self.store.accounts.read(account)
        rule = self.rules[account.provider]
        decision = decide(snapshot.record, snapshot.now, self.policy, rule, Demand(forced=True))
        if isinstance(decision, Claim):
            lease = rule.timing.lease
            attempt = Attempt(account, uuid4(), decision.credential, decision.access, snapshot.now, lease)
            assert await AttemptLedger(self.store.accounts).claim(attempt, decision.seen_attempt) is not None
            return attempt
        return None

    async def do_renew(self, account, stores):
        """A process claims the account, stores another value perhaps, renews its lease, and dies."""
        attempt = await self.do_abandon(account)
        if attempt is not None:
            self.clock.advance(15 * SECOND)
            if stores:
                await self.do_store(account, TokenKind.ACCESS_TOKEN, 700)
            await AttemptLedger(self.store.accounts).renew(attempt, attempt.lease)

    async def do_force(self, account, answer):
        self.tell(answer)
        # The call may wait for a dead process's lease, which never ends here, because nothing moves the clock.
        with suppress(VaultError, TimeoutError):
            await asyncio.wait_for(self.vault.refresh_account(account), 0.5)


async def make_world(opener, buffer, stack):
    clock = ManualClock()
    store = await stack.enter_async_context(opener(clock))
    providers = {name: Provider(rotation, IDLE.get(name)) for name, rotation in ROTATIONS.items()}
    secret = Secret("sweep-law-" + "0" * 40)
    config = VaultConfig(encryption_secret=secret, scrypt_log2_n=14, refresh_buffer=buffer)
    vault = await stack.enter_async_context(open_vault_over(store, config, refreshers=providers))
    timing = RefreshTiming()
    rules = {name: RefreshRule.of(TokenKind.REFRESH_TOKEN, rotation, timing) for name, rotation in ROTATIONS.items()}
    return World(store, vault, clock, providers, RefreshPolicy(buffer, idle_lifetimes=IDLE), rules)


@pytest.mark.parametrize("buffer", [timedelta(seconds=20), timedelta(minutes=5)], ids=["short", "usual"])
def test_a_sweep_refreshes_what_the_rules_say(opener, buffer, monkeypatch):
    monkeypatch.setattr(exchange, "_PAUSES", (0.0, 0.0))
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        world = runner.run(make_world(opener, buffer, stack))

        async def run(provider, rounds):
            tenant = uuid4().hex
            try:
                await world.do_set(Account(tenant, provider, "ann"), 60, True)
                for change, wait, answer in rounds:
                    await world.play(tenant, provider, change, wait, answer)
            finally:
                await world.vault.erase_tenant(tenant)

        @settings(max_examples=70, deadline=None, suppress_health_check=list(HealthCheck))
        @given(stories)
        @example(("steady", [(("move while refreshing", "ann", 90, False, "answered"), 1, "answered")]))
        @example(("steady", [(("move while refreshing", "ann", 90, True, "not now"), 1, "answered")]))
        @example(("steady", [(("store many", "ann", MANY[0], 90), 1, "answered")]))
        @example(("steady", [(("store many", "ann", MANY[1], 90), 1, "answered")]))
        @example(("idle", [(("store", "bob", TokenKind.REFRESH_TOKEN, None), 480, "answered")]))
        @example(
            (
                "idle",
                [
                    (("store", "bob", TokenKind.ACCESS_TOKEN, 1), 30, "answered"),
                    (("store", "bob", TokenKind.REFRESH_TOKEN, None), 1, "answered"),
                ],
            )
        )
        @example(("idle", [(("import", "bob", (TokenKind.REFRESH_TOKEN,), 300), 180, "answered")]))
        @example(("idle", [(("delete", "ann", TokenKind.ACCESS_TOKEN), 480, "answered")]))
        @example(
            (
                "idle-steady",
                [
                    (("store", "bob", TokenKind.REFRESH_TOKEN, None), 400, "answered"),
                    (("store", "bob", TokenKind.ACCESS_TOKEN, None), 30, "answered"),
                    (("delete", "bob", TokenKind.ACCESS_TOKEN), 90, "answered"),
                ],
            )
        )
        def law(story):
            runner.run(run(*story))

        law()
        runner.run(stack.aclose())
