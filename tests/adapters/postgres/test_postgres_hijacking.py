"""Operators and functions that another role put into a schema of the search path are never called.

The vault would call them with its own rights. A search path with pg_catalog first does not prevent that alone: for
argument types that no built-in operator has exactly, Postgres prefers an exact match in any schema of the path.
"""

import re
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from vault_adapters import Account, RefreshFailedError, TokenKind, TokenSet, VaultConfig, open_vault
from vault_adapters.stores.postgres.connections import _refuse_foreign_operators
from vault_adapters.stores.postgres.statements import load_statements
from vault_adapters.testing import ScriptedRefresher
from vault_domain.entities.errors import ConfigurationError

SECRET = "an encryption secret of the tests, long enough"
ACCOUNT = Account("acme", "google", "ann@example.com")
ACCESS, REFRESH, API_KEY = map(ACCOUNT.key, (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN, TokenKind.API_KEY))
NOW = datetime.now(UTC)

TYPES = (
    "text",
    "bytea",
    "uuid",
    "bigint",
    "integer",
    "boolean",
    "timestamptz",
    "interval",
    "xid8",
    "text[]",
    "bytea[]",
)
OPERATORS = ("=", "<>", "<", "<=", ">", ">=", "+", "-", "*", "/", "||", "->>")

TRAP_OPERATORS = """
DO $do$
DECLARE l text; r text; name text;
BEGIN
    FOREACH l IN ARRAY %(types)s::text[] LOOP
        FOREACH r IN ARRAY %(types)s::text[] LOOP
            EXECUTE format('CREATE FUNCTION public.trap(%%s, %%s) RETURNS interval LANGUAGE plpgsql AS '
                '$f$ BEGIN RAISE ''a trap was called''; END $f$', l, r);
            FOREACH name IN ARRAY %(operators)s::text[] LOOP
                IF NOT EXISTS (SELECT FROM pg_operator WHERE oprname = name
                    AND oprnamespace = 'pg_catalog'::regnamespace AND oprleft = l::regtype
                    AND oprright = r::regtype) THEN
                    EXECUTE format('CREATE OPERATOR public.%%s (LEFTARG = %%s, RIGHTARG = %%s, FUNCTION = public.trap)',
                        name, l, r);
                END IF;
            END LOOP;
        END LOOP;
    END LOOP;
END $do$
"""


def lay_traps(url):
    """Put an operator for each pair of types, and a function for each polymorphic one, on the usual search path."""
    statements = load_statements("vault")
    called = set(re.findall(r"(?<![.\w])([a-z_]+)\(", " ".join(statements[name] for name in statements)))
    with psycopg.connect(url, autocommit=True) as connection, psycopg.ClientCursor(connection) as cursor:
        cursor.execute(TRAP_OPERATORS, {"types": list(TYPES), "operators": list(OPERATORS)})
        cursor.execute(
            "SELECT DISTINCT proname FROM pg_proc WHERE proname = ANY(%s) AND pronargs BETWEEN 1 AND 2 AND EXISTS"
            " (SELECT FROM unnest(proargtypes::oid[]) t JOIN pg_type y ON y.oid = t WHERE y.typtype = 'p')",
            [list(called)],
        )
        for (name,) in cursor.fetchall():
            for each in TYPES:
                for arguments in (each, f"{each}, {each}"):
                    cursor.execute(
                        f"CREATE FUNCTION public.{name}({arguments}) RETURNS interval LANGUAGE plpgsql AS "
                        "$f$ BEGIN RAISE 'a trap was called'; END $f$"
                    )


async def use(url):
    """Go through reads, single writes, transactions, lists, refreshes and key rotations."""
    refresher = ScriptedRefresher(TokenSet("a2", "r2", expires_in=600), RefreshFailedError(), TokenSet("a3", "r3"))
    config = VaultConfig(url, encryption_secret=SECRET, scrypt_log2_n=14)
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
        await vault.audit_events()
        await vault.audit_events(tenant_id="acme")
        assert (await vault.health()).ok
        await vault.keys.rotate_data_key("acme", dry_run=True)
        await vault.keys.rotate_data_keys(dry_run=True)
        await vault.keys.rotate_data_keys()
        await vault.keys.reencrypt(compromised=True)
        await vault.keys.status()
        await vault.delete_token(API_KEY)
        await vault.delete_account(ACCOUNT)
        await vault.erase_tenant("acme")


async def test_no_operator_or_function_of_another_schema_is_called(url):
    async with open_vault(VaultConfig(url, encryption_secret=SECRET, scrypt_log2_n=14)):
        pass
    lay_traps(url)
    await use(url)


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
