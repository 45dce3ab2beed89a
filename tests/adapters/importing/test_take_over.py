"""`token-vault import --from`: tables and files that the real packages have made, read into both stores."""

import asyncio
import base64
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from slack_sdk.oauth.installation_store import FileInstallationStore, Installation
from slack_sdk.oauth.installation_store.sqlite3 import SQLite3InstallationStore
from tests.adapters.cli.command import clean_environment

from vault_adapters import open_sync_vault, open_vault
from vault_adapters.clients.slack import VaultInstallationStore
from vault_adapters.importing.systems import mcp

CANARY = "canary-7f3a9c"
ENDS = datetime(2099, 1, 2, 3, 4, 5, tzinfo=UTC)
ENDS_AT = int(ENDS.timestamp())


@pytest.fixture(scope="module")
def django_file(tmp_path_factory):
    """A SQLite file of Django with the tables of both packages, made by their own migrations."""
    path = tmp_path_factory.mktemp("django") / "django.db"
    environment = {name: text for name, text in clean_environment().items() if name != "PYTHONWARNINGS"}
    command = [sys.executable, str(Path(__file__).with_name("django_logins.py")), str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return path


def counts(done):
    found = json.loads(done.stdout)
    return tuple(found[name] for name in ("imported", "replaced", "skipped", "failed"))


def tokens_in(database):
    """Return what the vault holds, by tenant, provider, identifier and kind."""

    async def read():
        async with open_vault(database.config()) as vault:
            return {
                (
                    item.info.key.tenant_id,
                    item.info.key.provider,
                    item.info.key.identifier,
                    item.info.key.kind.value,
                ): item
                async for tenant in vault.iter_tenants()
                async for item in vault.iter_exported_tokens(tenant)
            }

    return asyncio.run(read())


def values(tokens):
    return {key: item.value.reveal() for key, item in tokens.items()}


def test_allauth(token_vault, database, django_file):
    before = django_file.read_bytes()
    dry = token_vault("import", "--from", "allauth", str(django_file), "--dry-run", "--json")
    assert (dry.code, counts(dry)) == (13, (3, 0, 0, 1))
    done = token_vault("import", "--from", "allauth", str(django_file), "--json")
    assert (done.code, counts(done)) == (13, (3, 0, 0, 1))
    assert done.stderr == "token-vault: row 3: oauth1_token\n"
    tokens = tokens_in(database)
    assert values(tokens) == {
        ("1", "google", "g-1", "access_token"): f"{CANARY}-google",
        ("1", "google", "g-1", "refresh_token"): f"{CANARY}-r",
        ("1", "github", "h-1", "access_token"): f"{CANARY}-github",
    }
    assert tokens["1", "google", "g-1", "access_token"].info.expires_at == ENDS
    assert django_file.read_bytes() == before
    again = token_vault("import", "--from", "allauth", str(django_file), "--overwrite", "--json")
    assert counts(again) == (0, 3, 0, 1)


def test_social_django(token_vault, database, django_file):
    options = ("--rename", "google-oauth2=google", "--tenant", "acme")
    done = token_vault("import", "--from", "social-django", str(django_file), *options, "--json")
    assert (done.code, counts(done)) == (13, (3, 0, 0, 2))
    assert done.stderr == "token-vault: row 3: oauth1_token\ntoken-vault: row 5: invalid_expires_at\n"
    tokens = tokens_in(database)
    assert values(tokens) == {
        ("acme", "google", "s-1", "access_token"): f"{CANARY}-a",
        ("acme", "google", "s-1", "refresh_token"): f"{CANARY}-r",
        ("acme", "google", "s-2", "access_token"): f"{CANARY}-b",
    }
    first = tokens["acme", "google", "s-1", "access_token"].info
    assert (first.expires_at, first.scopes) == (datetime.fromtimestamp(4070923445, UTC), ("mail", "drive"))
    assert tokens["acme", "google", "s-2", "access_token"].info.expires_at == first.expires_at


def installations():
    """Two installations of a workspace, of which the later counts, and one of an organization."""
    ann = {
        "app_id": "A1", "team_id": "T1", "team_name": "One", "bot_id": "B1", "bot_user_id": "UB", "user_id": "U1",
        "bot_scopes": "chat:write,files:read", "user_scopes": ["search:read"],
    }  # fmt: skip
    for number in (1, 2):
        yield Installation(
            **ann,
            bot_token=f"{CANARY}-bot{number}",
            bot_refresh_token=f"{CANARY}-botr{number}",
            bot_token_expires_at=ENDS_AT,
            user_token=f"{CANARY}-user{number}",
            user_refresh_token=f"{CANARY}-userr{number}",
            user_token_expires_at=ENDS_AT,
            installed_at=1_700_000_000.0 + number,
        )
    yield Installation(
        app_id="A1", enterprise_id="E1", is_enterprise_install=True, bot_id="B2", bot_user_id="UC", user_id="U2",
        bot_token=f"{CANARY}-org", installed_at=1_700_000_000.0,
    )  # fmt: skip


SLACK = {
    ("T1", "slack", "T1", "access_token"): f"{CANARY}-bot2",
    ("T1", "slack", "T1", "refresh_token"): f"{CANARY}-botr2",
    ("T1", "slack-user", "T1:U1", "access_token"): f"{CANARY}-user2",
    ("T1", "slack-user", "T1:U1", "refresh_token"): f"{CANARY}-userr2",
    ("E1", "slack", "E1", "access_token"): f"{CANARY}-org",
}


def in_sqlalchemy(path, client):
    """Return an engine and Slack's store in it, with its tables."""
    from slack_sdk.oauth.installation_store.sqlalchemy import SQLAlchemyInstallationStore
    from sqlalchemy import create_engine

    engine = create_engine(f"sqlite:///{path}")
    store = SQLAlchemyInstallationStore(client, engine)
    store.create_tables()
    return engine, store


@pytest.mark.parametrize("kind", ["sqlalchemy", "sqlite3", "files"])
def test_slack(token_vault, database, tmp_path, kind):
    if kind == "files":
        store, place = (
            FileInstallationStore(base_dir=str(tmp_path / "slack"), client_id="1.2"),
            tmp_path / "slack" / "1.2",
        )
    elif kind == "sqlalchemy":
        place = tmp_path / "slack.db"
        engine, store = in_sqlalchemy(place, "1.2")
    else:
        place = tmp_path / "slack.db"
        store = SQLite3InstallationStore(database=str(place), client_id="1.2")
        store.init()
    for installation in installations():
        store.save(installation)
    done = token_vault("import", "--from", "slack", str(place), "--json")
    assert (done.code, done.stderr) == (0, "")
    tokens = tokens_in(database)
    assert values(tokens) == SLACK
    bot = tokens["T1", "slack", "T1", "access_token"]
    assert (bot.info.expires_at, bot.info.scopes) == (ENDS, ("chat:write", "files:read"))
    with open_sync_vault(database.config()) as vault:
        taken = VaultInstallationStore(vault)
        found = taken.find_installation(enterprise_id=None, team_id="T1", user_id="U1")
        kept = store.find_installation(enterprise_id=None, team_id="T1", user_id="U1")
        assert (found.bot_token, found.user_token) == (f"{CANARY}-bot2", f"{CANARY}-user2")
        assert (found.bot_scopes, found.user_scopes) == (["chat:write", "files:read"], ["search:read"])
        same = ("bot_id", "app_id", "team_name", "installed_at")
        assert [getattr(found, name) for name in same] == [getattr(kept, name) for name in same]
        assert taken.find_bot(enterprise_id="E1", team_id=None, is_enterprise_install=True).bot_id == "B2"
    if kind == "sqlalchemy":
        engine.dispose()


def test_several_slack_apps_in_one_table_are_told_apart(token_vault, database, tmp_path):
    for client in ("1.2", "3.4"):
        engine, store = in_sqlalchemy(tmp_path / "slack.db", client)
        store.save(Installation(app_id="A", team_id="T", bot_id="B", bot_user_id="U", user_id="U", bot_token=client))
        engine.dispose()
    refused = token_vault("import", "--from", "slack", "slack.db")
    assert (refused.code, "choose one with --only" in refused.stderr) == (2, True)
    assert tokens_in(database) == {}
    assert token_vault("import", "--from", "slack", "slack.db", "--only", "3.4").code == 0
    assert list(values(tokens_in(database)).values()) == ["3.4"]


NANGO_KEY = base64.b64encode(bytes(range(32))).decode()
NANGO = """
CREATE SCHEMA nango;
CREATE TABLE nango._nango_environments (id serial PRIMARY KEY, name text);
CREATE TABLE nango.end_users (id serial PRIMARY KEY, end_user_id varchar(255) NOT NULL);
CREATE TABLE nango._nango_connections (
    id serial PRIMARY KEY, created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now(),
    provider_config_key varchar(255) NOT NULL, connection_id varchar(255) NOT NULL, credentials json NOT NULL,
    connection_config json, environment_id int, end_user_id int, credentials_iv varchar(255),
    credentials_tag varchar(255), deleted boolean DEFAULT false);
INSERT INTO nango._nango_environments (name) VALUES ('dev'), ('prod');
INSERT INTO nango.end_users (end_user_id) VALUES ('user-7');
"""


def nango_sealed(credentials):
    """Encrypt as Nango does: AES-256-GCM, with ciphertext, IV and tag in base64 (packages/utils/lib/encryption.ts)."""
    iv = os.urandom(12)
    sealed = AESGCM(base64.b64decode(NANGO_KEY)).encrypt(iv, json.dumps(credentials).encode(), None)
    text = base64.b64encode(sealed[:-16]).decode()
    return {"encrypted_credentials": text}, base64.b64encode(iv).decode(), base64.b64encode(sealed[-16:]).decode()


def oauth2(name):
    return {
        "type": "OAUTH2",
        "access_token": f"{CANARY}-{name}",
        "refresh_token": f"{CANARY}-{name}-r",
        "expires_at": "2099-01-02T03:04:05.000Z",
        "raw": {"scope": "read write"},
    }


@pytest.fixture
def nango_url(postgres):
    """A Postgres database with Nango's tables, with encrypted and plain connections."""
    url = postgres.create_database(f"nango_{os.urandom(4).hex()}")
    rows = [
        (
            "salesforce",
            "c-1",
            *nango_sealed(oauth2("sealed")),
            2,
            1,
            {"instance_url": "https://eu1.example.com", "domain": "acme.my", "mcp_token_url": "https://evil", "n": 1},
        ),
        ("salesforce", "c-2", oauth2("plain"), None, None, 2, None, None),
        ("keys", "c-3", *nango_sealed({"type": "API_KEY", "apiKey": f"{CANARY}-key"}), 2, None, None),
        ("basic", "c-4", {"type": "BASIC", "username": CANARY, "password": CANARY}, None, None, 2, None, None),
        ("salesforce", "c-5", {"encrypted_credentials": CANARY}, CANARY, CANARY, 2, None, None),
        ("salesforce", "c-1", oauth2("dev"), None, None, 1, None, None),
    ]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(NANGO)
        for key, name, credentials, iv, tag, environment, user, config in rows:
            connection.execute(
                "INSERT INTO nango._nango_connections (provider_config_key, connection_id, credentials, credentials_iv,"
                " credentials_tag, environment_id, end_user_id, connection_config) VALUES (%s,%s,%s,%s,%s,%s,%s,%s)",
                (key, name, json.dumps(credentials), iv, tag, environment, user, json.dumps(config)),
            )
        connection.execute(
            "INSERT INTO nango._nango_connections (provider_config_key, connection_id, credentials, environment_id,"
            " deleted) VALUES ('salesforce', 'gone', '{}', 2, true)"
        )
    return url


def test_nango_tables(token_vault, database, nango_url, tmp_path):
    (tmp_path / "key").write_text(NANGO_KEY + "\n")
    command = ("import", "--from", "nango", nango_url, "--key-file", "key", "--json")
    assert "choose one, such as --only prod" in token_vault(*command).stderr
    done = token_vault(*command, "--only", "prod")
    assert (done.code, counts(done)) == (13, (5, 0, 0, 2))
    assert done.stderr == (
        "token-vault: row 4: unsupported_credentials\ntoken-vault: row 5: unreadable_value\n"
        "token-vault: 2 extra members left out, because they decide where secrets go; --all-members keeps them\n"
    )
    tokens = tokens_in(database)
    assert values(tokens) == {
        ("user-7", "salesforce", "c-1", "access_token"): f"{CANARY}-sealed",
        ("user-7", "salesforce", "c-1", "refresh_token"): f"{CANARY}-sealed-r",
        ("c-2", "salesforce", "c-2", "access_token"): f"{CANARY}-plain",
        ("c-2", "salesforce", "c-2", "refresh_token"): f"{CANARY}-plain-r",
        ("c-3", "keys", "c-3", "api_key"): f"{CANARY}-key",
    }
    sealed = tokens["user-7", "salesforce", "c-1", "access_token"]
    assert dict(sealed.extra) == {"domain": "acme.my"}
    assert token_vault(*command, "--only", "prod", "--all-members", "--overwrite").code == 13
    asked = tokens_in(database)["user-7", "salesforce", "c-1", "access_token"]
    assert set(asked.extra) == {"instance_url", "domain", "mcp_token_url"}
    assert (sealed.info.expires_at, sealed.info.scopes) == (ENDS, ("read", "write"))
    without = token_vault("import", "--from", "nango", nango_url, "--only", "prod", "--dry-run", "--json")
    assert [each["code"] for each in json.loads(without.stdout)["failures"]].count("key_missing") == 3


def test_nango_export(token_vault, database, tmp_path):
    connections = [
        {
            "connection_id": "c-1",
            "provider_config_key": "hubspot",
            "end_user": {"id": "user-7"},
            "credentials": oauth2("x"),
        },
        {"connection_id": "c-2", "provider_config_key": "hubspot", "credentials": {"type": "NONE"}},
        {"connection_id": "c-3", "credentials": oauth2("y")},
    ]
    (tmp_path / "nango.jsonl").write_text("".join(json.dumps(each) + "\n" for each in connections) + CANARY)
    done = token_vault("import", "--from", "nango", "nango.jsonl", "--json")
    assert (done.code, counts(done)) == (13, (2, 0, 0, 4))
    assert CANARY not in done.stderr + done.out
    assert list(tokens_in(database)) == [
        ("user-7", "hubspot", "c-1", kind) for kind in ("access_token", "refresh_token")
    ]


@pytest.mark.parametrize("option", ["--only", "--key-file"])
def test_a_choice_that_only_tables_know_is_refused_for_files(token_vault, database, tmp_path, option):
    connection = {"connection_id": "c-1", "provider_config_key": "hubspot", "credentials": oauth2("x")}
    (tmp_path / "nango.jsonl").write_text(json.dumps(connection))
    FileInstallationStore(base_dir=str(tmp_path / "bolt"), client_id="C").save(Installation(user_id="U1", team_id="T1"))
    places = [("nango", "nango.jsonl")] + ([("slack", "bolt/C")] if option == "--only" else [])
    for system, place in places:
        done = token_vault("import", "--from", system, place, option, "prod")
        assert (done.code, "go with tables" in done.stderr) == (2, True)
    assert tokens_in(database) == {}


def test_postgres_tables_with_a_password_in_the_url_are_refused(token_vault):
    done = token_vault("import", "--from", "allauth", f"postgresql://ann:{CANARY}@127.0.0.1/db")
    assert (done.code, "PGPASSWORD" in done.stderr, CANARY in done.stderr) == (2, True, False)


def hostile_file(path):
    """Make a SQLite file with django-allauth's tables, whose rows hold what no release has written."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE socialaccount_socialaccount (id, user_id, provider, uid)")
        connection.execute("CREATE TABLE socialaccount_socialtoken (id, account_id, token, token_secret, expires_at)")
        accounts = [(1, 1, "google", "u"), (2, None, "google", "u"), (3, 3, CANARY.upper(), "u"), (4, 4, "google", 7)]
        connection.executemany("INSERT INTO socialaccount_socialaccount VALUES (?, ?, ?, ?)", accounts)
        tokens = [
            (1, 1, "good", "", None), (2, 2, CANARY, "", None), (3, 3, CANARY, "", None), (4, 4, CANARY, "", None),
            (5, 1, CANARY, "", CANARY), (6, 1, CANARY * 9000, "", None), (7, 1, 7, "", None),
            (8, 1, b"\xff" + CANARY.encode(), "", None),
        ]  # fmt: skip
        connection.executemany("INSERT INTO socialaccount_socialtoken VALUES (?, ?, ?, ?, ?)", tokens)
        connection.execute("INSERT INTO socialaccount_socialtoken VALUES (9, 1, CAST(x'ff' AS TEXT), '', NULL)")


def test_hostile_rows_fail_alone_and_are_not_repeated(token_vault, database, tmp_path):
    hostile_file(tmp_path / "django.db")
    done = token_vault("import", "--from", "allauth", "django.db", "--json")
    assert (done.code, counts(done)) == (13, (1, 0, 0, 8))
    assert CANARY not in (done.stderr + done.out).lower()
    assert list(values(tokens_in(database)).values()) == ["good"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--from", CANARY, "other.db"),
        ("--from", "allauth", CANARY),
        ("--from", "allauth", "text"),
        ("--from", "allauth", "other.db"),
        ("--from", "social-django", "other.db"),
        ("--from", "slack", "other.db"),
        ("--from", "slack", "."),
        ("--from", "nango", "other.db"),
        ("--from", "nango", "."),
        ("--from", "allauth", f"postgresql://127.0.0.1:1/{CANARY}"),
        ("--from", "allauth", f"postgresql://{CANARY}%zz"),
        ("--from", "allauth", "other.db", "--only", CANARY),
        ("--from", "allauth", "other.db", "--key-file", CANARY),
        ("--from", "allauth", "other.db", "--rename", CANARY),
        ("--from", "allauth", "other.db", "--format", "tokens"),
        ("--from", "allauth", f"--{CANARY}"),
        ("--format", "tokens", "text", "--tenant", CANARY),
        ("text",),
    ],
)
def test_wrong_places_are_refused_and_not_repeated(token_vault, database, tmp_path, arguments):
    (tmp_path / "text").write_text(CANARY)
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection, connection:
        connection.execute("CREATE TABLE others (id)")
    done = token_vault("import", *arguments)
    assert (done.code, done.stdout, done.stderr.count("\n")) == (2, b"", 1)
    assert CANARY not in done.stderr
    assert tokens_in(database) == {}


def test_files_of_slack_that_are_no_json_fail_alone(token_vault, tmp_path):
    store = FileInstallationStore(base_dir=str(tmp_path / "slack"))
    for installation in installations():
        store.save(installation)
    bad = Path(tmp_path / "slack" / "none-T1" / "bot-latest")
    bad.write_text(CANARY)
    (tmp_path / "slack" / "none-T9").mkdir()
    (tmp_path / "slack" / "none-T9" / "bot-latest").write_text("[]")
    done = token_vault("import", "--from", "slack", "slack", "--json")
    assert (done.code, counts(done)[3]) == (13, 2)
    assert CANARY not in done.stderr + done.out


def test_bytes_in_a_column_of_slack_fail_alone(token_vault, database, tmp_path):
    place = tmp_path / "slack.db"
    store = SQLite3InstallationStore(database=str(place), client_id="1.2")
    store.init()
    for installation in installations():
        store.save(installation)
    with closing(sqlite3.connect(place)) as connection, connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(slack_installations)")]
    for name in [each for each in names if each not in ("id", "client_id")]:
        copy = tmp_path / f"{name}.db"
        shutil.copy(place, copy)
        with closing(sqlite3.connect(copy)) as connection, connection:
            for table in ("slack_installations", "slack_bots"):
                with suppress(sqlite3.OperationalError):  # a bot has fewer columns
                    connection.execute(f"UPDATE {table} SET {name} = x'ff'")
        done = token_vault("import", "--from", "slack", str(copy), "--json", "--dry-run")
        assert done.code in (0, 13), (name, done.stderr)
        assert "Error" not in done.stderr, name


def test_a_pipe_in_a_folder_does_not_hold_up_the_import(token_vault, database, tmp_path):
    folder, url = tmp_path / "taken" / "none-T1", "https://mcp.example"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "bot-latest")
    assert token_vault("import", "--from", "slack", str(tmp_path / "taken")).code == 13
    digest = hashlib.md5(url.encode(), usedforsecurity=False).hexdigest()
    os.mkfifo(folder.parent / f"{digest}_tokens.json")
    assert mcp.find(folder.parent, url) is None
    named = tmp_path / "named"
    os.mkfifo(named)
    writer = threading.Thread(target=named.write_text, args=['{"tokens": {"access_token": "x"}}'])
    writer.start()
    assert mcp.find(named, url).tokens == {"access_token": "x"}
    writer.join()
