"""Breaks a SQLite database or a disk for a while."""

import resource
import signal
import sqlite3
from contextlib import contextmanager


class BrokenSqlite:
    """Makes a SQLite database fail and work again, by renaming its account table away and back."""

    def __init__(self, config):
        self._path = config.database_url.reveal().removeprefix("sqlite:///")

    def down(self):
        self._run("ALTER TABLE token_vault_account RENAME TO token_vault_account_gone")

    def up(self):
        self._run("ALTER TABLE token_vault_account_gone RENAME TO token_vault_account")

    def lock(self):
        """Take the write lock, as a stuck process would."""
        self._lock = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._lock.execute("BEGIN EXCLUSIVE")

    def unlock(self):
        self._lock.execute("ROLLBACK")
        self._lock.close()

    def _run(self, sql):
        connection = sqlite3.connect(self._path, timeout=30)
        with connection:
            connection.execute(sql)
        connection.close()


@contextmanager
def no_file_may_grow():
    """Simulate a full disk for this process: every write beyond the first 100 bytes of a file fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
