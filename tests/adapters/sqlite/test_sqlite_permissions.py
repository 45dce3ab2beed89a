"""Other users of the machine cannot open the database's files."""

import logging
import os
import shutil
import stat
import sys
from pathlib import Path

import pytest
from tests.support.unprivileged import server_directory, server_user

from vault_adapters import StorageError, TokenKey, TokenKind, VaultConfig, open_vault
from vault_adapters.stores.sqlite.permissions import tighten

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such file modes")

KEY = TokenKey("t1", "acme", TokenKind.API_KEY)
FILES = ("vault.db", "vault.db-wal", "vault.db-shm")


@pytest.fixture
def config(tmp_path):
    return VaultConfig(
        f"sqlite:///{tmp_path}/vault.db", encryption_secret="a secret of the tests of permissions", scrypt_log2_n=14
    )


def modes(folder):
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.name.endswith(".permissions")]


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o666, 0o604])
async def test_an_existing_database_is_tightened(config, tmp_path, caplog, mode):
    async with open_vault(config) as writing:
        await writing.store_token(KEY, "v")
        assert modes(tmp_path) == dict.fromkeys(FILES, 0o600)
        for name in FILES:
            (tmp_path / name).chmod(mode)
        # The vault that is already open stays usable, because changing the mode drops none of its locks.
        async with open_vault(config) as vault:
            assert modes(tmp_path) == dict.fromkeys(FILES, 0o600)
            assert (await vault.get_token(KEY)).value.reveal() == "v"
        await writing.store_token(KEY, "w")
    [warning] = warnings_of(caplog)
    assert "now only its owner can" in warning
    caplog.clear()
    async with open_vault(config):
        assert warnings_of(caplog) == []


async def test_a_file_that_is_no_database_keeps_its_mode(config, tmp_path, caplog):
    """A mistyped path may name a file that the whole machine reads, such as /etc/passwd."""
    file = tmp_path / "vault.db"
    file.write_text("root:x:0:0:root:/root:/bin/sh\n" * 40)
    file.chmod(0o644)
    with pytest.raises(StorageError) as caught:
        async with open_vault(config):
            pass
    assert caught.value.reason == "corrupt"
    assert modes(tmp_path) == {"vault.db": 0o644}
    assert warnings_of(caplog) == []


async def test_a_rollback_journal_is_tightened_too(config, tmp_path):
    async with open_vault(config):
        pass
    journal = tmp_path / "vault.db-journal"
    journal.write_bytes(b"")
    journal.chmod(0o644)
    tighten(tmp_path / "vault.db")
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600


@pytest.mark.parametrize("reason", ["another owner", "a read-only file system"])
async def test_a_mode_that_cannot_be_changed_is_a_warning(config, tmp_path, caplog, monkeypatch, reason):
    async with open_vault(config) as vault:
        await vault.store_token(KEY, "v")
    (tmp_path / "vault.db").chmod(0o644)
    if reason == "another owner":
        monkeypatch.setattr(os, "geteuid", lambda: (tmp_path.stat().st_uid) + 1)
    else:

        def refuse(*arguments, **options):
            raise OSError(30, "read-only file system")

        monkeypatch.setattr(os, "chmod", refuse)
    async with open_vault(config) as vault:
        assert (await vault.get_token(KEY)).value.reveal() == "v"
    [warning] = warnings_of(caplog)
    assert "cannot be changed" in warning
    assert logging.WARNING in {record.levelno for record in caplog.records}
    assert modes(tmp_path)["vault.db"] == 0o644


@pytest.fixture
def other_user():
    """Give a folder of a user who has no rights of root, and become this user with `os.seteuid`."""
    folder, user = Path(server_directory("vault-read-only-")), server_user()
    yield folder, (lambda: None if user is None else os.seteuid(user.pw_uid))
    if user is not None:
        os.seteuid(0)
    shutil.rmtree(folder)


@pytest.mark.parametrize("mode", [0o400, 0o444])
async def test_a_file_that_its_owner_may_only_read_is_found_and_stays_so(other_user, caplog, mode):
    folder, become = other_user
    path = folder / "vault.db"
    config = VaultConfig(
        f"sqlite:///{path}", encryption_secret="a secret of the tests of permissions", scrypt_log2_n=14
    )
    async with open_vault(config) as vault:  # as root, this loads each module that the other user may not read
        await vault.store_token(KEY, "v")
        assert (await vault.ready()).ok
        assert (await vault.health()).ok
    os.chown(path, folder.stat().st_uid, folder.stat().st_gid)
    path.chmod(mode)
    become()
    async with open_vault(config) as vault:
        assert (await vault.get_token(KEY)).value.reveal() == "v"
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
        for _ in range(2):
            assert (await vault.ready()).store == "read_only"
        report = await vault.health()
        assert (report.ok, report.store_reason, sum(each.count for each in report.counts)) == (False, "read_only", 1)
        for each in folder.iterdir():
            each.chmod(0o600)  # the connection stays what it was when it was opened
        with pytest.raises(StorageError):
            await vault.store_token(KEY, "w")
        assert (await vault.ready()).store == "read_only"
    for each in folder.glob("vault.db-*"):  # a connection that cannot write leaves them, with the mode of the file
        each.chmod(0o400)
    async with open_vault(config) as vault:
        assert (await vault.ready()).store == "read_only"
    for each in folder.iterdir():
        each.chmod(0o600)
    async with open_vault(config) as vault:
        await vault.store_token(KEY, "w")
        assert (await vault.ready()).ok
        path.chmod(0o400)
        assert (await vault.ready()).store == "read_only"
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("sqlite.errors")]
    assert lines[0] == f"the SQLite database {path} fails: read_only"
