"""How a store tells the refusals of one tenant, and of one token endpoint, from a fault of the whole client."""

from __future__ import annotations

from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.clients import CLIENT, REFUSED, REJECTED, RULES, connect, credential_of
from vault_adapters.testing.contract.fixtures import ContractFixtures
from vault_adapters.testing.contract.refreshing import SECOND, state_of, token_set, unclaimed
from vault_domain.entities.account import Account
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.token import TokenStatus
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.client_ledger import Verdict
from vault_domain.rules.clients import at_endpoint

HERE, THERE = (at_endpoint(CLIENT, f"https://{name}.example.com/token") for name in ("here", "there"))
FLEET = [Account("t1", "google", f"fleet {number}") for number in range(8)]
OTHERS = [Account("t2", "google", f"other {number}") for number in range(8)]
ELSEWHERE = Account("t0", "acme")


class ClientTenantCases(ContractFixtures, given=("stored_account",)):
    """`ClientLedger`: refusals of one of several tenants pause nothing, and each token endpoint is counted apart."""

    async def test_refusals_of_one_of_several_tenants_pause_nothing(self, vault: TokenVault, store: Store) -> None:
        await vault.store_token_set(ELSEWHERE, token_set())
        for account in FLEET:
            assert (await store.clients.refuse(REFUSED, account, RULES)).result.opened_at is None
        assert (await store.clients.refuse(REFUSED, OTHERS[0], RULES)).result.opened_at is not None

    async def test_a_tenant_after_the_own_one_is_another_too(self, vault: TokenVault, store: Store) -> None:
        await vault.store_token_set(Account("t2", "acme"), token_set())
        for account in FLEET:
            assert (await store.clients.refuse(REFUSED, account, RULES)).result.opened_at is None

    async def test_rejections_of_one_of_several_tenants_are_no_fleet(self, vault: TokenVault, store: Store) -> None:
        await connect_all(vault, store, *FLEET, OTHERS[0])
        for account in FLEET[:6]:
            assert await condemn(store, account) is Verdict.CONDEMNED
        assert await condemn(store, OTHERS[0]) is Verdict.SPARED
        assert (await credential_of(store, FLEET[0])).status is TokenStatus.VALID

    async def test_rejections_of_two_tenants_are_a_fleet(self, vault: TokenVault, store: Store) -> None:
        await connect_all(vault, store, *FLEET, OTHERS[0], ELSEWHERE)
        verdicts = [await condemn(store, account) for account in (OTHERS[0], *FLEET[:4])]
        assert verdicts == [*[Verdict.CONDEMNED] * 4, Verdict.SPARED]

    async def test_rejections_of_another_endpoint_are_no_fleet(self, vault: TokenVault, store: Store) -> None:
        await connect_all(vault, store, *FLEET, *OTHERS)
        for account in (*FLEET[:3], OTHERS[0]):
            assert await condemn(store, account, HERE) is Verdict.CONDEMNED
        assert await condemn(store, FLEET[3], THERE) is Verdict.CONDEMNED
        assert await condemn(store, FLEET[4]) is Verdict.CONDEMNED  # the endpoint that the other accounts share
        assert await condemn(store, OTHERS[1], HERE) is Verdict.SPARED
        for account, status in ((FLEET[0], TokenStatus.VALID), (FLEET[3], TokenStatus.INVALID)):
            assert (await credential_of(store, account)).status is status

    async def test_a_success_at_another_endpoint_is_none(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        await connect_all(vault, store, *FLEET, *OTHERS)
        scope = evolve(REFUSED, client=HERE)
        await store.clients.refuse(scope, FLEET[0], RULES)
        clock.advance(SECOND)
        await claim(store, FLEET[1], THERE)
        await connect(store, FLEET[1], refreshed=True)
        assert len((await store.clients.refuse(scope, OTHERS[0], RULES)).result.marks) == 2
        await claim(store, OTHERS[1], HERE)
        await connect(store, OTHERS[1], refreshed=True)
        assert len((await store.clients.refuse(scope, OTHERS[2], RULES)).result.marks) == 1


async def connect_all(vault: TokenVault, store: Store, *accounts: Account) -> None:
    """Store the tokens of accounts of several tenants under a client."""
    for account in {each.tenant_id: each for each in accounts}.values():
        await vault.store_token_set(account, token_set())  # makes the tenant's data key
    for account in accounts:
        await connect(store, account)


async def claim(store: Store, account: Account, endpoint: bytes | None) -> Attempt:
    """Claim an account at a token endpoint."""
    attempt = evolve(await unclaimed(store, account), endpoint=endpoint)
    claimed_at = await store.refreshes.claim(attempt, (await state_of(store, account)).attempt_id)
    assert claimed_at is not None
    return evolve(attempt, claimed_at=claimed_at)


async def condemn(store: Store, account: Account, endpoint: bytes | None = None) -> Verdict:
    """Claim an account at a token endpoint, and ask the store to condemn its credential."""
    attempt = await claim(store, account, endpoint)
    scope = REJECTED if endpoint is None else evolve(REJECTED, client=endpoint)
    return (await store.clients.condemn(attempt, "invalid_grant", scope, RULES, actor=None)).result
