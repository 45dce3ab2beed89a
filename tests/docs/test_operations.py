"""The operators' guides: scripts run on a real Postgres, the trial provider answers as described, commands exist."""

import base64
import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import anyio
import psycopg
import pytest
from tests.adapters.cli.command import CommandLine
from tests.docs.test_recipes import receiver
from tests.support.postgres import start_postgres

from vault_adapters import (
    Account,
    RefreshFailedError,
    TokenSet,
    VaultConfig,
    generate_encryption_secret,
    open_vault,
)
from vault_adapters.cli.application import build
from vault_adapters.testing import ScriptedRefresher

pytestmark = [pytest.mark.pages, pytest.mark.real_scrypt]

GUIDES = Path(__file__).parents[2] / "docs" / "how-to"
RECIPES = GUIDES / "recipes"
PROGRAMS = Path("/usr/lib/postgresql/15/bin")
PAGES = ["operate", "rehearse-an-incident", "disaster-recovery", "upgrade-and-deploy", "bring-accounts-back"]


@pytest.fixture
def command(tmp_path):
    variables = {"ENCRYPTION_SECRET": generate_encryption_secret(), "TOKEN_VAULT_SCRYPT_LOG2_N": "14"}
    return CommandLine(tmp_path, variables)


def run_sql(url, script):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(script)


def as_role(url, role):
    return url.replace("postgres@", f"{role}@")


def test_roles_init_backup_and_restore(postgres, command):
    """The whole way: two roles, the schema, a token, a copy, another database, the token again."""
    url, other = postgres.create_database("operated"), postgres.create_database("operated_again")
    owner, app = "operated_owner", "operated_app"
    roles = (RECIPES / "roles.sql").read_text().replace("vault_owner", owner).replace("app", app)
    try:
        run_sql(url, roles.replace("DATABASE vault", "DATABASE operated"))
        run_sql(other, f"GRANT CREATE ON DATABASE operated_again TO {owner}")
        refused = command("init", DATABASE_URL=as_role(url, app))
        assert refused.code == 5
        assert "(permission_denied, 42501); on Postgres, `init` needs a role that owns the schema" in refused.stderr
        assert refused.stderr.count("\n") == 1
        assert command("init", DATABASE_URL=as_role(url, owner)).code == 0
        advised = command("doctor", DATABASE_URL=as_role(url, app))
        assert "Grant the role its rights" in advised.out
        folder = command.folder
        for name in ("backup.sh", "restore.sh", "grants.sql"):
            (folder / name).write_text(
                (RECIPES / name).read_text().replace("TO app", f"TO {app}").replace("FROM app", f"FROM {app}")
            )
        run_sql(as_role(url, owner), (folder / "grants.sql").read_text())
        stored = command("store", "t1", "clerk", "api_key", stdin="value", DATABASE_URL=as_role(url, app))
        assert stored.code == 0
        run_script(command, "backup.sh", as_role(url, owner))
        run_script(command, "restore.sh", as_role(other, owner))
        assert command("get", "t1", "clerk", "api_key", "--reveal", DATABASE_URL=as_role(other, app)).out == "value"
        assert command("audit", "--tenant", "t1", DATABASE_URL=as_role(other, app)).code == 0
    finally:
        for name, database in (("operated", url), ("operated_again", other)):
            run_sql(database, f"DROP SCHEMA IF EXISTS token_vault CASCADE; REVOKE ALL ON DATABASE {name} FROM {owner}")
        run_sql(url, f"REVOKE ALL ON DATABASE operated FROM {app}")
        run_sql(url, f"DROP OWNED BY {owner}, {app}; DROP ROLE {owner}, {app}")


def test_a_copy_is_restored_without_the_page_about_roles(postgres, command):
    """One role does all, and there is no grants.sql: the two scripts and a database are enough."""
    url, other = postgres.create_database("alone"), postgres.create_database("alone_again")
    for name in ("backup.sh", "restore.sh"):
        shutil.copy(RECIPES / name, command.folder)
    assert command("init", DATABASE_URL=url).code == 0
    assert command("store", "t1", "clerk", "api_key", stdin="value", DATABASE_URL=url).code == 0
    run_script(command, "backup.sh", url)
    run_script(command, "restore.sh", other)
    assert command("get", "t1", "clerk", "api_key", "--reveal", DATABASE_URL=other).out == "value"


def run_script(command, name, url):
    path = os.pathsep.join([str(Path(sys.executable).parent), str(PROGRAMS), os.environ["PATH"]])
    if shutil.which("pg_dump", path=path) is None:
        pytest.skip("there is no pg_dump; the programs of the wheel lack it")
    done = subprocess.run(
        ["sh", name, "vault.dump"],
        cwd=command.folder,
        env=command.environment(DATABASE_URL=url, PATH=path),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def trial_provider(folder):
    """Run the guide's provider in a folder; give its token URL."""
    program = [sys.executable, str(RECIPES / "trial_provider.py"), "0"]
    environment = {**os.environ, "PYTHONPATH": str(GUIDES.parents[1] / "src")}
    with subprocess.Popen(
        program, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def test_the_trial_provider_plays_what_the_guide_says(command):
    shutil.copy(RECIPES / "trial_provider.py", command.folder)
    command.variables.update(
        DATABASE_URL=f"sqlite:///{command.folder}/rehearsal.db", TOKEN_VAULT_REFRESHERS="trial_provider:refreshers"
    )
    assert command("init").code == 0
    for kind, *more in (("access_token", "--expires-in", "1s"), ("refresh_token",)):
        assert command("store", "tenant-1", "trial", kind, *more, stdin="v").code == 0
    _head, *rows = re.findall(
        r"^\| `(\w+)` \| [^|]* \| ([^|]*) \|", (GUIDES / "rehearse-an-incident.md").read_text(), re.MULTILINE
    )
    assert len(rows) == 8
    with trial_provider(command.folder) as url:
        command.variables["TRIAL_URL"] = url
        for answer, ends_with in rows:
            if answer == "silent":  # it takes ten seconds
                continue
            (command.folder / "answer").write_text(answer + "\n")
            code, *reason = re.findall(r"\w+", ends_with)
            done = command("refresh", "tenant-1", "trial")
            assert done.code == int(code), answer
            assert not reason or f"(trial, {reason[-1]})" in done.stderr, (answer, done.stderr)
        (command.folder / "answer").write_text("ok\n")
        assert command("refresh", "tenant-1", "trial").code == 9
        assert "revived  1" in command("revive", "trial", "--since", "1h").out
        assert command("refresh", "tenant-1", "trial").code == 0


def commands_of(page):
    text = (GUIDES / f"{page}.md").read_text()
    shown = re.findall(r"^ *\$ (?:\w+=\S+ )*(?:printf [^|]*\| )?(token-vault [^\n]*)", text, re.MULTILINE)
    return [*shown, *re.findall(r"`(token-vault [^`]*)`", text)]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_page_can_be_parsed(page):
    app, found = build(), commands_of(page)
    assert found
    for line in found:
        words = shlex.split(line.partition(" > ")[0].replace(" KIND", " api_key"), comments=True)[1:]
        app.parse_args([word for word in words if word != "&"], exit_on_error=False, print_error=False)


def test_the_scripts_stand_in_a_guide():
    guides = "".join(page.read_text() for page in GUIDES.glob("*.md"))
    for script in [*RECIPES.glob("*.sql"), *RECIPES.glob("*.sh")]:
        assert f"recipes/{script.name}" in guides


def test_the_page_names_pages_that_exist():
    for target in re.findall(r"\]\(([\w./-]+\.md)", (GUIDES / "operate.md").read_text()):
        assert (GUIDES / target).is_file(), target


async def failing_event(config, number):
    account = Account(f"tenant-{number}", "acme")
    async with open_vault(config, refreshers={"acme": ScriptedRefresher(RefreshFailedError())}) as vault:
        await vault.store_token_set(account, TokenSet("v", "r"))
        with pytest.raises(RefreshFailedError):
            await vault.refresh_account(account)


async def test_the_sender_of_webhooks_goes_on_after_an_outage_of_the_database(command):
    with start_postgres(private=True) as server, receiver(failures=0) as (hook, requests):
        variables = {**command.variables, "DATABASE_URL": server.create_database("hooks")}
        config = VaultConfig.from_env(variables)
        await failing_event(config, 1)
        variables |= {
            "TOKEN_VAULT_STORAGE_TIMEOUT": "0.5",
            "WEBHOOK_URL": hook,
            "WEBHOOK_SECRET": "whsec_" + base64.b64encode(b"a secret of twenty-four bytes").decode(),
            "WEBHOOK_CURSOR_FILE": str(command.folder / "cursor"),
        }
        program = [sys.executable, str(RECIPES / "webhooks.py")]
        environment = command.environment(**variables)
        with subprocess.Popen(program, env=environment, stderr=subprocess.PIPE) as sender:  # noqa: ASYNC220 - as users do
            try:
                await until(lambda: len(requests) == 1, sender)
                with server.suspended():
                    # The feed asks the database each second, so it meets the outage. The test does not check this.
                    await anyio.sleep(4)
                await failing_event(config, 2)
                await until(lambda: len(requests) == 2, sender)
            finally:
                sender.kill()
    assert [request.body["data"]["tenant_id"] for request in requests] == ["tenant-1", "tenant-2"]


async def until(is_done, process):
    with anyio.fail_after(90):
        while not is_done():
            assert process.poll() is None, process.stderr.read().decode()
            await anyio.sleep(0.05)
