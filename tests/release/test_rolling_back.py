"""Two real builds of the package take turns on one database, before and after a migration."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from tests.contract.stores import contract_database, database, prepared_schemas

from vault_adapters.stores.migrations import load_migrations

__all__ = ["contract_database", "database", "prepared_schemas"]

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("src", "pyproject.toml", "README.md", "LICENSE")
STORES = {"sqlite": "token_vault_{}", "postgres": "{{{{schema}}}}.{}"}
KNOWN = load_migrations("vault_adapters.stores.sqlite")
TABLES = (
    *("master_key", "data_key", "data_key_wrap", "token", "token_use", "audit_event", "account", "client_refusal"),
    *("client_turn", "used_state", "migration"),
)

# What a service does. The values and the events stay, so that the next build meets what this one wrote.
WORK = """
import asyncio, json, sys
from datetime import UTC, datetime, timedelta
import vault_domain
from vault_adapters import Account, TokenKind, TokenSet, VaultConfig, open_vault
from vault_adapters.testing import ScriptedRefresher

async def work(config, turn, migrate):
    past = datetime.now(UTC) - timedelta(hours=1)
    account, other = Account("t1", "acme", "a"), Account("t1", "acme", f"b{turn}")
    refresher = ScriptedRefresher(*(TokenSet(f"new {turn} {n}", expires_in=3600) for n in range(2)))
    async with open_vault(config, refreshers={"acme": refresher}, migrate=migrate) as vault:
        found = [] if turn == 0 else [(await vault.get_token(account.key(TokenKind.REFRESH_TOKEN))).value.reveal()]
        await vault.store_token_set(account, TokenSet("old", f"refresh {turn}", expires_at=past))
        await vault.store_token_set(other, TokenSet("old", "refresh", expires_at=past), label="Ann")
        await vault.store_token(account.key(TokenKind.API_KEY), "key")
        found.append((await vault.ensure_access_token(account)).value.reveal())
        found.append((await vault.refresh_due()).refreshed)
        await vault.keys.rotate_data_key("t1")
        await vault.keys.reencrypt()
        await vault.mark_token_invalid(await vault.get_token(account.key(TokenKind.API_KEY)), "revoked")
        await vault.delete_account(other)
        await vault.store_token(Account("t2", "acme").key(TokenKind.API_KEY), "key")
        await vault.erase_tenant("t2")
        found.append(len((await vault.audit_events(tenant_id="t1", limit=1000)).items))
        await vault.prune_audit(older_than=timedelta(days=30))
        found.append((await vault.health()).ok)
        return found

url, schema, turn, migrate = json.loads(sys.argv[1])
config = VaultConfig(url, encryption_secret="an encryption secret for tests, long enough", scrypt_log2_n=14,
    postgres_schema=schema)
print(json.dumps([vault_domain.__file__, asyncio.run(work(config, turn, migrate))]))
"""


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Give a function that builds a tree as a wheel, installs the wheel in a folder, and returns the folder."""

    def build(tree):
        folder = tmp_path_factory.mktemp("installed")
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), str(tree)]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return folder

    return build


def copied(folder):
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)
    return folder


@pytest.fixture(scope="module")
def this_build(build, tmp_path_factory):
    return build(copied(tmp_path_factory.mktemp("this")))


@pytest.fixture(scope="module")
def next_build(build, tmp_path_factory):
    """Give a build with one migration more, which adds as much as a migration may that allows this release."""
    tree = copied(tmp_path_factory.mktemp("next"))
    for store, name in STORES.items():
        lines = [f"-- needs: {len(KNOWN):04d}"]
        lines += [f"ALTER TABLE {name.format(table)} ADD COLUMN later text;" for table in TABLES]
        lines += [f"CREATE TABLE {name.format('later')} (later text NOT NULL);"]
        lines += [f"CREATE INDEX later_index ON {name.format('token')} (provider, later);"]
        file = tree / f"src/vault_adapters/stores/{store}/migrations/{len(KNOWN) + 1:04d}_later.sql"
        file.write_text("\n".join(lines) + "\n")
    return build(tree)


def git(*arguments):
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=False)


def migrations_at(commit):
    """Return path and content of each migration at a commit, as git names them."""
    listed = git("ls-tree", "-r", commit, "--", "src/vault_adapters/stores").stdout.decode().splitlines()
    return {line for line in listed if "/migrations/" in line and line.endswith(".sql")}


def commit_before(latest):
    """Return the latest commit that had only some of the migrations of ``latest``, each as it is now, or None."""
    changes = git("log", "--format=%H", latest, "--", "src/vault_adapters/stores/*/migrations/*.sql")
    known = migrations_at(latest)
    for change in changes.stdout.decode().split():
        if migrations_at(f"{change}^") < known:
            return f"{change}^"
    return None


@pytest.fixture(scope="module")
def previous_build(build, tmp_path_factory):
    """Give a build of the commit before the latest migration; skip if the history does not reach back to it."""
    commit = commit_before("HEAD")
    archive = git("archive", commit or "none", *PARTS)
    if archive.returncode:
        pytest.skip("the history does not hold the commit before the latest migration")
    tree = tmp_path_factory.mktemp("previous")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(tree, filter="data")
    if "needs" not in (tree / "src/vault_adapters/stores/migrations.py").read_text():
        pytest.skip("the release before the latest migration refused every newer schema")
    return build(tree)


def run(folder, database, turn, *, migrate=True):
    """Let a build do its work in a process of its own; return what the process found."""
    config = database.config()
    arguments = [config.database_url.reveal(), config.postgres_schema, turn, migrate]
    done = subprocess.run(
        [sys.executable, "-c", WORK, json.dumps(arguments)],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    file, found = json.loads(done.stdout)
    assert file.startswith(str(folder))
    return found


def take_turns(database, older, newer):
    """Let the older build work, then the newer one, and then the older one that is rolled back to, and so on."""
    events = 0
    for turn, (folder, migrate) in enumerate(
        [(older, True), (newer, True), (older, True), (older, False), (newer, False), (older, True)]
    ):
        *found, refreshed, swept, counted, ok = run(folder, database, turn, migrate=migrate)
        assert found == ([f"refresh {turn - 1}"] if turn else [])
        assert (refreshed, swept, ok) == (f"new {turn} 0", 1, True)
        assert counted > events
        events = counted


def test_a_release_serves_on_the_schema_of_the_next_one(database, this_build, next_build):
    take_turns(database, this_build, next_build)
    assert database.execute("SELECT max(number) FROM {migration}") == [(len(KNOWN) + 1,)]
    assert database.execute("SELECT count(*) FROM {later}") == [(0,)]


def test_the_release_before_the_latest_migration_serves_on_this_schema(database, previous_build, this_build):
    if KNOWN[-1].needs == len(KNOWN):
        pytest.skip("the latest migration ends what the release before it needs")
    take_turns(database, previous_build, this_build)
