"""A read with ``fresh`` asks the database, although this process's memory could answer."""

from datetime import UTC, datetime, timedelta

from vault_adapters import Account, open_vault

ACCOUNT = Account("acme", "google", "ann@example.com")


async def test_a_fresh_read_asks_the_database(tmp_path, make_config):
    config = make_config(f"sqlite:///{tmp_path}/vault.db", read_cache=timedelta(hours=1))
    async with open_vault(config) as vault:
        expires_at = datetime.now(UTC) + timedelta(days=1)
        stored = await vault.store_token(ACCOUNT.key("access_token"), "access-1", expires_at=expires_at)
        await vault.get_token(stored.key)
        counts = vault._services.tokens._reader.counts
        before = counts.database
        for number, fresh in ((0, False), (2, True)):
            await vault.get_token(stored.key, fresh=fresh)
            await vault.ensure_access_token(ACCOUNT, fresh=fresh)
            assert counts.database == before + number
