"""Files in the journal's directory, which may be damaged or come from someone else."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.target import CANARY, Run, Target

from vault_adapters.runtime.journal import FileJournal
from vault_domain.entities.errors import InvalidInputError
from vault_domain.ports.journal import JournalEntry, JournalError

NAME = "0123456789abcdef0123456789abcdef.refresh.json"


@contextmanager
def _opened() -> Iterator[Run]:
    with TemporaryDirectory(prefix="vault-fuzz-") as root, asyncio.Runner() as runner:
        directory = Path(root) / "journal"

        def run(data: bytes) -> None:
            shutil.rmtree(directory, ignore_errors=True)
            journal = FileJournal(directory)
            handle = os.open(directory / NAME, os.O_WRONLY | os.O_CREAT, 0o600)
            with open(handle, "wb") as file:
                file.write(data)
            runner.run(_read_twice(journal))

        yield run


async def _read_twice(journal: FileJournal) -> None:
    """Read the entries; reading must not raise. Entries that were read can be written and read again."""
    entries = list(await journal.entries())
    assert all(isinstance(entry, JournalEntry) for entry in entries)
    for entry in entries:
        await journal.write(entry)
        assert entry in await journal.entries()
        await journal.remove(entry)


JOURNAL = Target(
    "journal",
    _opened,
    (JournalError, InvalidInputError),
    (
        *(b'"version":', b'"account":', b'"writes":', b'"lease":', b'"actor":', b'"scopes":', b'"claimed_at":'),
        *(b"null", b"1e999", b"NaN", b"-1", b"9999-12-31T23:59:59.999999-23:59", b"[", b"{", b'"\\ud800"'),
        CANARY.encode(),
    ),
)
