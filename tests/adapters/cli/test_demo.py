"""Checks what the demonstration prints against the database that it leaves behind."""

import asyncio
import os
import re
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing

import pytest

from vault_adapters import Account, DecryptionError, TokenHealth, TokenKind, VaultConfig, open_vault

BOXES = set("─│╭╮╰╯━┃┏┓┗┛═║")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    from tests.adapters.cli.command import CommandLine

    command = CommandLine(tmp_path_factory.mktemp("demo"))
    done = command("demo", "--directory", "here")
    assert (done.code, done.stderr) == (0, "")
    return command, done.out


@pytest.fixture(scope="module")
def variables(demo):
    return dict(re.findall(r"export (\w+)=(\S+)", demo[1]))


def with_vault(variables, work):
    async def opened():
        async with open_vault(VaultConfig.from_env(variables), migrate=False) as vault:
            return await work(vault)

    return asyncio.run(opened())


def field(text, name):
    return re.search(rf"^\s*{re.escape(name)}  +(.*)$", text, re.MULTILINE)[1]


def test_it_leaves_a_vault_with_the_token_that_it_showed(demo, variables):
    account = Account("acme", "google", "ana@acme.example")
    token = with_vault(variables, lambda vault: vault.get_token(account.key(TokenKind.ACCESS_TOKEN)))
    assert token.value.reveal() == field(demo[1], "value.reveal()")
    assert field(demo[1], "str(value)") == str(token.value)


def test_the_row_that_it_showed_is_the_databases(demo):
    with closing(sqlite3.connect(demo[0].folder / "here" / "vault.db")) as database:
        [(blob, data_key)] = database.execute(
            "SELECT blob, data_key_id FROM token_vault_token WHERE tenant_id = 'acme' AND provider = 'google' "
            "AND kind = 'access_token'"
        )
    shown = field(demo[1], "blob").removesuffix(" ...").replace(" ", "")
    assert len(shown) == 96
    assert blob.hex().startswith(shown)
    assert field(demo[1], "data_key_id") == data_key.hex()
    assert field(demo[1], "blob length") == f"{len(blob)} bytes"


def test_the_value_is_nowhere_in_the_files(demo):
    value = field(demo[1], "value.reveal()").encode()
    assert "found 0 times" in demo[1]
    for file in (demo[0].folder / "here").iterdir():
        assert value not in file.read_bytes()


def test_it_counted_what_is_there(demo, variables):
    async def everything(vault):
        return [info for tenant in ("acme", "globex", "initech") for info in (await vault.list_tokens(tenant)).items]

    infos = with_vault(variables, everything)
    # The demonstration later adds the account that it refreshes, with an access token and a refresh token.
    assert f"\n{len(infos) - 2} tokens are stored" in demo[1]
    report = with_vault(variables, lambda vault: vault.health())
    fresh = {count.provider: count.count for count in report.counts if count.health is TokenHealth.FRESH}
    assert field(demo[1], "clerk").split() == [str(fresh["clerk"]), "0", "0", "0", "0", "0"]


@pytest.mark.parametrize(
    "key",
    [
        Account("globex", "clerk").key(TokenKind.API_KEY),
        Account("globex", "google", "ops@globex.example").key(TokenKind.ACCESS_TOKEN),
    ],
)
def test_the_rows_that_it_attacked_are_refused(variables, key):
    with pytest.raises(DecryptionError):
        with_vault(variables, lambda vault: vault.get_token(key))


def test_it_said_so(demo):
    assert demo[1].count("DecryptionError: ") == 2
    assert "Other tokens returned as stored: 11 of 11. Failed reads counted: 2." in demo[1]
    assert field(demo[1], "get_access_token") == "None"
    assert field(demo[1], "the account's state") == "reauthorization_required"


def test_the_secret_is_in_a_private_file_and_not_printed(demo, variables):
    secret = demo[0].folder / "here" / "secret"
    assert variables["ENCRYPTION_SECRET_FILE"] == str(secret.resolve())
    assert stat.filemode(secret.stat().st_mode) == "-rw-------"
    assert secret.read_text().strip() not in demo[1]


def test_the_commands_that_it_ends_with_work(demo, variables):
    command, out = demo
    lines = re.findall(r"^  \S.* -m vault_adapters\.cli (.*)$", out, re.MULTILINE)
    results = {line: command(*line.split(), **variables) for line in lines}
    assert [result.code for result in results.values()] == [0, 0, 0, 6]
    assert field(out, "value.reveal()") in [result.out for result in results.values()]


def test_it_is_plain_in_a_pipe(demo):
    assert demo[1].isascii()
    assert "\x1b" not in demo[1]


def test_it_never_overwrites(demo):
    command, _ = demo
    before = {path: path.stat().st_mtime_ns for path in (command.folder / "here").iterdir()}
    done = command("demo", "--directory", "here")
    assert (done.code, done.stdout) == (2, b"")
    assert {path: path.stat().st_mtime_ns for path in (command.folder / "here").iterdir()} == before


def test_on_a_terminal_in_a_directory_of_its_own(bare, tmp_path):
    command = type(bare)(tmp_path, {"TMPDIR": str(tmp_path)})
    done = command.on_terminal("demo", columns=120)
    assert done.code == 0
    assert not BOXES.isdisjoint(done.out)
    [folder] = tmp_path.glob("token-vault-demo-*")
    assert stat.filemode(os.stat(folder).st_mode) == "drwx------"
    assert f"rm -r {folder}" in done.out


def test_a_refresh_happened_once_and_is_stored(demo, variables):
    assert field(demo[1], "token requests at the provider") == "1"
    assert field(demo[1], "refresh tokens presented twice") == "0"
    assert field(demo[1], "different access tokens handed out") == "1"
    account = Account("acme", "demo", "ana@acme.example")
    token = with_vault(variables, lambda vault: vault.get_token(account.key(TokenKind.ACCESS_TOKEN)))
    assert str(token.info.generation) == field(demo[1], "generation now stored") == "2"
    assert token.value.reveal().startswith("demo-access-")


WITHOUT_CONNECT = """
import sys
sys.modules["authlib"] = None
from vault_adapters.cli.__main__ import main
main()
"""


def test_it_connects_at_a_provider_if_the_packages_for_that_are_installed(demo, tmp_path):
    connected = "at an OpenID provider on loopback"
    assert connected in demo[1]
    command = [sys.executable, "-c", WITHOUT_CONNECT, "demo", "--directory", str(tmp_path / "here")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert connected not in done.stdout
    assert "pip install 'token-vault[cli,connect]'" in done.stdout
