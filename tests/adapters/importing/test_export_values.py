"""`token-vault export --values`: the tokens leave with their values, and `import` reads them back; on both stores."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from contextlib import suppress

import pytest
from tests.adapters.cli.command import clean_environment
from tests.adapters.importing.conftest import json_lines, plain_row
from tests.support.databases import both_stores

from vault_adapters import open_sync_vault, open_vault
from vault_adapters.cli.private_file import written_privately
from vault_adapters.providers.dpop import new_key, with_key
from vault_domain import Account, AuditAction, InvalidInputError, TokenInfo, TokenKey, TokenSet

CANARY = "canary-7f3a9c"
LEAVE = ("export", "--all", "--values", "--yes", "--to", "left")


@pytest.fixture
def filled(token_vault, database):
    """A vault with a token of each sort in two tenants."""
    rows = [
        plain_row("bad", "spent", status="invalid", error_code="invalid_grant", updated_at="2024-05-01T12:00:00Z"),
        plain_row("unsure", "v", status="unknown", last_used_at="2024-05-02T12:00:00Z"),
        {**plain_row(None, 'a "key"\nof two lines \u00e9'), "kind": "api_key", "tenant_id": "t2"},
        plain_row("until", "v", expires_at="2099-01-01T00:00:00Z", last_refreshed_at="2024-05-03T12:00:00Z"),
    ]
    assert token_vault("import", "--format", "tokens", "-", stdin=json_lines(*rows)).code == 0
    grant = TokenSet(
        access_token=CANARY,
        refresh_token=f"{CANARY}-r",
        scopes=("read", "write"),
        token_type="DPoP",
        extra={"instance_url": "https://eu1.my.salesforce.com"},
    )

    async def store():
        async with open_vault(database.config()) as vault:
            await vault.store_token_set(Account("t1", "salesforce", "ann"), grant)

    asyncio.run(store())
    return token_vault


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_the_key_of_a_bound_token_stays(token_vault, database):
    """Such an account is connected again elsewhere; see the page."""
    key = new_key()
    async with open_vault(database.config()) as vault:
        await vault.store_token_set(Account("t1", "corp", "ann"), with_key(TokenSet("a", "r", token_type="DPoP"), key))
    assert token_vault(*LEAVE).code == 0
    left = (token_vault.folder / "left").read_text()
    assert ('"value": "a"' in left, key.reveal() in left, "proof" in left) == (True, False, False)


@both_stores
async def test_what_leaves_comes_back(filled, database):
    done = filled(*LEAVE)
    assert (done.code, done.stdout, done.stderr) == (0, b"", "token-vault: 6 tokens exported with values\n")
    left = filled.folder / "left"
    assert stat.S_IMODE(left.stat().st_mode) == 0o600
    assert not (filled.folder / "left.part").exists()
    rows = lines_of(left)
    assert [row["value"] for row in rows if row["provider"] == "salesforce"] == [CANARY, f"{CANARY}-r"]

    async with open_vault(database.config()) as vault:
        for tenant, provider in (("t1", "google"), ("t1", "salesforce"), ("t2", "google")):
            assert await vault.delete_provider_tokens(tenant, provider)
    assert filled("import", "--format", "tokens", "left").code == 0
    async with open_vault(database.config()) as vault:
        token = await vault.get_token(TokenKey("t1", "salesforce", "access_token", "ann"))
        assert (dict(token.extra), token.token_type) == ({"instance_url": "https://eu1.my.salesforce.com"}, "DPoP")
        assert token.info.scopes == ("read", "write")
    assert filled("export", "--all", "--values", "--yes", "--to", "again").code == 0
    # The read above is a use of the token; nothing else may differ.
    again = [{name: row[name] for name in row if name != "last_used_at"} for row in lines_of(filled.folder / "again")]
    assert again == [{name: row[name] for name in row if name != "last_used_at"} for row in rows]


async def test_the_audit_log_says_so_first(filled, database):
    assert filled(*LEAVE).code == 0
    async with open_vault(database.config()) as vault:
        events = [each async for each in vault.iter_audit_events() if each.action is AuditAction.TOKENS_EXPORTED]
        assert [(each.tenant_id, each.actor) for each in events] == [("t1", "cli"), ("t2", "cli")]
        page = await vault.with_actor("host", reason="leaving").export_tokens("t1", provider="google", limit=1)
        assert [item.value.reveal() for item in page.items] == ["spent"]
        assert page.next is not None
        [event] = (await vault.latest_audit_events(action=AuditAction.TOKENS_EXPORTED, tenant_id="t1", limit=1)).items
        assert (event.actor, event.code, event.account) == ("host", "leaving", None)
        assert (await vault.export_tokens("nobody")).items == ()
        assert not (await vault.latest_audit_events(action=AuditAction.TOKENS_EXPORTED, tenant_id="nobody")).items


@both_stores
async def test_without_its_event_no_value_leaves(filled, database):
    if database.kind == "sqlite":
        database.execute("DROP TABLE {audit_event}")
    else:
        database.execute("DROP TABLE {audit_event} CASCADE")
    done = filled(*LEAVE)
    assert done.code == 5
    assert os.listdir(filled.folder).count("left") + os.listdir(filled.folder).count("left.part") == 0


def test_a_sync_vault_gives_the_same(filled, database):
    with open_sync_vault(database.config()) as vault:
        values = [item.value.reveal() for item in vault.iter_exported_tokens("t1", provider="salesforce")]
    assert values == [CANARY, f"{CANARY}-r"]


async def test_a_value_that_cannot_be_opened_is_named_and_the_others_leave(filled, database):
    blank = "zeroblob(64)" if database.kind == "sqlite" else "decode(repeat('00', 64), 'hex')"
    database.execute(f"UPDATE {{token}} SET blob = {blank} WHERE identifier = 'until'")
    done = filled(*LEAVE)
    assert done.code == 13
    assert "cannot be opened: t1 google refresh_token until" in done.stderr
    left = [row.get("identifier") for row in lines_of(filled.folder / "left") if row["provider"] == "google"]
    assert left == ["bad", "unsure", None]
    async with open_vault(database.config()) as vault:
        items = [item async for item in vault.iter_exported_tokens("t1", provider="google")]
        assert [item.key.identifier for item in items if isinstance(item, TokenInfo)] == ["until"]


@pytest.mark.real_scrypt
@pytest.mark.parametrize(("tenant", "typed"), [("t1", "t1"), ("--all", "all tenants")])
def test_a_terminal_asks(filled, tenant, typed):
    command = ("export", tenant, "--values", "--to", "left")
    refused = filled.on_terminal(*command, typed=f"{typed}x\n")
    assert (refused.code, (filled.folder / "left").exists()) == (2, False)
    assert "was not typed; nothing was exported" in refused.out
    done = filled.on_terminal(*command, typed=f"{typed}\n")
    assert (done.code, "exporting" in done.out) == (0, True)
    assert {row["tenant_id"] for row in lines_of(filled.folder / "left")} >= {"t1"}


@pytest.mark.real_scrypt
def test_what_goes_to_standard_output_is_not_shown_on_the_terminal_of_standard_error(filled):
    piped = filled.folder / "piped"
    done = filled.on_terminal("export", "t1", "--values", "--to", "-", typed="t1\n", to=piped)
    assert (done.code, CANARY in done.out) == (0, False)
    assert f"{CANARY}-r" in [row["value"] for row in lines_of(piped)]
    shown = filled.on_terminal("export", "t1", "--values", "--to", "-", typed="t1\n")
    lines = [json.loads(line) for line in shown.out.splitlines() if "tenant_id" in line]
    assert len(lines) == len(lines_of(piped))


@pytest.mark.parametrize(
    "arguments",
    [
        ("t1", "--values", "--to", CANARY),  # a pipe cannot be asked
        ("t1", "--values", "--yes"),
        ("t1", "--values", "--to", "--yes"),
        ("t1", "--values", "--yes", "--to", "there"),
        ("t1", "--values", "--yes", "--to", "link"),
        ("t1", "--values", "--yes", "--to", "begun"),
        ("t1", "--values", "--yes", "--to", f"{CANARY}/left"),
        ("t1", "--values", "--yes", "--to", CANARY, "--format", "csv"),
        ("t1", "--to", CANARY),
        ("t1", "--yes"),
        ("--values", "--yes", "--to", CANARY),
    ],
)
async def test_what_is_refused_writes_nothing(filled, database, arguments):
    (filled.folder / "there").write_text("kept")
    (filled.folder / "link").symlink_to("nowhere")
    (filled.folder / "begun.part").write_text("kept")
    before = sorted(os.listdir(filled.folder))
    done = filled("export", *arguments, stdin="t1\n")
    assert (done.code, done.stdout) == (2, b"")
    assert CANARY not in done.stderr
    assert sorted(each for each in os.listdir(filled.folder) if "vault.db" not in each) == [
        each for each in before if "vault.db" not in each
    ]
    assert (filled.folder / "there").read_text() == (filled.folder / "begun.part").read_text() == "kept"
    assert database.execute("SELECT count(*) FROM {audit_event} WHERE action = 'tokens_exported'") == [(0,)]


def test_standard_output_only_if_it_is_named(filled):
    done = filled("export", "t2", "--values", "--yes", "--to", "-")
    assert json.loads(done.stdout)["value"] == 'a "key"\nof two lines \u00e9'


def test_a_file_appears_when_it_is_complete_and_is_never_open_to_others(tmp_path):
    path, mask = tmp_path / "left", os.umask(0)
    try:
        with written_privately(str(path)) as write:
            write(CANARY)
            assert not path.exists()
            assert stat.S_IMODE((tmp_path / "left.part").stat().st_mode) == 0o600
        assert (path.read_text(), os.listdir(tmp_path)) == (CANARY, ["left"])
        with suppress(RuntimeError), written_privately(str(tmp_path / "failed")) as write:
            write(CANARY)
            raise RuntimeError
        with pytest.raises(InvalidInputError), written_privately(str(tmp_path / "raced")) as write:
            (tmp_path / "raced").write_text("another's")
        assert (tmp_path / "raced").read_text() == "another's"
    finally:
        os.umask(mask)
    assert sorted(os.listdir(tmp_path)) == ["left", "raced"]


def test_a_killed_export_leaves_no_file_under_its_name(tmp_path):
    code = f"""
import os, signal
from vault_adapters.cli.private_file import written_privately
with written_privately({str(tmp_path / "left")!r}) as write:
    write("x" * 100_000)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], env=clean_environment())
    assert (done.returncode, os.listdir(tmp_path)) == (-signal.SIGKILL, ["left.part"])
