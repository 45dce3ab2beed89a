"""Before the first token: secrets, the schema, the configuration, health."""

import asyncio
import json
import os
import re
import sqlite3
import stat

import pytest
from tests.adapters.cli.conftest import SECRET

from vault_adapters import Account
from vault_adapters.stores.sqlite.store import open_sqlite_store
from vault_domain.entities.clients import ClientScope
from vault_domain.rules.clients import ClientRules
from vault_domain.transitions.clients import refused


def test_secrets_are_long_and_differ(bare):
    first, second = bare("generate-secret").out, bare("generate-secret").out
    assert first != second
    assert len(first) == 57
    assert first.endswith("\n")


def test_init_says_what_it_did_and_can_be_repeated(unprepared):
    first, second = unprepared("init"), unprepared("init")
    assert (first.code, second.code) == (0, 0)
    assert "brought up to date" in first.out
    assert "already up to date" in second.out
    assert json.loads(unprepared("init", "--json").out) == {
        "database": f"{unprepared.folder}/vault.db",
        "schema": "current",
    }


def test_only_init_makes_a_schema(unprepared):
    done = unprepared("list", "t1")
    assert done.code == 3
    assert "token-vault init" in done.stderr


def test_the_database_is_for_its_owner_only(token_vault):
    mode = os.stat(token_vault.folder / "vault.db").st_mode
    assert stat.filemode(mode) == "-rw-------"


def test_the_default_database_is_named(bare):
    done = bare("init", ENCRYPTION_SECRET=SECRET, TOKEN_VAULT_SCRYPT_LOG2_N="14")
    assert done.code == 0
    assert done.stderr.startswith("token-vault: no database is configured; tokens are kept in the file token-vault.db")


def test_a_secret_may_come_from_a_file(unprepared):
    (unprepared.folder / "secret").write_text(SECRET + "\n")
    assert unprepared("init").code == 0
    assert unprepared("health", ENCRYPTION_SECRET="", ENCRYPTION_SECRET_FILE="secret").code == 0


def test_a_secret_file_that_all_users_can_read_is_told(unprepared):
    file = unprepared.folder / "secret"
    file.write_text(SECRET + "\n")
    configured = {"ENCRYPTION_SECRET": "", "ENCRYPTION_SECRET_FILE": "secret"}
    file.chmod(0o604)
    told = "the file of a secret can be read by all users of this machine; chmod o-r takes this right"
    assert unprepared("init", **configured).stderr == f"token-vault: {told}\n"
    worker = unprepared("worker", "--once", "--json-logs", "--refreshers", "nowhere:at_all", **configured)
    assert json.loads(worker.stderr.splitlines()[0])["message"] == told
    file.chmod(0o600)
    assert unprepared("health", **configured).stderr == ""


def test_a_dotenv_file_is_not_read(bare):
    (bare.folder / ".env").write_text(f"ENCRYPTION_SECRET={SECRET}\n")
    assert bare("init").code == 3


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"ENCRYPTION_SECRET": ""}, 3),
        ({"ENCRYPTION_SECRET": "short"}, 3),
        ({"ENCRYPTION_SECRET": "another-secret-of-a-sufficient-length-98765"}, 3),
        ({"DATABASE_URL": "mysql://user:canary@host/db"}, 3),
        ({"DATABASE_URL": "sqlite:////nowhere/at/all/vault.db"}, 5),
        ({"TOKEN_VAULT_REFRESH_BUFFER": "canary"}, 3),
        ({"ENCRYPTION_SECRET": "", "ENCRYPTION_SECRET_FILE": "/nowhere/canary"}, 3),
    ],
)
def test_configuration_that_cannot_be_used(token_vault, variables, code):
    done = token_vault("list", "t1", **variables)
    assert (done.code, done.stdout) == (code, b"")
    assert done.stderr.startswith("token-vault: ")
    assert done.stderr.count("\n") == 1
    assert "canary" not in done.stderr


def test_health_counts(token_vault):
    token_vault("store", "t1", "google", "access_token", "--expires-in", "1m", stdin="v")
    token_vault("store", "t1", "clerk", "api_key", stdin="v")
    report = json.loads(token_vault("health", "--json").out)
    assert report == {
        "ok": True,
        "status": "ok",
        "store_error": None,
        "store_reason": None,
        "master_key_error": None,
        "failed_reads": 0,
        "counts": [
            {"provider": "clerk", "health": "fresh", "count": 1},
            {"provider": "google", "health": "expiring", "count": 1},
        ],
        "is_estimate": False,
        "incidents": [],
        "unread": {},
    }
    assert json.loads(token_vault("health", "--tenant", "t2", "--json").out)["counts"] == []
    lines = token_vault("health").out.splitlines()
    assert lines[0].split() == ["PROVIDER", "FRESH", "EXPIRING", "SUSPECT", "UNKNOWN", "EXPIRED", "INVALID"]
    assert lines[2].split() == ["google", "0", "1", "0", "0", "0", "0"]


def test_health_shows_the_incidents(token_vault):
    token_vault("store", "t1", "google", "access_token", stdin="v")

    async def pause():
        async with open_sqlite_store(str(token_vault.folder / "vault.db"), migrate=False, clock=None) as store:
            scope = ClientScope("google", None, "invalid_client")
            account, one = Account("t1", "google"), ClientRules(accounts=1)
            await store.clients.change(
                scope, lambda _, now: refused(None, now, scope, account, one, succeeded=False, is_sole=True)
            )

    asyncio.run(pause())
    done = token_vault("health", "--json")
    report = json.loads(done.out)
    [incident] = report["incidents"]
    assert (report["ok"], report["status"]) == (True, "paused")
    assert (done.code, incident["provider"], incident["reason"]) == (0, "google", "invalid_client")
    assert incident["since"] == incident["refused_at"]
    shown = token_vault("health").out
    assert re.search("^google +invalid_client ", shown, re.MULTILINE)
    assert "google: The provider refuses the OAuth client" in shown
    assert "Check client id and secret" in " ".join(shown.split())
    event = json.loads(token_vault("audit", "--json").out)[-1]
    assert (event["action"], event["provider"], event["tenant_id"]) == ("client_paused", "google", None)
    assert "client_paused" in token_vault("audit").out


def test_health_fails_where_the_database_does(token_vault):
    (token_vault.folder / "vault.db").write_bytes(b"this is no database" * 100)
    done = token_vault("health")
    assert (done.code, done.stderr.count("\n")) == (5, 1)


def test_a_damaged_row_is_refused_and_the_others_are_not(token_vault):
    for tenant in ("t1", "t2"):
        token_vault("store", tenant, "clerk", "api_key", stdin="v")
    with sqlite3.connect(token_vault.folder / "vault.db") as database:
        database.execute("UPDATE token_vault_token SET blob = substr(blob, 1, 60) WHERE tenant_id = 't1'")
    database.close()
    done = token_vault("get", "t1", "clerk", "api_key", "--reveal")
    assert (done.code, done.stdout) == (6, b"")
    assert done.stderr == "token-vault: a stored value could not be decrypted (clerk)\n"
    assert token_vault("get", "t2", "clerk", "api_key", "--reveal").out == "v"
    assert token_vault("list", "t1").code == 0
    assert token_vault("invalidate", "t1", "clerk", "api_key").code == 0
