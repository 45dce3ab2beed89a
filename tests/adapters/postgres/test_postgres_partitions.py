"""The audit log's partitions: made ahead, dropped when old, and not needed where the role may not make them."""

import secrets
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from tests.adapters.postgres.samples import SCHEMA

from vault_adapters import Account, TokenKind, VaultConfig, open_vault
from vault_adapters.stores.postgres.audit_months import AHEAD, end_of, months_ahead, name_of
from vault_adapters.stores.postgres.store import open_postgres_store

SECRET = "an encryption secret of the tests, long enough"
KEY = Account("acme", "google").key(TokenKind.API_KEY)
PARTITIONS = (
    f"SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = '{SCHEMA}.audit_event'::regclass ORDER BY 1"
)
OLD = f"""
CREATE TABLE {SCHEMA}.audit_event_2020_01 PARTITION OF {SCHEMA}.audit_event
    FOR VALUES FROM ('2020-01-01 00:00:00+00') TO ('2020-02-01 00:00:00+00');
INSERT INTO {SCHEMA}.audit_event (tenant_id, action, occurred_at, provider, identifier, kind, code)
SELECT 'acme', a, at::timestamptz, 'google', '', 'api_key', 'c'
FROM unnest(ARRAY['token_stored', 'data_key_replaced', 'token_deleted']) a,
    unnest(ARRAY['2019-12-31 12:00:00+00', '2020-01-15 12:00:00+00', '2020-01-16 12:00:00+00']) at
"""


def config(url):
    return VaultConfig(url, encryption_secret=SECRET, scrypt_log2_n=14)


def names(execute):
    return [name.removeprefix(f"{SCHEMA}.") for (name,) in execute(PARTITIONS)]


def test_months_go_over_the_end_of_a_year():
    months = list(months_ahead(datetime(2025, 12, 31, 23, tzinfo=UTC)))
    assert [name_of(month) for month in months] == ["audit_event_2025_12", "audit_event_2026_01", "audit_event_2026_02"]
    assert [end_of(name_of(month)) for month in months[:-1]] == months[1:]
    assert end_of("audit_event_rest") is None


async def test_months_are_made_ahead_and_events_go_to_them(url, execute):
    async with open_vault(config(url)) as vault:
        await vault.store_token(KEY, "v")
    months = [name_of(month) for month in months_ahead(datetime.now(UTC))]
    assert names(execute) == [*months, "audit_event_rest"]
    assert len(months) == AHEAD
    assert execute(f"SELECT tableoid::regclass::text FROM {SCHEMA}.audit_event WHERE action = 'token_stored'") == [
        (f"{SCHEMA}.{months[0]}",)
    ]


async def test_an_old_month_goes_as_a_whole_but_for_what_lasts(url, execute):
    async with open_vault(config(url)) as vault:
        await vault.store_token(KEY, "v")
        execute(OLD)
        before = [event async for event in vault.iter_audit_events()]
        lasting = [event for event in before if event.action == "data_key_replaced"]
        assert (len(before), len(lasting)) == (10, 3)
        assert await vault.prune_audit(older_than=timedelta(days=400)) == 6
        *after, pruned = [event async for event in vault.iter_audit_events()]
        recent = [event for event in before if event.occurred_at.year > 2020]
        assert sorted(map(repr, after)) == sorted(map(repr, [*lasting, *recent]))
        assert pruned.action == "audit_pruned"
        assert "audit_event_2020_01" not in names(execute)


async def test_a_month_that_is_held_stays_and_its_old_events_are_deleted_one_by_one(url, execute):
    async with open_vault(config(url)) as vault:
        await vault.store_token(KEY, "v")
        execute(OLD)
        with psycopg.connect(url) as holder:
            holder.execute(f"SELECT count(*) FROM {SCHEMA}.audit_event_2020_01")
            assert await vault.prune_audit(older_than=timedelta(days=400)) == 6
        assert "audit_event_2020_01" in names(execute)


async def test_a_role_without_the_right_to_create_writes_and_prunes(url, execute):
    async with open_postgres_store(url, migrate=True, schema=SCHEMA):
        pass
    execute(OLD)
    for name in names(execute)[1:-1]:
        execute(f"DROP TABLE {SCHEMA}.{name}")
    role = f"writer_{secrets.token_hex(4)}"
    execute(f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {SCHEMA} TO {role}")
    execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO {role}")
    execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO {role}")
    try:
        async with open_vault(config(url.replace("postgres@", f"{role}@")), migrate=False) as vault:
            await vault.store_token(KEY, "v")
            assert await vault.prune_audit(older_than=timedelta(days=400)) == 6
            assert {"token_stored", "audit_pruned"} < {event.action async for event in vault.iter_audit_events()}
        assert names(execute) == ["audit_event_2020_01", "audit_event_rest"]
    finally:
        execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("audit_event_2026_11", datetime(2026, 12, 1, tzinfo=UTC)),
        ("audit_event_2026_12", datetime(2027, 1, 1, tzinfo=UTC)),
        ("audit_event_2028_02", datetime(2028, 3, 1, tzinfo=UTC)),
        ("audit_event_2026_13", None),
        ("audit_event_0000_01", None),
        ("audit_event_9999_12", None),
        ("audit_event_\u0662\u0660\u0662\u0666_01", None),
        ("audit_event_rest", None),
        ("my_audit_event_2026_11", None),
    ],
    ids=ascii,
)
def test_only_a_month_that_the_vault_names_is_dropped(name, end):
    """A table that an administrator attached is not the vault's, and its name must not make a pruning fail."""
    assert end_of(name) == end
