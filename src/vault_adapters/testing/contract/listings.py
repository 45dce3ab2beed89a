"""Cases for lists and their pages: complete, ordered, and stable while other callers write."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ContractFixtures, changes_of, events_of, key, keys_on, walk
from vault_domain.entities.account import Account, TokenKey, TokenKind
from vault_domain.entities.audit import AuditEvent
from vault_domain.entities.imported import ImportedToken
from vault_domain.entities.page import encode_cursor
from vault_domain.entities.reports import HealthCount
from vault_domain.entities.suspicion import ConfirmationWindow
from vault_domain.entities.token import TokenHealth, TokenRef, TokenStatus
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


def _order(token_key: TokenKey) -> tuple[bytes, bytes, bytes]:
    return token_key.provider.encode(), (token_key.identifier or "").encode(), token_key.kind.encode()


class ListingCases(ContractFixtures):
    """list_tokens, list_accounts, find_expiring_tokens, audit_events and health."""

    async def test_tokens_come_by_provider_identifier_and_kind(self, vault: TokenVault) -> None:
        identifiers = [None, "A", "B", "a", "aa", "b", "\u00e9", "\uffee", "\U0001f511"]
        keys = [
            TokenKey("t1", provider, kind, identifier)
            for provider in ("google", "google-2", "google2", "a.b")
            for kind in TokenKind
            for identifier in identifiers
        ]
        await vault.store_tokens([(each, "v") for each in reversed(keys)])
        expected = sorted(keys, key=_order)
        for limit in (1, 7, len(keys) - 1, len(keys), 10_000):
            found = await walk(partial(vault.list_tokens, "t1"), limit)
            assert [info.key for info in found] == expected
        only = [each for each in expected if each.provider == "google"]
        assert keys_on(await vault.list_tokens("t1", provider="google")) == only

    async def test_paging_tokens_is_stable_while_others_write(self, vault: TokenVault) -> None:
        keys = [key(f"k{number:02d}") for number in range(40)]
        await vault.store_tokens([(each, "v") for each in keys])
        seen: list[TokenKey] = []
        gone, after = set(), None
        for step in range(100):
            page = await vault.list_tokens("t1", limit=3, after=after)
            seen += keys_on(page)
            if (after := page.next) is None:
                break
            ahead, behind = keys[(step * 7 + 9) % 40], seen[0]
            gone |= {ahead, behind, seen[-1]}
            for victim in (ahead, behind, seen[-1]):
                await vault.delete_token(victim)
            await vault.store_token(keys[-1], "again")
            await vault.store_token(key(f"a{step}"), "before the cursor")
        assert len(seen) == len(set(seen)), "a token came twice"
        assert set(keys) - gone <= set(seen), "a token was skipped"

    async def test_expiring_is_soonest_first_and_misses_nobody(self, vault: TokenVault, clock: ManualClock) -> None:
        now = clock.now()
        expected = []
        for number in range(30):
            # Several tokens, of several tenants, expire at the same microsecond.
            stored = await vault.store_token(
                TokenKey(f"t{number % 3}", "google", TokenKind.ACCESS_TOKEN, str(number)),
                "v",
                expires_at=now + (number % 5 - 1) * MINUTE,
            )
            expected.append(stored)
        await vault.store_token(key("no expiry"), "v")
        await vault.store_token(key("refresh", TokenKind.REFRESH_TOKEN), "v", expires_at=now)
        await vault.store_token(key("later"), "v", expires_at=now + DAY + timedelta(microseconds=1))
        last = await vault.store_token(key("last"), "v", expires_at=now + DAY)
        dead = await vault.store_token(key("dead"), "v", expires_at=now)
        await vault.mark_token_invalid(dead, "invalid_token")
        expected.sort(key=lambda info: (info.expires_at, info.key.tenant_id, info.id.bytes))
        for limit in (1, 4, 31, 1000):
            assert await walk(partial(vault.find_expiring_tokens, DAY), limit) == [*expected, last]
        assert (await vault.find_expiring_tokens(DAY, provider="other")).items == ()
        assert len((await vault.find_expiring_tokens(timedelta(0))).items) == 12

    async def test_following_the_audit_log_misses_nothing(self, vault: TokenVault) -> None:
        await vault.store_tokens([(key(number), "v") for number in range(10)])
        seen: list[AuditEvent] = []
        after = None
        for step in range(30):
            page = await vault.audit_events(limit=3, after=after)
            seen += page.items
            if page.items:
                after = page.items[-1].cursor
            if step < 10:
                await vault.store_token(key(step), "w")
                await vault.delete_token(key(step + 1))
        assert seen == await events_of(vault)
        first = await vault.audit_events(tenant_id="t1", limit=2)
        rest = await vault.audit_events(tenant_id="t1", after=first.next)
        assert (len(first.items), [*first.items, *rest.items]) == (2, await events_of(vault, "t1"))
        assert len({event.cursor for event in seen}) == len(seen)
        assert len(seen) == 10 + 10 + 9
        assert (await vault.audit_events(after=after)).items == ()

    async def test_made_up_cursors_only_start_elsewhere(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        await vault.store_token(ACCESS, "v", expires_at=clock.now())
        for hostile in ("'; --", "\U0001f511", "zz", "00" * 16, "x" * 1000):
            await vault.list_tokens("t1", after=encode_cursor((hostile, hostile, hostile)))
            await vault.list_accounts("t1", after=encode_cursor((hostile, hostile)))
            for number in (0, -(2**63), 2**63 - 1):
                await vault.find_expiring_tokens(DAY, after=encode_cursor((number, hostile, hostile)))
        for number in (0, -1, -(2**63), 2**63 - 1):
            await store.audit.page(None, limit=1, after=(number, number))
            await store.audit.page("t1", limit=1, after=(number, number))

    async def test_health_counts_as_each_token_says(self, vault: TokenVault, clock: ManualClock) -> None:
        now = clock.now()
        expiries = [None, now, now + timedelta(microseconds=1), now + 5 * MINUTE, now + 6 * MINUTE, now - DAY]
        for number, expires_at in enumerate(expiries):
            for provider in ("google", "github"):
                await vault.store_token(key(number, provider=provider), "v", expires_at=expires_at)
        # A token with a lifetime of two minutes counts as expiring only when half of its lifetime has passed.
        await vault.store_token_set(Account("t1", "google", "short"), TokenSet("v", expires_in=120))
        dead = await vault.store_token(key("dead"), "v", expires_at=now - DAY)
        await vault.mark_token_invalid(dead, "invalid_token")
        await vault.store_token(TokenKey("t2", "google", TokenKind.API_KEY), "v")
        report = await vault.health(tenant_id="t1")
        tally: dict[tuple[str, TokenHealth], int] = {}
        async for info in vault.iter_tokens("t1"):
            at = (info.key.provider, info.health(now))
            tally[at] = tally.get(at, 0) + 1
        assert set(report.counts) == {HealthCount(provider, health, n) for (provider, health), n in tally.items()}
        assert (tally["google", TokenHealth.EXPIRING], tally["google", TokenHealth.FRESH]) == (2, 3)
        assert (report.ok, report.failed_reads) == (True, 0)
        everybody = sum(count.count for count in (await vault.health()).counts)
        assert everybody == sum(tally.values()) + 1

    async def test_health_counts_suspects_while_a_report_could_confirm(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        info = await vault.store_token(key("suspect", TokenKind.API_KEY), "v")
        window = ConfirmationWindow(MINUTE, 5 * MINUTE)
        await changes_of(store).report_rejected(TokenRef.of(info), "invalid_token", window=window, actor=None)
        for passed, expected in [(timedelta(0), "suspect"), (5 * MINUTE, "suspect"), (MINUTE, "fresh")]:
            clock.advance(passed)
            [count] = await store.pages.count_health(None, timedelta(0), 5 * MINUTE)
            assert (count.health, count.count) == (TokenHealth(expected), 1)

    async def test_health_estimates_valid_tokens_only_and_says_so(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        await vault.store_tokens([(key(number), "v") for number in range(200)])
        for number in range(3):
            dead = await vault.store_token(key(f"dead {number}"), "v", expires_at=clock.now())
            await vault.mark_token_invalid(dead, "invalid_token")
        unknown = [ImportedToken(key(f"new {number}"), "v", status=TokenStatus.UNKNOWN) for number in range(2)]
        await vault.import_tokens(unknown)
        exact = {
            HealthCount("google", TokenHealth.FRESH, 200),
            HealthCount("google", TokenHealth.INVALID, 3),
            HealthCount("google", TokenHealth.UNKNOWN, 2),
        }
        assert set(await store.pages.count_health(None, MINUTE)) == exact
        assert set(await store.pages.count_health("t1", MINUTE, most=10)) == exact
        assert await store.pages.count_health("stranger", MINUTE, most=10) == []
        guessed = set(await store.pages.count_health(None, MINUTE, most=10))
        assert all(count.is_estimate == (count.health is TokenHealth.FRESH) for count in guessed - exact)
        assert guessed >= {count for count in exact if count.health is not TokenHealth.FRESH}
