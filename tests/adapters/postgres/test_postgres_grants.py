"""A role with the rights of the recipe: it does a service's work, and cannot bring a destroyed data key back."""

import secrets
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from vault_adapters import (
    Account,
    DecryptionError,
    StorageError,
    TokenKey,
    TokenKind,
    TokenSet,
    VaultConfig,
    open_vault,
)
from vault_adapters.stores.postgres.citus import TRIGGERS
from vault_adapters.testing import ManualClock, ScriptedRefresher

GRANTS = Path(__file__).parents[3] / "docs" / "how-to" / "recipes" / "grants.sql"
OLD, NEW = "the old encryption secret of these tests", "the new encryption secret of these tests"
KEY = TokenKey("t1", "acme", TokenKind.API_KEY)
CONFIRMING = "action = 'data_key_destroyed'"

# What somebody might try who may run any SQL as the service's role. {log} is the audit log or one of its partitions.
ATTACKS = [
    f"UPDATE {{log}} SET action = 'token_stored' WHERE {CONFIRMING}",
    f"UPDATE {{log}} SET tenant_id = '' WHERE {CONFIRMING}",
    f"UPDATE {{log}} SET code = NULL WHERE {CONFIRMING}",
    f"UPDATE {{log}} SET occurred_at = occurred_at - interval '10 years' WHERE {CONFIRMING}",
    f"DELETE FROM {{log}} WHERE {CONFIRMING}",
    "TRUNCATE {log}",
    "DROP TABLE {log}",
    *(f"DROP TRIGGER {trigger} ON {{log}}" for trigger in TRIGGERS),
    "ALTER TABLE {log} DISABLE TRIGGER ALL",
    "CREATE OR REPLACE FUNCTION token_vault.keep_lasting_event() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'",
    "SET session_replication_role = replica",
    f"""INSERT INTO token_vault.audit_event OVERRIDING SYSTEM VALUE SELECT * FROM token_vault.audit_event
    WHERE {CONFIRMING} ON CONFLICT (tenant_id, xid, seq, occurred_at) DO UPDATE SET tenant_id = ''""",
]


@pytest.fixture
def url(postgres):
    return postgres.create_database(f"granted_{secrets.token_hex(4)}")


@pytest.fixture
def app(url, postgres):
    """Create the role, and give its URL; the schema is there."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS granted_app")
        connection.execute("CREATE ROLE granted_app LOGIN")
        yield url.replace("postgres@", "granted_app@")
        connection.execute("DROP OWNED BY granted_app")
        connection.execute("DROP ROLE granted_app")


def grant(url):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(GRANTS.read_text().replace("app", "granted_app"))


def config(url, secret=OLD, previous=None, **more):
    return VaultConfig(url, encryption_secret=secret, previous_encryption_secret=previous, scrypt_log2_n=14, **more)


async def test_the_role_does_what_a_service_does(url, app):
    account, clock = Account("t1", "acme"), ManualClock()
    async with open_vault(config(url)):
        pass
    grant(url)
    refresher = ScriptedRefresher()
    opened = open_vault(config(app), refreshers={"acme": refresher}, migrate=False, clock=clock)
    async with opened as vault:
        state = await vault.states.seal(account, "content", bound_to="session")
        begun = await vault.states.open(state, bound_to="session")
        await vault.store_token_set(account, TokenSet("access", "refresh", expires_in=60), state=begun)
        refresher.then(TokenSet("newer", "refresh-2", expires_in=60))
        assert (await vault.refresh_account(account)).value.reveal() == "newer"
        await vault.store_tokens([(KEY, "value"), (TokenKey("t2", "acme", TokenKind.API_KEY), "other")])
        await vault.mark_token_invalid(await vault.get_token(KEY), "invalid_token")
        assert (await vault.keys.rotate_data_keys()).rotated == 2
        await vault.keys.reencrypt()
        clock.advance(timedelta(days=1))
        assert (await vault.keys.reencrypt()).destroyed == 2
        assert await vault.delete_token(KEY)
        await vault.health()
        assert (await vault.ready()).ok
        head = await vault.audit_head()
        assert (await vault.verify_audit([head])).ok
    async with open_vault(config(app, NEW, OLD), migrate=False) as vault:
        assert (await vault.keys.rotate_master_key()).retired == 1
        assert (await vault.erase_tenant("t1")).data_keys == 1
        assert [event.action async for event in vault.iter_audit_events(tenant_id="t1")] == [
            "data_key_destroyed",
            "data_key_destroyed",
            "tenant_erased",
        ]
        with pytest.raises(StorageError) as refused:
            await vault.prune_audit(older_than=timedelta(days=1))
        assert refused.value.reason == "permission_denied"
        assert (await vault.verify_audit([head])).ok


async def test_the_role_cannot_bring_a_destroyed_data_key_back(url, app):
    async with open_vault(config(url)) as vault:
        await vault.store_token(KEY, "old")
        with psycopg.connect(url, autocommit=True) as backup:
            for table in ("token", "data_key_wrap"):
                backup.execute(f"CREATE TABLE public.{table} AS SELECT * FROM token_vault.{table}")
                backup.execute(f"GRANT SELECT ON public.{table} TO granted_app")
        grant(url)
        await vault.erase_tenant("t1")
    with psycopg.connect(app, autocommit=True) as attacker:
        partitions = attacker.execute("SELECT relid::regclass::text FROM pg_partition_tree('token_vault.audit_event')")
        for (log,) in partitions.fetchall():
            for attack in ATTACKS:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    attacker.execute(attack.format(log=log))
        attacker.execute("UPDATE token_vault.data_key SET state = 'active'")
        for table in ("data_key_wrap", "token"):
            attacker.execute(f"INSERT INTO token_vault.{table} SELECT * FROM public.{table}")
    async with open_vault(config(app), migrate=False) as vault:
        with pytest.raises(DecryptionError):
            await vault.get_token(KEY)
        with pytest.raises(DecryptionError):
            await vault.store_token(KEY, "new")
        assert (await vault.keys.status()).resurrected == 1


async def test_more_rights_do_not_change_an_event_that_confirms_a_key(url, app):
    """A host has granted everything but the ownership; so the trigger alone keeps the events."""
    async with open_vault(config(url)) as vault:
        await vault.store_token(KEY, "old")
        await vault.keys.rotate_data_key("t1")
        await vault.erase_tenant("t1")
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("GRANT USAGE ON SCHEMA token_vault TO granted_app")
        owner.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA token_vault TO granted_app")
    with psycopg.connect(app, autocommit=True) as attacker:
        partitions = attacker.execute(
            "SELECT relid::regclass::text FROM pg_partition_tree('token_vault.audit_event') WHERE level = 0 OR relid IN"
            f" (SELECT tableoid FROM token_vault.audit_event WHERE {CONFIRMING})"
        ).fetchall()
        assert len(partitions) == 2
        for (log,) in partitions:
            for attack in ATTACKS:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    attacker.execute(attack.format(log=log))
