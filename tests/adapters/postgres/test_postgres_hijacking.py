"""Operators and functions that another role put into a schema of the search path are never called.

The vault would call them with its own rights. A search path with pg_catalog first is not enough to prevent that: for
argument types that no built-in operator has exactly, Postgres prefers an exact match in any schema of the path.
"""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from vault_adapters import Account, RefreshFailedError, TokenKind, TokenSet, VaultConfig, open_vault
from vault_adapters.stores import postgres
from vault_adapters.stores.postgres import querying
from vault_adapters.stores.postgres.account_columns import TEXT_HASH
from vault_adapters.stores.postgres.citus import functions_sql
from vault_adapters.stores.postgres.connections import _refuse_foreign_operators
from vault_adapters.stores.postgres.schema import schema_sql
from vault_adapters.stores.postgres.statements import briefly, load_statements
from vault_adapters.stores.postgres.tenants import tenants_trigger_sql
from vault_adapters.stores.postgres.timelines import NO_TIMELINE
from vault_adapters.stores.postgres.versions import NO_VERSION
from vault_adapters.testing import ScriptedRefresher
from vault_domain.entities.errors import ConfigurationError

SECRET = "an encryption secret of the tests, long enough"
ACCOUNT = Account("acme", "google", "ann@example.com")
ACCESS, REFRESH, API_KEY = map(ACCOUNT.key, (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN, TokenKind.API_KEY))
NOW = datetime.now(UTC)

TYPES = (
    *("bool", "bytea", '"char"', "name", "int8", "int2", "int4", "text", "oid", "xid", "xid8", "json", "jsonb", "date"),
    *("float4", "float8", "numeric", "varchar", "bpchar", "time", "timestamp", "timestamptz", "interval", "uuid"),
    *("inet", "jsonpath", "regclass", "regnamespace", "pg_lsn", "pg_snapshot", "text[]", "bytea[]", "uuid[]"),
    *("int8[]", "name[]", "timestamptz[]", "bool[]", "oid[]"),
    *("vault.vault_tenant_id", "vault.vault_key_id", "vault.vault_finite_time"),
)
OPERATORS = ("=", "<>", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "||", "->", "->>", "~", "~~", "@>", "&&")
PAIRS = ("text", "bytea", "int8", "int4", "name", "bool", "uuid", "timestamptz", "numeric", "float8", "text[]", "jsonb")
"""The types of which overloads with two arguments are made."""

TRAPS = """
SET allow_system_table_mods = on;
CREATE FUNCTION public.trap(int, int) RETURNS interval LANGUAGE plpgsql AS $$ BEGIN RAISE 'a trap was called'; END $$;
REVOKE EXECUTE ON FUNCTION public.trap FROM PUBLIC;
CREATE TEMP TABLE type AS
    SELECT t.oid, t.name = ANY (%(pairs)s) AS in_pairs FROM (
        SELECT name, name::pg_catalog.regtype::oid AS oid FROM unnest(%(types)s::text[]) name) t
    WHERE pg_catalog.has_type_privilege('trapped_thief', t.oid, 'USAGE');
INSERT INTO pg_catalog.pg_operator
    SELECT (pg_catalog.jsonb_populate_record(o, pg_catalog.jsonb_build_object(
        'oid', 1000000000 + row_number() OVER (), 'oprname', name, 'oprnamespace', 'public'::regnamespace::oid,
        'oprleft', l.oid, 'oprright', r.oid, 'oprresult', 'interval'::regtype::oid,
        'oprcode', 'public.trap'::regproc::oid, 'oprcom', 0, 'oprnegate', 0, 'oprrest', 0, 'oprjoin', 0,
        'oprcanmerge', false, 'oprcanhash', false))).*
    FROM type l CROSS JOIN type r CROSS JOIN unnest(%(operators)s::text[]) name
    JOIN pg_catalog.pg_operator o ON o.oid = 'pg_catalog.=(int, int)'::regoperator
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_operator b WHERE b.oprname = name
        AND b.oprnamespace = 'pg_catalog'::regnamespace AND b.oprleft = l.oid AND b.oprright = r.oid);
INSERT INTO pg_catalog.pg_proc
    SELECT (pg_catalog.jsonb_populate_record(p, pg_catalog.jsonb_build_object(
        'oid', 1500000000 + row_number() OVER (), 'proname', name, 'pronargs', 1 + (r.oid IS NOT NULL)::int,
        'proargtypes', pg_catalog.concat_ws(' ', l.oid, r.oid)))).*
    FROM unnest(%(functions)s::text[]) name CROSS JOIN type l
    CROSS JOIN (SELECT oid FROM type WHERE in_pairs UNION ALL SELECT NULL) r
    JOIN pg_catalog.pg_proc p ON p.oid = 'public.trap'::regproc
    WHERE l.in_pairs OR r.oid IS NULL;
"""
"""Makes an operator of each name for each pair of types, unless it would hide behind the built-in one, and overloads.

Rows of the catalogue take a second, and statements two minutes. The role of the vault has no right to call them: so a
plan with one of them is refused, even if it would find no row.
"""

SOURCES = Path(postgres.__file__).parent
CALL = re.compile(r"(?<![.\w])([a-z_0-9]+)\(")


def called():
    """Return the names that stand before a parenthesis in the store's SQL, and in its Python code beside it."""
    texts = (path.read_text(encoding="utf-8") for path in SOURCES.rglob("*") if path.suffix in {".sql", ".py"})
    return sorted({name for text in texts for name in CALL.findall(text)})


@pytest.fixture(scope="module")
def trapped(postgres):
    """Give a database in which another role than the vault's, which may create objects in public, has laid its traps.

    The vault's role is no superuser.
    """
    url = postgres.create_database("trapped")
    with psycopg.connect(url, autocommit=True) as connection:
        for role in ("trapped_vault", "trapped_thief"):
            connection.execute(f"CREATE ROLE {role} LOGIN")
        connection.execute("GRANT CREATE ON DATABASE trapped TO trapped_vault")
    vaults = url.replace("postgres@", "trapped_vault@")
    with psycopg.connect(vaults, autocommit=True) as connection:
        connection.execute(schema_sql("vault"))
    with psycopg.connect(url, autocommit=True) as connection, psycopg.ClientCursor(connection) as cursor:
        cursor.execute("SET search_path = pg_catalog")
        cursor.execute("SELECT DISTINCT proname::text FROM pg_proc WHERE proname = ANY(%s)", [called()])
        functions = [name for (name,) in cursor.fetchall()]
        lists = {"types": TYPES, "operators": OPERATORS, "pairs": PAIRS, "functions": functions}
        cursor.execute(TRAPS, {name: list(values) for name, values in lists.items()})
    yield vaults
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE trapped WITH (FORCE)")
        connection.execute("DROP ROLE trapped_vault")
        connection.execute("DROP ROLE trapped_thief")


async def use(url, schema="vault"):
    """Open the vault, and go through reads, writes, lists, a host's transaction, refreshes and key rotations."""
    refresher = ScriptedRefresher(TokenSet("a2", "r2", expires_in=600), RefreshFailedError(), TokenSet("a3", "r3"))
    config = VaultConfig(url, postgres_schema=schema, encryption_secret=SECRET, scrypt_log2_n=14)
    async with open_vault(config, refreshers={"google": refresher}) as vault:
        await vault.store_token_set(ACCOUNT, TokenSet("a1", "r1", expires_in=600), label="Ann")
        await vault.store_token(API_KEY, "k1", expires_at=NOW + timedelta(hours=1), expected_generation=0)
        await vault.store_token(API_KEY, "k2", expected_generation=1)
        await vault.store_tokens([(API_KEY, "k3"), (REFRESH, "r1")])
        await vault.store_token(API_KEY, "k4")
        assert len(await vault.get_tokens([ACCESS, REFRESH, API_KEY])) == 3
        assert (await vault.refresh_account(ACCOUNT)).value.reveal() == "a2"
        with pytest.raises(RefreshFailedError):
            await vault.refresh_account(ACCOUNT)
        assert (await vault.refresh_account(ACCOUNT)).value.reveal() == "a3"
        await vault.refresh_due()
        await vault.mark_token_invalid(await vault.get_token(API_KEY), "revoked")
        await vault.find_expiring_tokens(timedelta(days=1))
        await vault.list_tokens("acme")
        await vault.list_accounts("acme")
        assert [found.label for found in (await vault.find("an")).items] == ["Ann"]
        assert [token async for token in vault.iter_exported_tokens("acme")]
        await vault.audit_events()
        await vault.audit_events(tenant_id="acme")
        assert (await vault.verify_audit([await vault.audit_head()])).ok
        assert (await vault.health()).ok
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await vault.on(connection).store_token_set(ACCOUNT, TokenSet("a4", "r4"))
        await vault.prune_audit(older_than=timedelta(days=365))
        await vault.keys.rotate_data_key("acme", dry_run=True)
        await vault.keys.rotate_data_keys(dry_run=True)
        await vault.keys.rotate_data_keys()
        await vault.keys.reencrypt(compromised=True)
        await vault.keys.status()
        await vault.delete_token(API_KEY)
        await vault.delete_account(ACCOUNT)
        await vault.erase_tenant("acme")


@pytest.mark.parametrize("schema", ["vault", "migrated_at_opening"])
async def test_no_operator_or_function_of_another_schema_is_called(trapped, schema):
    with psycopg.connect(trapped) as connection:
        for statement in ("SELECT 1::numeric * 1::int4", "SELECT array_agg(1::int8)"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(statement)
    await use(trapped, schema)


def test_the_trigger_of_the_tenants_table_calls_none(trapped):
    with psycopg.connect(trapped, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA host; CREATE TABLE host.customer (id bigint PRIMARY KEY)")
        connection.execute(tenants_trigger_sql("vault", "host.customer", "id"))
        for statement in ("DELETE FROM host.customer WHERE id = 1::bigint", "TRUNCATE host.customer"):
            connection.execute("INSERT INTO host.customer VALUES (1), (2) ON CONFLICT DO NOTHING")
            connection.execute("INSERT INTO vault.account (tenant_id, provider) VALUES ('1', 'google')")
            connection.execute(statement)
            assert connection.execute("SELECT FROM vault.account").fetchall() == []


NULLS = {"version": NO_VERSION, "row_hash": TEXT_HASH}
VARIANTS = {
    "plain": load_statements("vault"),
    "waking": load_statements("vault", waking=True),
    "old server": load_statements("vault", timeline=NO_TIMELINE, **NULLS),
    "citus": load_statements("vault", distributed=True),
}
STATEMENTS = {f"{variant}: {name}": queries[name] for variant, queries in VARIANTS.items() for name in queries}
STATEMENTS |= {"briefly": briefly(VARIANTS["plain"]["store_tokens"]), "time on citus": querying._MICROSECONDS}


def test_no_statement_names_anything_of_another_schema(trapped):
    """Each statement is planned, also those that `use` does not run."""
    found = []
    with psycopg.connect(trapped, autocommit=True) as connection:
        connection.execute(functions_sql("vault"))
        connection.execute("SET plan_cache_mode = force_generic_plan")
        for name, sql in STATEMENTS.items():
            parameters = list(dict.fromkeys(re.findall(r"%\((\w+)\)b", sql)))
            text = sql.replace("%%", "%")
            for number, parameter in enumerate(parameters, 1):
                text = text.replace(f"%({parameter})b", f"${number}")
            if "\nLOCK TABLE" in f"\n{text}":
                continue  # cannot be prepared, and has no operator
            try:
                connection.execute(f"PREPARE tried AS {text}")
                nulls = ", ".join(["NULL"] * len(parameters))
                connection.execute(f"EXPLAIN EXECUTE tried {nulls and f'({nulls})'}")
            except psycopg.Error as error:
                found.append((name, str(error).splitlines()[0]))
            with suppress(psycopg.Error):
                connection.execute("DEALLOCATE tried")
    assert not found, "\n".join(map(str, found))


FOREIGN = {
    "plain": "evil, pg_catalog",
    "quoted": '"evil", "pg_catalog"',
    "capitals": "evil, PG_CATALOG",
    "another_schema_in_capitals": '"PG_CATALOG", evil, pg_catalog',
    "a_comma_in_a_name": '"pg_catalog,x", evil, pg_catalog',
    "a_quote_in_a_name": '"pg_catalog""", evil, pg_catalog',
    "a_space_in_a_name": '" pg_catalog", evil, pg_catalog',
}
SAFE = ['"$user", public', "", "pg_catalog", "PG_Catalog , evil", '"pg_catalog", evil', "public", "old_pg_catalog"]


@pytest.mark.parametrize("path", FOREIGN.values(), ids=FOREIGN)
async def test_a_search_path_with_another_schema_before_pg_catalog_is_refused(url, execute, path):
    execute("CREATE SCHEMA evil")
    [(found, schemas)] = execute(
        "SELECT set_config('search_path', %s, false), pg_catalog.current_schemas(true)::text[]", [path]
    )
    assert schemas[0] == "evil"
    with pytest.raises(ConfigurationError) as caught:
        _refuse_foreign_operators(found)
    assert caught.value.code == "search_path"


@pytest.mark.parametrize("path", SAFE)
def test_the_usual_search_paths_are_accepted(path):
    _refuse_foreign_operators(path)
