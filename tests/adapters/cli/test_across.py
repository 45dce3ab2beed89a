"""Commands across tenants, and the deletion of an account, by the real command on a SQLite file."""

import json

import pytest


@pytest.fixture
def filled(token_vault):
    for tenant in ("t2", "t1"):
        for kind in ("access_token", "refresh_token"):
            assert token_vault("store", tenant, "google", kind, stdin="v").code == 0
    assert token_vault("invalidate", "t2", "google", "refresh_token").code == 0
    return token_vault


def owners(result):
    return [row["tenant_id"] for row in json.loads(result.out)]


def test_all_tenants(filled):
    assert json.loads(filled("tenants", "--json").out) == ["t1", "t2"]
    assert filled("tenants").out.split() == ["TENANT", "t1", "t2"]
    assert owners(filled("accounts", "--all", "--json")) == ["t1", "t2"]
    assert owners(filled("accounts", "--all", "--limit", "1", "--json")) == ["t1"]
    assert owners(filled("accounts", "--all", "--state", "reauthorization_required", "--json")) == ["t2"]
    rows = [json.loads(line) for line in filled("export", "--all").out.splitlines()]
    assert [(row["tenant_id"], row["kind"]) for row in rows] == [
        (tenant, kind) for tenant in ("t1", "t2") for kind in ("access_token", "refresh_token")
    ]


@pytest.mark.parametrize("command", ["accounts", "export"])
@pytest.mark.parametrize("arguments", [[], ["t1", "--all"]])
def test_one_tenant_or_all_must_be_named(filled, command, arguments):
    done = filled(command, *arguments)
    assert (done.code, done.stdout) == (2, b"")
    assert "--all" in done.stderr


def test_an_account_is_deleted(filled):
    done = filled("delete-account", "t1", "google", "--json")
    assert (done.code, json.loads(done.out)) == (0, {"deleted": 2, "revoked": None, "reason": None})
    assert filled("delete-account", "t1", "google").code == 4
    assert "deleted 2 tokens" in filled("delete-account", "t2", "google").out
    assert json.loads(filled("tenants", "--json").out) == []
