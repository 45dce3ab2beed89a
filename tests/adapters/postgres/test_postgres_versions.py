"""A read of a remembered token asks for its version, and reads the row again only if the version is another one."""

import asyncio
from uuid import uuid4

import psycopg
import pytest
from attrs import evolve
from tests.adapters.postgres.samples import ACCESS, REFRESH, SCHEMA, prepare, write

from vault_adapters.stores.postgres.store import open_postgres_store
from vault_adapters.stores.postgres.versions import NO_VERSION, VERSION, version_sql
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.errors import StorageError
from vault_domain.entities.token import WRONG_ROW, DamagedToken, TokenRef
from vault_domain.services.tokens.account_changes import AccountChanges

KEY_COLUMNS = {"tenant_id", "provider", "kind", "identifier"}

# For each column, the SQL of another value. A column that is missing here fails a test.
CHANGES = {
    "id": "gen_random_uuid()",
    "value_id": "gen_random_uuid()",
    "data_key_id": "repeat('e', 16)::bytea",
    "blob": "blob || '\\x00'",
    "extra": "'\\x00'",
    "status": "'invalid'",
    "error_code": "'revoked'",
    "expires_at": "now()",
    "lifetime": "1",
    "scopes": "'[\"a\"]'",
    "generation": "generation + 1",
    "last_refreshed_at": "now()",
    "created_at": "created_at - interval '1 microsecond'",
    "updated_at": "updated_at + interval '1 microsecond'",
    "client": "repeat('c', 16)::bytea",
    "suspect_since": "now()",
    "rejected_at": "now()",
    "noted_value_id": "value_id",
}


@pytest.fixture
async def stored(store):
    """Give the store with a token that was used."""
    await prepare(store)
    await store.accounts.store([write()], actor=None)
    reading = await store.accounts.get(ACCESS)
    await store.accounts.record_uses({TokenRef.of(reading.row.info): reading.now})
    return store


async def test_a_row_that_has_not_changed_is_not_read_again(stored):
    known = (await stored.accounts.get(ACCESS)).row
    before = (await stored.accounts.get(ACCESS)).now
    again = await stored.accounts.get(ACCESS, known)
    assert again.row is known
    assert again.now > before


async def test_each_column_belongs_to_the_version(stored, execute):
    columns = {
        name
        for (name,) in execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = 'token'",
            (SCHEMA,),
        )
    }
    assert columns - KEY_COLUMNS == set(CHANGES)
    execute(f"ALTER TABLE {SCHEMA}.token DISABLE TRIGGER ALL")
    for column, value in CHANGES.items():
        known = (await stored.accounts.get(ACCESS)).row
        assert execute(f"UPDATE {SCHEMA}.token SET {column} = {value} RETURNING 1") == [(1,)]
        found = (await stored.accounts.get(ACCESS, known)).row
        assert found is not known, column
        assert found.version != known.version, column
        assert found == (await stored.accounts.get(ACCESS)).row


@pytest.mark.parametrize(
    "change",
    ["UPDATE {}.token_use SET last_used_at = last_used_at + interval '1 microsecond'", "DELETE FROM {}.token_use"],
)
@pytest.mark.parametrize("together", [False, True])
async def test_another_last_use_is_told_without_another_version(stored, execute, change, together):
    """The version does not cover the last use. If it did, the first read after each recorded use would query twice."""
    known = (await stored.accounts.get(ACCESS)).row
    execute(change.format(SCHEMA))
    keys = [ACCESS, REFRESH] if together else [ACCESS]
    first, *_ = await asyncio.gather(*(stored.accounts.get(key, known) for key in keys))
    assert first.row == (await stored.accounts.get(ACCESS)).row
    assert first.row.version == known.version
    assert first.row.info.last_used_at != known.info.last_used_at


async def test_a_value_that_is_too_large_counts_as_damaged_although_the_row_was_remembered(stored, execute):
    known = (await stored.accounts.get(ACCESS)).row
    for (name,) in execute(
        "SELECT conname FROM pg_constraint WHERE contypid = %s::regtype", (f"{SCHEMA}.vault_sealed_value",)
    ):
        execute(f'ALTER DOMAIN {SCHEMA}.vault_sealed_value DROP CONSTRAINT "{name}"')
    execute(f"UPDATE {SCHEMA}.token SET blob = decode(repeat('00', 1000000), 'hex')")
    assert isinstance((await stored.accounts.get(ACCESS, known)).answer, DamagedToken)


@pytest.mark.parametrize("unknown", [False, True])
async def test_reads_that_share_queries_each_get_their_own_row(stored, unknown):
    """Among the keys are one whose row has not changed, one whose row has, one that was deleted, and unknown ones.

    A key is unknown if the process remembers no row of it. If one of the keys is unknown, one query reads all rows,
    and no query asks for versions.
    """
    keys = [Account("acme", "google", f"u{n}").key(TokenKind.ACCESS_TOKEN) for n in range(3)]
    await stored.accounts.store([write(key, f"{n}".encode()) for n, key in enumerate([REFRESH, *keys])], actor=None)
    known = {key: (await stored.accounts.get(key)).row for key in (ACCESS, REFRESH, keys[0])}
    await stored.accounts.store([write(REFRESH, b"changed")], actor=None)
    await AccountChanges(stored.accounts, uuid4).delete_token(keys[0], actor=None)
    asked = [ACCESS, REFRESH, ACCESS, keys[0]]
    if unknown:
        absent = Account("acme", "google", "absent").key(TokenKind.ACCESS_TOKEN)
        asked = [absent, keys[1], *asked, keys[2], absent]
    readings = await asyncio.gather(*(stored.accounts.get(key, known.get(key)) for key in asked))
    found = [(key, reading.row) for key, reading in zip(asked, readings, strict=True)]
    expected = {ACCESS: b"sealed", REFRESH: b"changed", keys[1]: b"2", keys[2]: b"3"}
    assert [row and (row.key, row.sealed.blob) for _, row in found] == [
        (key, expected[key]) if key in expected else None for key, _ in found
    ]
    assert [row is known[key] for key, row in found if key in known] == [not unknown, False, not unknown, False]


@pytest.mark.parametrize("together", [False, True])
async def test_a_key_with_two_rows_is_damaged_although_one_of_them_is_remembered(stored, execute, together):
    known = (await stored.accounts.get(ACCESS)).row
    execute(f"ALTER TABLE {SCHEMA}.token DROP CONSTRAINT token_pkey CASCADE")
    execute(f"INSERT INTO {SCHEMA}.token SELECT * FROM {SCHEMA}.token")
    keys = [ACCESS, REFRESH] if together else [ACCESS]
    first, *_ = await asyncio.gather(*(stored.accounts.get(key, known) for key in keys))
    assert first.answer == DamagedToken(ACCESS, WRONG_ROW)


async def test_a_remembered_token_of_another_version_is_not_the_answer(stored):
    known = (await stored.accounts.get(ACCESS)).row
    old = evolve(known, version=known.version + 1)
    assert (await stored.accounts.get(ACCESS, old)).row is not old


async def test_without_a_hash_of_rows_each_read_reads_the_row(store, url, execute):
    """A role that may not call `hash_record_extended` stands for a server without it, such as PostgreSQL 13."""
    await prepare(store)
    await store.accounts.store([write()], actor=None)
    execute("CREATE ROLE hashless LOGIN")
    try:
        execute("REVOKE EXECUTE ON FUNCTION pg_catalog.hash_record_extended FROM PUBLIC")
        execute(f"GRANT USAGE ON SCHEMA {SCHEMA} TO hashless")
        execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {SCHEMA} TO hashless")
        with psycopg.connect(url) as connection:
            own = psycopg.conninfo.make_conninfo(url, user="hashless", password=connection.info.password)
        async with open_postgres_store(own, migrate=False, schema=SCHEMA) as limited:
            first = (await limited.accounts.get(ACCESS)).row
            assert first.version is None
            assert (await limited.accounts.get(ACCESS)).row == first
            assert await version_sql(limited.accounts._database, SCHEMA) == NO_VERSION
    finally:
        execute("DROP OWNED BY hashless CASCADE; DROP ROLE hashless")
    assert await version_sql(store.accounts._database, SCHEMA) == VERSION


async def test_a_server_that_does_not_answer_is_not_one_without_a_hash(store, monkeypatch):
    async def fetch(sql):
        raise StorageError("busy", retryable=True)

    monkeypatch.setattr(store.accounts._database, "fetch", fetch)
    with pytest.raises(StorageError):
        await version_sql(store.accounts._database, SCHEMA)


async def test_a_column_that_the_server_cannot_hash_makes_no_read_fail(stored, url, execute):
    """The host may add a column to the table, for example of the type json."""
    execute(f"ALTER TABLE {SCHEMA}.token ADD COLUMN note json")
    async with open_postgres_store(url, migrate=False, schema=SCHEMA) as other:
        known = (await other.accounts.get(ACCESS)).row
        assert known.version is None
        assert (await other.accounts.get(ACCESS, known)).row == known
