"""An operator distributes a vault that holds tokens, and goes on working with it by the command line."""

import json
import os
import secrets

import psycopg
import pytest
from tests.adapters.cli.command import CommandLine
from tests.contract.distributed import CLIENT_VARIABLE, VARIABLE, skip_without_citus, statements_of

skip_without_citus()

OLD, NEW = "a-secret-that-only-this-test-uses-0123456789", "another-secret-that-only-this-test-uses-0123"
TENANTS = [f"tenant-{number}" for number in range(6)]  # on several nodes
HOST = """
from vault_adapters.providers import OAuth2Refresher

REFRESHERS = {"acme": OAuth2Refresher("https://acme.test/token", "client", "client-secret")}
"""


class Operator:
    """Runs commands, which must succeed unless another exit code is given."""

    def __init__(self, folder, url, schema):
        self.variables = {
            "DATABASE_URL": url,
            "ENCRYPTION_SECRET": OLD,
            "TOKEN_VAULT_SCRYPT_LOG2_N": "14",
            "TOKEN_VAULT_POSTGRES_SCHEMA": schema,
        }
        self.command = CommandLine(folder, self.variables)

    def __call__(self, *arguments, stdin="", code=0, **variables):
        done = self.command(*arguments, stdin=stdin, **variables)
        assert done.code == code, (arguments, done.code, done.stderr)
        return done.out

    def json(self, *arguments, **options):
        return json.loads(self(*arguments, "--json", **options))


@pytest.fixture
def at_coordinator(tmp_path):
    (tmp_path / "citus_host.py").write_text(HOST)
    schema = f"operated_{secrets.token_hex(4)}"
    yield Operator(tmp_path, os.environ[VARIABLE], schema)
    with psycopg.connect(os.environ[VARIABLE], autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


def fill(operator):
    for tenant in TENANTS:
        who = (tenant, "acme")
        operator("store", *who, "access_token", "--expires-in", "1h", stdin=f"access of {tenant}")
        operator("store", *who, "refresh_token", stdin=f"refresh of {tenant}")


def values(operator, **variables):
    return {tenant: operator("get", tenant, "acme", "refresh_token", "--reveal", **variables) for tenant in TENANTS}


def test_a_vault_with_tokens_is_distributed(at_coordinator, tmp_path):
    at_coordinator("init")
    fill(at_coordinator)
    before = values(at_coordinator)
    events = at_coordinator.json("audit")
    with psycopg.connect(os.environ[VARIABLE], autocommit=True) as connection:
        for statement in statements_of(at_coordinator("schema", "--citus")):
            connection.execute(statement)
    at_coordinator("init")  # finds nothing to do
    operator = Operator(tmp_path, os.environ.get(CLIENT_VARIABLE, os.environ[VARIABLE]), at_coordinator.variables["TOKEN_VAULT_POSTGRES_SCHEMA"])
    assert values(operator) == before
    assert operator.json("audit")[: len(events)] == events
    work(operator)


def work(operator):
    """Use each command that works on all tenants or on keys."""
    assert operator.json("tenants") == TENANTS
    assert len(operator.json("accounts", "--all")) == len(TENANTS)
    assert len(operator("export", "--all").splitlines()) == 2 * len(TENANTS)
    health = operator.json("health")
    assert health["ok"] is True
    doctor = operator.json("doctor", "--refreshers", "citus_host:REFRESHERS", code=15)
    assert doctor["accounts"] == len(TENANTS)
    assert len(operator.json("expiring", "--within", "2h")) == len(TENANTS)
