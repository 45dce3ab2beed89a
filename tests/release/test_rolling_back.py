"""Two releases take turns on one database, before and after a migration, each in processes of its own."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.contract.stores import contract_database, postgres_schema
from tests.support.databases import PostgresSchema, SqliteFile

from vault_adapters.stores.migrations import load_migrations

pytestmark = pytest.mark.releases

__all__ = ["contract_database", "postgres_schema"]

ROOT = Path(__file__).resolve().parents[2]
STORES = {"sqlite": "token_vault_{}", "postgres": "{{{{schema}}}}.{}"}
KNOWN = load_migrations("vault_adapters.stores.sqlite")
# The last commit whose releases run on no newer schema; its schema is that of the migrations 0001 and 0002.
STRICT = "d32bebbd^"
TABLES = (
    *("master_key", "data_key", "data_key_wrap", "token", "token_use", "audit_event", "account", "client_refusal"),
    *("client_turn", "used_state", "migration"),
)

# What a service does. The values, the states and the events stay, so that the next release meets what this one wrote.
WORK = """
import asyncio, json, os, sys
from datetime import UTC, datetime, timedelta
import vault_domain
from vault_adapters import (Account, ConfigurationError, ReauthorizationRequiredError, RefreshFailedError, TokenKind,
    TokenSet, VaultConfig, open_vault)
from vault_adapters.testing import ScriptedRefresher

async def states_of(vault):
    return [[info.account.provider, info.account.identifier, info.state, info.reason, info.label,
             info.next_attempt_at and info.next_attempt_at.isoformat()]
            for info in (await vault.list_accounts("t1")).items]

async def work(config, turn, migrate):
    past = datetime.now(UTC) - timedelta(hours=1)
    account, other = Account("t1", "acme", "a"), Account("t1", "acme", f"b{turn}")
    refreshers = {
        "acme": ScriptedRefresher(*(TokenSet(f"new {turn} {n}", expires_in=3600) for n in range(2))),
        f"gone{turn}": ScriptedRefresher(ReauthorizationRequiredError(reason="invalid_grant")),
        "down": ScriptedRefresher(RefreshFailedError(retry_after=timedelta(hours=9))),
        "lost": ScriptedRefresher(RefreshFailedError(retry_after=timedelta(hours=9), outcome_unknown=True)),
    }
    async with open_vault(config, refreshers=refreshers, migrate=migrate) as vault:
        found = [] if turn == 0 else [(await vault.get_token(account.key(TokenKind.REFRESH_TOKEN))).value.reveal()]
        states = [await states_of(vault)]
        await vault.store_token_set(account, TokenSet("old", f"refresh {turn}", expires_at=past))
        await vault.store_token_set(other, TokenSet("old", "refresh", expires_at=past), label="Ann")
        await vault.store_token(account.key(TokenKind.API_KEY), "key")
        found.append((await vault.ensure_access_token(account)).value.reveal())
        found.append((await vault.refresh_due()).refreshed)
        for provider in (f"gone{turn}", "down", "lost"):
            failing = Account("t1", provider, f"c{turn}")
            await vault.store_token_set(failing, TokenSet("old", "refresh", expires_at=past), label="Bob")
            try:
                await vault.ensure_access_token(failing)
            except (ReauthorizationRequiredError, RefreshFailedError):
                pass
        await vault.keys.rotate_data_key("t1")
        await vault.keys.reencrypt()
        await vault.mark_token_invalid(await vault.get_token(account.key(TokenKind.API_KEY)), "revoked")
        await vault.delete_account(other)
        await vault.store_token(Account("t2", "acme").key(TokenKind.API_KEY), "key")
        await vault.erase_tenant("t2")
        found.append(len((await vault.audit_events(tenant_id="t1", limit=1000)).items))
        await vault.prune_audit(older_than=timedelta(days=30))
        if hasattr(vault, "verify_audit"):  # what an earlier release wrote is no finding
            report = await vault.verify_audit([await vault.audit_head()])
            assert report.ok, report.findings
        found.append((await vault.health()).ok)
        states.append(await states_of(vault))
        return [*found, states]

# Each turn is in a process of its own, and a fork needs no time for imports.
for line in sys.stdin:
    if child := os.fork():
        os.waitpid(child, 0)
        print(flush=True)
        continue
    url, schema, turn, migrate = json.loads(line)
    config = VaultConfig(url, encryption_secret="an encryption secret for tests, long enough", scrypt_log2_n=14,
        postgres_schema=schema)
    try:
        found = asyncio.run(work(config, turn, migrate))
    except ConfigurationError as error:
        found = error.code
    print(json.dumps([vault_domain.__file__, found]), end="", flush=True)
    os._exit(0)
"""


@pytest.fixture(params=STORES)
def database(request, tmp_path):
    """Give an empty database: the older release makes the schema."""
    if request.param == "sqlite":
        return SqliteFile(tmp_path / "vault.db")
    return PostgresSchema(*request.getfixturevalue("postgres_schema"))


@pytest.fixture(scope="module")
def next_tree(tmp_path_factory):
    """Give the source with one migration more, which adds as much as a migration may that allows this release."""
    tree = tmp_path_factory.mktemp("next") / "src"
    shutil.copytree(ROOT / "src", tree)
    for store, name in STORES.items():
        lines = [f"-- needs: {len(KNOWN):04d}"]
        lines += [f"ALTER TABLE {name.format(table)} ADD COLUMN later text;" for table in TABLES]
        lines += [f"CREATE TABLE {name.format('later')} (later text NOT NULL);"]
        lines += [f"CREATE INDEX later_index ON {name.format('token')} (provider, later);"]
        file = tree / f"vault_adapters/stores/{store}/migrations/{len(KNOWN) + 1:04d}_later.sql"
        file.write_text("\n".join(lines) + "\n")
    return tree


def git(*arguments):
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=False)


def migrations_at(commit):
    """Return path and content of each migration at a commit, as git names them."""
    listed = git("ls-tree", "-r", commit, "--", "src/vault_adapters/stores").stdout.decode().splitlines()
    return {line for line in listed if "/migrations/" in line and line.endswith(".sql")}


def commit_that_knows(number):
    """Return the latest commit with only the first migrations of each store, up to a number, each as it is now."""
    changes = git("log", "--format=%H", "--", "src/vault_adapters/stores/*/migrations/*.sql").stdout.decode().split()
    wanted = {line for line in migrations_at("HEAD") if int(line.rpartition("/")[2][:4]) <= number}
    return next((f"{change}^" for change in changes if migrations_at(f"{change}^") == wanted), "none")


def oldest_that_may_run():
    """Return the number of the migration that a release must at least know to run on this schema."""
    return next(n for n in range(len(KNOWN)) if all(later.needs <= n for later in KNOWN[n:]))


@pytest.fixture(scope="module")
def earlier_tree(tmp_path_factory):
    """Give a function that returns the source of a commit; the test is skipped if the history lacks the commit."""

    def earlier_tree(commit):
        archive = git("archive", commit, "src")
        if archive.returncode:
            pytest.skip("the history does not hold the commit")
        tree = tmp_path_factory.mktemp("earlier")
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(tree, filter="data")
        return tree / "src"

    return earlier_tree


@contextmanager
def release_of(source):
    """Give a function that lets a release do its work in a process of its own.

    It returns what the process found, or how it was refused.
    """
    started = subprocess.Popen(
        [sys.executable, "-c", WORK],
        env={**os.environ, "PYTHONPATH": str(source)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def run(database, turn, *, migrate):
        config = database.config()
        arguments = [config.database_url.reveal(), config.postgres_schema, turn, migrate]
        print(json.dumps(arguments), file=started.stdin, flush=True)
        said = started.stdout.readline()
        assert said.strip(), "the process failed; pytest shows its stderr"
        file, found = json.loads(said)
        assert file.startswith(str(source))
        return found

    try:
        yield run
    finally:
        started.communicate()


def take_turns(database, sources, *, may_go_back=True):
    """Let the older release work, then the newer one, and then the older one that is rolled back to, and so on."""
    with ExitStack() as stack:
        older, newer = (stack.enter_context(release_of(source)) for source in sources)
        _take_turns(database, older, newer, may_go_back)


def _take_turns(database, older, newer, may_go_back):
    events, left, turn = 0, [], 0
    for release, migrate, refused in [
        (older, True, None),
        (newer, False, "schema_outdated"),
        (newer, True, None),
        (older, True, None if may_go_back else "schema_newer"),
        (newer, False, None),
    ]:
        found = release(database, turn, migrate=migrate)
        if refused:
            assert found == refused
            continue
        *found, refreshed, swept, counted, ok, (met, states) = found
        assert found == ([f"refresh {turn - 1}"] if turn else [])
        assert (refreshed, swept, ok) == (f"new {turn} 0", 1, True)
        assert met == left
        assert counted > events
        events, left, turn = counted, states, turn + 1
    assert {(state, provider.rstrip("0123456789")) for provider, _, state, *_ in left} == {
        *(("connected", "acme"), ("reauthorization_required", "gone"), ("retrying", "down"), ("retrying", "lost"))
    }


def test_a_release_serves_on_the_schema_of_the_next_one(database, next_tree):
    take_turns(database, [ROOT / "src", next_tree])
    assert database.execute("SELECT max(number) FROM {migration}") == [(len(KNOWN) + 1,)]
    assert database.execute("SELECT count(*) FROM {later}") == [(0,)]


@pytest.mark.parametrize("number", sorted({oldest_that_may_run(), len(KNOWN) - 1}))
def test_an_earlier_release_serves_on_this_schema(database, earlier_tree, number):
    """The release before the latest migration does, and the oldest one that the migrations allow."""
    if number < oldest_that_may_run():
        pytest.skip("the latest migration ends what the release before it needs")
    take_turns(database, [earlier_tree(commit_that_knows(number)), ROOT / "src"])


def test_a_release_that_refuses_every_newer_schema_changes_nothing_there(database, earlier_tree):
    """Its ledger does not say yet which migration a release needs; this release takes over what it has stored."""
    take_turns(database, [earlier_tree(STRICT), ROOT / "src"], may_go_back=False)
