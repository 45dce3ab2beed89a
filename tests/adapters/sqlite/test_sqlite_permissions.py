"""Other users of the machine cannot open the database's files."""

import logging
import os
import stat
import sys

import pytest

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
    assert "its mode is 0600 now" in warning
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
