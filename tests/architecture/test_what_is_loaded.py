"""A program loads the modules that it needs, and no others: counted in a new process, because times vary."""

import json
import os
import subprocess
import sys

import pytest

from vault_adapters import generate_encryption_secret

NEVER = {
    "importlib.resources",
    "zipfile",
    "boto3",
    "botocore",
    "cyclopts",
    "httpx",
    "httpx2",
    "jinja2",
    "joserfc",
    "opentelemetry",
    "psycopg",
    "psycopg_pool",
    "rich",
    "starlette",
    "uvicorn",
    "vault_adapters.clients",
    "vault_adapters.connect",
    "vault_adapters.importing",
    "vault_adapters.providers",
    "vault_adapters.stores.postgres",
    "vault_adapters.sync",
    "vault_adapters.telemetry",
    "vault_adapters.testing",
    "vault_adapters.web",
    "vault_adapters.cli",
}
"""What a program on SQLite without refreshers does not need."""

SELDOM = {
    "vault_domain.facade.keys",
    "vault_domain.services.keys",
    "vault_domain.services.refresh.restoring",
    "vault_domain.services.refresh.sweep",
    "vault_domain.services.tokens.erasing",
    "vault_domain.services.tokens.exporting",
    "vault_domain.services.tokens.importing",
}
"""Use cases of workers and operators."""

LATER = {
    "aiosqlite",
    "anyio",
    "cryptography",
    "sqlite3",
    "vault_adapters.composition",
    "vault_adapters.crypto",
    "vault_adapters.providers",
    "vault_adapters.wiring",
    "vault_domain.services",
    "vault_domain.transitions",
}
"""What blocking code needs only once it opens a vault, which is at its first call."""

CLASSES = """
from attrs import has

made = {each for module in list(sys.modules.values()) for each in vars(module).values() if isinstance(each, type)}
print(sum(has(each) and each.__module__.startswith("vault_") for each in made))
"""
"""Prints how many classes attrs has made for this package, each of which takes as long as loading two modules."""

READING = """
import asyncio
from vault_adapters import TokenKey, TokenKind, VaultConfig, open_vault

async def main():
    async with open_vault(VaultConfig.from_env()) as vault:
        key = TokenKey("acme", "google", TokenKind.ACCESS_TOKEN)
        assert (await vault.get_token(key)).value.reveal() == "value"

asyncio.run(main())
"""

REFRESHING = """
import asyncio
from vault_adapters import Account, TokenSet, VaultConfig, open_vault
from vault_adapters.providers import refresher

async def main():
    google, account = refresher("google", "id", "secret"), Account("acme", "google", "ana")
    async with open_vault(VaultConfig.from_env(), refreshers={"google": google}) as vault:
        opened = set(sys.modules)
        await vault.store_token_set(account, TokenSet("value", expires_in=3600))
        assert (await vault.ensure_access_token(account)).value.reveal() == "value"
        later = sorted(name for name in set(sys.modules) - opened if "refresh" in name)
        assert later == [], later

asyncio.run(main())
"""

OPENING = """
import asyncio
from vault_adapters import TokenKey, TokenKind, VaultConfig, open_vault

async def main():
    async with open_vault(VaultConfig.from_env()) as vault:
        key = TokenKey("acme", "google", TokenKind.ACCESS_TOKEN)
        await vault.store_token(key, "value")
        assert (await vault.get_token(key)).value.reveal() == "value"

asyncio.run(main())
"""

GETTING = """
import io
from vault_adapters.cli.__main__ import main

sys.stdout = io.StringIO()
assert main(["get", "acme", "google", "access_token", "--json"]) == 0
sys.stdout = sys.__stdout__
"""


@pytest.fixture(scope="module")
def environ(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('loaded')}/vault.db"
    return os.environ | {"DATABASE_URL": url, "ENCRYPTION_SECRET": generate_encryption_secret()}


def printed(program, environ):
    """What a program prints in a new process."""
    program = ["-c", f"import sys\n{program}"]
    done = subprocess.run([sys.executable, *program], env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(program, environ):
    """The modules that a new process has loaded after a program."""
    return set(json.loads(printed(f"{program}\nimport json\nprint(json.dumps(list(sys.modules)))", environ)))


def ours(modules):
    return sorted(name for name in modules if name.partition(".")[0] in {"vault_domain", "vault_adapters"})


def test_importing_the_package_loads_nothing_of_it(environ):
    assert ours(loaded("import vault_adapters", environ)) == ["vault_adapters", "vault_domain", "vault_domain.lazy"]


def test_one_name_loads_its_module_only(environ):
    modules = ours(loaded("from vault_adapters import Secret, TokenKey, VaultError", environ))
    assert {each.rpartition(".")[0] for each in modules if each.count(".") > 1} == {"vault_domain.entities"}


def test_importing_what_opens_a_vault_makes_few_classes(environ):
    program = f"from vault_adapters import Account, TokenSet, VaultConfig, open_vault\n{CLASSES}"
    assert int(printed(program, environ)) <= 48


def test_importing_a_vault_for_blocking_code_loads_nothing_that_only_opening_needs(environ):
    modules = loaded("from vault_adapters import Account, TokenSet, VaultConfig, open_sync_vault", environ)
    assert sorted(modules & LATER) == []
    assert len(ours(modules)) <= 41, ours(modules)


def test_opening_loads_no_part_that_is_not_used(environ):
    modules = loaded(OPENING, environ)
    assert sorted(modules & (NEVER | SELDOM)) == []
    assert len(ours(modules)) < 155


def test_a_process_that_only_reads_loads_no_write_and_no_refresh(environ):
    modules = loaded(OPENING, environ) and ours(loaded(READING, environ))
    assert [each for each in modules if "refresh." in each or each.endswith(("_writer", "transitions.attempts"))] == []
    assert len(modules) < 122


def test_a_process_that_only_reads_makes_few_classes(environ):
    loaded(OPENING, environ)
    assert int(printed(READING + CLASSES, environ)) <= 52


def test_a_vault_with_a_refresher_loads_what_refreshes_while_it_opens(environ):
    loaded(REFRESHING, environ)


def test_a_seldom_use_case_is_loaded_when_it_is_called(environ):
    called = OPENING.replace("await vault.store_token", "await vault.refresh_due()\n        await vault.store_token")
    modules = loaded(called, environ)
    assert "vault_domain.services.refresh.sweep" in modules
    assert "vault_domain.services.keys" not in modules


def test_a_refresher_loads_no_other_kind_of_refresher(environ):
    modules = ours(
        loaded("from vault_adapters.providers import refresher\nrefresher('google', 'id', 'secret')", environ)
    )
    assert "vault_adapters.providers.profiled" in modules
    others = {"client_credentials", "custom", "github_app", "greeninvoice", "jwt_bearer", "mcp", "meta", "presets"}
    assert [each for each in modules if each.rpartition(".")[2] in others] == []


def test_a_command_loads_its_own_module_only(environ):
    modules = loaded(OPENING, environ) and loaded(GETTING, environ)
    assert sorted(modules & (NEVER | SELDOM) - {"cyclopts", "vault_adapters.cli"}) == []
    assert [each for each in ours(modules) if "cli.commands." in each] == ["vault_adapters.cli.commands.tokens"]
    assert "importlib.metadata" not in modules  # only --version needs it
