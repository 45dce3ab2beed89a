"""Which nodes of a cluster a request asks, and whether it goes on while another node is down."""

import os
import re
import secrets
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from attrs import evolve
from psycopg_pool import AsyncConnectionPool
from tests.contract.distributed import VARIABLE, DistributedSchema, skip_without_citus

from vault_adapters import Account, RefreshFailedError, Secret, TokenKey, TokenKind, TokenSet, VaultConfig, open_vault
from vault_adapters.stores.migrations import load_migrations
from vault_adapters.stores.postgres import citus
from vault_adapters.stores.postgres import schema as schema_module
from vault_adapters.testing import ScriptedRefresher

skip_without_citus()

SECRET = Secret("only-these-tests-of-citus-use-it-" + "0123456789abcdef")
ACCOUNTS = [Account(f"tenant-{number}", "acme", "ann") for number in range(8)]  # on several nodes
FRESH = TokenSet("new access", "new refresh", expires_in=3600)
CONTROL = re.compile(r"(?:BEGIN|COMMIT|ROLLBACK|PREPARE TRANSACTION|SELECT assign_distributed_transaction_id)\b")
UNREACHABLE_PORT = 1


@pytest.fixture(scope="module")
def distributed_schema():
    with DistributedSchema() as schema:
        yield schema


@pytest.fixture
def schema(distributed_schema):
    with distributed_schema.lend() as name:
        yield name


class Heard:
    """The statements that the coordinator sends to other nodes, or runs itself, as it tells its client."""

    def __init__(self):
        self.statements = []

    async def listen(self, connection):
        connection.add_notice_handler(self._note)

    def _note(self, notice):
        text = (notice.message_primary or "").removeprefix("issuing ")
        node = re.search(r"@(\S+)", notice.message_detail or "")
        self.statements.append((text, node[1] if node else "the coordinator"))

    def taken(self):
        """Return the statements since the last call, without those that only begin or end a transaction."""
        taken, self.statements = self.statements, []
        return [(text, node) for text, node in taken if not CONTROL.match(text)]


@asynccontextmanager
async def opened(schema, refresher, heard, **settings):
    """Open a vault through the coordinator."""
    told = "-c citus.log_remote_commands=on -c citus.log_local_commands=on -c client_min_messages=notice"
    config = VaultConfig(
        database_url=os.environ[VARIABLE],
        encryption_secret=SECRET,
        postgres_schema=schema,
        scrypt_log2_n=14,
        **settings,
    )
    pool = AsyncConnectionPool(
        os.environ[VARIABLE], min_size=1, max_size=2, open=False, configure=heard.listen, kwargs={"options": told}
    )
    async with pool, open_vault(config, pool=pool, refreshers={"acme": refresher}) as vault:
        yield vault


def expired():
    return TokenSet("access", "refresh", expires_at=datetime.now(UTC) - timedelta(seconds=1))


async def fail_to_refresh(vault, account):
    with pytest.raises(RefreshFailedError):
        await vault.ensure_access_token(account)


def access(account):
    return account.key(TokenKind.ACCESS_TOKEN)


CALLS = {
    "get_token": (1, lambda vault, account: vault.get_token(access(account))),
    "get_tokens": (1, lambda vault, account: vault.get_tokens([account.key(kind) for kind in TokenKind])),
    "store_token": (3, lambda vault, account: vault.store_token(access(account), "v")),
    "store_token that expects a generation": (
        3,
        lambda vault, account: vault.store_token(access(account), "v", expected_generation=1),
    ),
    "store_token_set": (3, lambda vault, account: vault.store_token_set(account, expired())),
    "store_token_set of a new account": (
        5,
        lambda vault, account: vault.store_token_set(evolve(account, identifier="bob"), expired()),
    ),
    "ensure_access_token with a refresh": (6, lambda vault, account: vault.ensure_access_token(account)),
    "ensure_access_token with a failure": (7, fail_to_refresh),
}
"""The largest number of statements that each call may send to other nodes."""


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_asks_the_node_of_its_tenant_only(schema, name):
    first, account, *_ = ACCOUNTS
    most, call = CALLS[name]
    refresher, heard = ScriptedRefresher(FRESH), Heard()
    async with opened(schema, refresher, heard) as vault:
        for each in (first, account):
            await vault.store_token_set(each, expired())
        await vault.ensure_access_token(first)  # reads what a process asks only every few seconds, such as pauses
        await vault.get_token(access(account))
        refresher.then(RefreshFailedError(account=account) if "failure" in name else FRESH)
        heard.taken()
        await call(vault, account)
        sent = heard.taken()
    assert len({node for _, node in sent} - {"the coordinator"}) == 1, sent
    assert len(sent) <= most, sent


async def test_a_refresh_without_a_stored_access_token_asks_one_node(schema):
    first, account, *_ = ACCOUNTS
    refresher, heard = ScriptedRefresher(FRESH, FRESH), Heard()
    async with opened(schema, refresher, heard) as vault:
        await vault.store_token_set(first, expired())
        await vault.ensure_access_token(first)
        await vault.store_token_set(account, expired())
        await vault.delete_token(access(account))
        heard.taken()
        assert (await vault.ensure_access_token(account)).value.reveal() == "new access"
        assert len({node for _, node in heard.taken()} - {"the coordinator"}) == 1


@contextmanager
def unreachable(node_id):
    """Let the coordinator look for a node where no server is."""
    change = "UPDATE pg_dist_node SET nodeport = %s WHERE nodeid = %s"
    with psycopg.connect(os.environ[VARIABLE], autocommit=True) as connection:
        [(port,)] = connection.execute("SELECT nodeport FROM pg_dist_node WHERE nodeid = %s", [node_id]).fetchall()
        connection.execute(change, [UNREACHABLE_PORT, node_id])
        try:
            yield
        finally:
            connection.execute(change, [port, node_id])


def nodes_of(schema, accounts):
    """Return the id of the node of each account."""
    query = """
        SELECT n.nodeid FROM pg_dist_placement p JOIN pg_dist_node n ON n.groupid = p.groupid
        WHERE p.shardid = get_shard_id_for_distribution_column(%s::regclass, %s::text)"""
    with psycopg.connect(os.environ[VARIABLE], autocommit=True) as connection:
        asked = [connection.execute(query, [f'"{schema}".token', account.tenant_id]).fetchall() for account in accounts]
    return [node_id for [(node_id,)] in asked]


async def test_while_a_node_is_down_the_tenants_of_the_others_go_on(schema):
    """Data keys are read anew for each call, as by a process that has not used a tenant for a while."""
    refresher, heard = ScriptedRefresher(), Heard()
    async with opened(schema, refresher, heard, data_key_ttl=timedelta(0)) as vault:
        for account in ACCOUNTS:
            await vault.store_token_set(account, expired())
        nodes = dict(zip(ACCOUNTS, nodes_of(schema, ACCOUNTS), strict=True))
        assert len(set(nodes.values())) > 1
        for down in sorted(set(nodes.values())):
            with unreachable(down):
                for account in (each for each, node in nodes.items() if node != down):
                    refresher.then(FRESH)
                    assert (await vault.ensure_access_token(account)).value.reveal() == "new access"
                    assert await vault.get_token(TokenKey(account.tenant_id, "acme", TokenKind.API_KEY)) is None
                    await vault.store_token(access(account), "v")
                    await vault.store_token_set(account, expired())


async def test_a_distributed_schema_of_an_older_release_is_migrated(monkeypatch):
    name, url = f"older_{secrets.token_hex(4)}", os.environ[VARIABLE]
    every = load_migrations(schema_module._PACKAGE)
    monkeypatch.setattr(schema_module, "load_migrations", lambda _: every[:2])
    for tables in ("REFERENCE", "DISTRIBUTED"):
        later = ("home", "restoration", "unread_answer", "audit_seal", "audit_chain", "document")
        older = tuple(table for table in getattr(citus, tables) if table not in later)
        monkeypatch.setattr(citus, tables, older)
    script = citus.citus_sql(name)
    monkeypatch.undo()
    with psycopg.connect(url, autocommit=True) as connection:
        try:
            connection.execute(script)
            async with opened(name, ScriptedRefresher(FRESH), Heard()) as vault:
                await vault.store_token_set(ACCOUNTS[0], expired())
                assert (await vault.ensure_access_token(ACCOUNTS[0])).value.reveal() == "new access"
            query = "SELECT table_name::text, citus_table_type FROM citus_tables WHERE table_name::text LIKE %s"
            kinds = {table.split(".")[1]: kind for table, kind in connection.execute(query, [f"{name}.%"]).fetchall()}
            assert {table for table, kind in kinds.items() if kind == "reference"} == set(citus.REFERENCE)
            assert set(citus.DISTRIBUTED) <= {table for table, kind in kinds.items() if kind == "distributed"}
        finally:
            connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
