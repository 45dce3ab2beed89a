"""An operator distributes a vault that holds tokens, and goes on working with it by the command line."""

import json
import os
import secrets

import psycopg
import pytest
from tests.adapters.cli.command import CommandLine
from tests.contract.distributed import CLIENT_VARIABLE, VARIABLE, skip_without_citus

pytestmark = pytest.mark.processes

skip_without_citus()

OLD, NEW = "a-secret-that-only-this-test-uses-0123456789", "another-secret-that-only-this-test-uses-0123"
TENANTS = [f"tenant-{number}" for number in range(4)]  # on several nodes
HOST = """
from vault_adapters.providers import OAuth2Refresher

REFRESHERS = {"acme": OAuth2Refresher("https://acme.test/token", "client", "client-secret")}
"""


class Operator:
    """Runs commands, which must succeed unless another exit code is given."""

    def __init__(self, folder, url, schema):
        self.folder = folder
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

    def elsewhere(self, url):
        """Return the operator with the URL of another node."""
        return Operator(self.folder, url, self.variables["TOKEN_VAULT_POSTGRES_SCHEMA"])

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


def happened(operator, *arguments):
    """Return the audit events without their cursors.

    A cursor names the timeline of the server until Citus distributes the tables, and no timeline afterwards.
    """
    return [{**event, "cursor": None} for event in operator.json("audit", *arguments)]


def test_a_vault_with_tokens_is_distributed(at_coordinator):
    at_coordinator("init")
    fill(at_coordinator)
    before, events = values(at_coordinator), at_coordinator.json("audit")
    with psycopg.connect(os.environ[VARIABLE], autocommit=True) as connection:
        connection.execute(at_coordinator("schema", "--citus"))
    at_coordinator("init")  # finds nothing to do
    operator = at_coordinator.elsewhere(os.environ.get(CLIENT_VARIABLE, os.environ[VARIABLE]))
    assert values(operator) == before
    first, *others = happened(at_coordinator)
    assert [first, *others] == [{**event, "cursor": None} for event in events]
    assert happened(at_coordinator, "--after", events[0]["cursor"]) == others
    read_all(operator)
    replace_keys(operator)
    change(operator)


def read_all(operator):
    assert operator.json("tenants") == TENANTS
    assert [each["tenant_id"] for each in operator.json("accounts", "--all")] == TENANTS
    assert len(operator("export", "--all").splitlines()) == 2 * len(TENANTS)
    assert operator.json("health")["ok"] is True
    assert "sweep: " in operator("worker", "--once", "--refreshers", "citus_host:REFRESHERS")
    assert operator.json("doctor", "--refreshers", "citus_host:REFRESHERS", code=15)["accounts"] == len(TENANTS)
    assert len(operator.json("expiring", "--within", "2h")) == len(TENANTS)


def replace_keys(operator):
    """Replace all keys; afterwards the old secret opens nothing."""
    before = values(operator)
    report = operator.json("keys", "rotate-data", "--all")
    assert (report["due"], report["rotated"]) == (len(TENANTS), len(TENANTS))
    report = operator.json("reencrypt")
    assert (report["reencrypted"], report["incomplete"]) == (2 * len(TENANTS), False)
    both = {"ENCRYPTION_SECRET": NEW, "ENCRYPTION_SECRET_PREVIOUS": OLD}
    report = operator.json("keys", "rotate-master", **both)
    assert (report["activated"], report["retired"], report["incomplete"]) == (True, 1, False)
    operator("list", TENANTS[0], code=3)
    operator.variables["ENCRYPTION_SECRET"] = NEW
    report = operator.json("keys", "rotate-data", "--compromised")
    assert (report["incomplete"], report["values"]["destroyed"]) == (False, 2 * len(TENANTS))
    status = operator.json("keys", "status")
    assert (status["active"], status["decrypt_only"], status["destroyed"]) == (len(TENANTS), 0, 2 * len(TENANTS))
    assert values(operator) == before


def change(operator):
    erased, invalid, deleted, *_ = TENANTS
    rows = [{"tenant_id": tenant, "provider": "other", "kind": "api_key", "value": tenant} for tenant in TENANTS]
    (operator.folder / "dump.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert operator.json("import", "dump.jsonl", "--format", "tokens")["imported"] == len(rows)
    report = operator.json("erase-tenant", erased, stdin=erased)
    assert (report["tokens"], report["accounts"], report["data_keys"]) == (3, 2, 1)
    operator("invalidate", invalid, "acme", "refresh_token")
    broken = operator.json("accounts", "--all", "--state", "reauthorization_required")
    assert [each["tenant_id"] for each in broken] == [invalid]
    operator("delete-account", deleted, "acme")
    operator("delete-provider", deleted, "other")
    assert operator.json("tenants") == [tenant for tenant in TENANTS if tenant not in (erased, deleted)]
    actions = [event["action"] for event in operator.json("audit", "--limit", "1000")]
    assert {"tenant_erased", "token_invalidated", "token_deleted", "master_key_retired"} <= set(actions)
    assert not any(event["tenant_id"] == erased for event in operator.json("audit", "--action", "token_stored"))
    assert operator.json("audit", "prune", "--older-than", "400d") == {"pruned": 0}
