"""A host's own tests: the real vault in memory, with scripted answers and a clock that the test moves."""

from datetime import UTC, datetime, timedelta

from vault_adapters import Account, TokenSet
from vault_adapters.testing import ManualClock, ScriptedRefresher, memory_vault


async def test_an_expired_token_is_refreshed() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    github = ScriptedRefresher(TokenSet("new", expires_in=3600))
    async with memory_vault(refreshers={"github": github}, clock=clock) as vault:
        account = Account("tenant-1", "github")
        await vault.store_token_set(account, TokenSet("old", "refresh", expires_in=3600))

        assert (await vault.ensure_access_token(account)).value.reveal() == "old"
        clock.advance(timedelta(hours=1))
        assert (await vault.ensure_access_token(account)).value.reveal() == "new"
        assert len(github.calls) == 1
