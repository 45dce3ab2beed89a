"""The journal: one file per attempt, private and synced, with the sealed tokens of the provider's answer."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from vault_adapters.runtime.journal_files import (
    MISSING,
    TEMPORARY,
    WrongFileError,
    make_private_directory,
    private_directory,
    read_private_file,
    remove_file,
    temporary_name,
    try_directory,
    write_private_file,
)
from vault_adapters.runtime.journal_format import decode_entry, encode_entry, is_of_later_release
from vault_adapters.runtime.to_the_end import run_to_the_end
from vault_domain.entities.causes import TIMEOUT
from vault_domain.entities.errors import ConfigurationError
from vault_domain.ports.journal import JournalEntry, JournalError, NoJournalError
from vault_domain.services.tokens.fault_log import FaultLog

_log = logging.getLogger(__name__)
_SUFFIX = ".refresh.json"
_TEMPORARY_SUFFIX = f".refresh{TEMPORARY}"
_DAMAGED = ".damaged"

_LIMIT_SECONDS = 2.5
"""Longest time in seconds to wait for the disk; a refresh must not wait for ever for a network disk that is down."""

_MAX_BYTES = 4 * 1024 * 1024
"""Largest size of a journal file in bytes; two tokens of 64 KiB in hex and a thousand long scopes fit."""


class NoJournal:
    """The journal of a vault without a journal directory: it stores nothing.

    So an answer that the database has not stored yet is only in memory.
    """

    async def write(self, entry: JournalEntry) -> None:
        """Raise `NoJournalError`."""
        raise NoJournalError("no journal_dir is configured")

    async def entries(self) -> Sequence[JournalEntry]:
        """Return no entries."""
        return ()

    async def remove(self, entry: JournalEntry) -> None:
        """Do nothing."""

    async def examine(self) -> str | None:
        """Return None, because there is nothing to examine."""
        return None


class FileJournal:
    """Implements `RefreshJournal` over a directory.

    Args:
        directory: the journal's directory; if it is missing, it is created with access for its owner only.

    Raises:
        ConfigurationError: the directory cannot be created, read or written to, is a link, belongs to another user, or
            gives other users access.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._reported: set[str] = set()
        self._busy: set[str] = set()
        self._faults = FaultLog(_log, "the journal, which keeps refreshed tokens in an outage,", time.monotonic)
        problem = make_private_directory(directory)
        if problem is not None:
            raise ConfigurationError(f"journal_dir {problem}", code="journal_unusable")

    async def write(self, entry: JournalEntry) -> None:
        """Store an entry: write it to a temporary file, sync it, then rename it.

        Raises:
            JournalError: the entry could not be stored, or the disk did not answer in time.
        """
        name, data = _name(entry), encode_entry(entry)
        problem = await self._try(name, lambda: write_private_file(self._directory, name, data))
        if problem is not None:
            raise JournalError(f"the journal could not be written ({problem})")

    async def examine(self) -> str | None:
        """Return the cause for which entries cannot be stored now, or None; create the directory if it is missing."""
        return await self._try("", lambda: try_directory(self._directory))

    async def entries(self) -> Sequence[JournalEntry]:
        """Return the stored entries.

        A damaged file is logged and renamed, so that an operator can inspect it. Other files that are no usable entry
        stay where they are, and each process logs them once: a pipe, a link, a file that is too large or cannot be
        read, a file that is not named after its attempt, and a file that a later release wrote.
        """
        return await asyncio.to_thread(self._read_all)

    async def remove(self, entry: JournalEntry) -> None:
        """Delete an entry. The deletion is not synced, because an entry that a crash brings back changes nothing."""
        with suppress(TimeoutError):
            await run_to_the_end(lambda: self._unlink(_name(entry)), _LIMIT_SECONDS)

    async def _try(self, name: str, work: Callable[[], str | None]) -> str | None:
        """Run work about a file in a thread; return the cause for which it failed, or None, and log a change."""
        if name in self._busy:
            return TIMEOUT
        self._busy.add(name)
        try:
            problem = await run_to_the_end(lambda: self._work(name, work), _LIMIT_SECONDS)
        except TimeoutError:
            problem = TIMEOUT
        if problem is None:
            self._faults.worked()
        else:
            self._faults.failed(problem)
        return problem

    def _work(self, name: str, work: Callable[[], str | None]) -> str | None:
        try:
            problem = work()
            if problem == MISSING and make_private_directory(self._directory) is None:
                _log.warning("journal_dir was missing, and was created again; the entries in it are gone")
                problem = work()
            return problem
        finally:
            self._busy.discard(name)

    def _unlink(self, name: str) -> None:
        with suppress(OSError), private_directory(self._directory) as folder:
            remove_file(folder, name)

    def _read_all(self) -> list[JournalEntry]:
        with suppress(OSError), private_directory(self._directory) as folder:
            for temporary in _names(folder, _TEMPORARY_SUFFIX):
                self._adopt(folder, temporary)
            read = (self._read(folder, name) for name in sorted(_names(folder, _SUFFIX)))
            return [entry for entry in read if entry is not None]
        return []

    def _read(self, folder: int, name: str) -> JournalEntry | None:
        try:
            data = read_private_file(folder, name, _MAX_BYTES)
        except WrongFileError as error:
            self._report(name, str(error))
            return None
        if data is None:
            return None  # another process has committed and removed the entry
        entry = decode_entry(data)
        if entry is None and is_of_later_release(data):
            self._report(name, "a later release wrote it")  # happens in a deploy; a process of that release reads it
        elif entry is None:
            _set_aside(folder, name)
        elif name != _name(entry):
            self._report(name, "it is not named after its attempt")
            return None
        return entry

    def _adopt(self, folder: int, temporary: str) -> None:
        """Give a file its name if its process wrote it completely, but ended before it gave the name."""
        with suppress(WrongFileError, OSError):
            data = read_private_file(folder, temporary, _MAX_BYTES)
            entry = None if data is None else decode_entry(data)
            if entry is not None and temporary == temporary_name(_name(entry)):
                os.rename(temporary, _name(entry), src_dir_fd=folder, dst_dir_fd=folder)

    def _report(self, name: str, problem: str) -> None:
        if name not in self._reported:
            self._reported.add(name)
            _log.error("a journal file is ignored, because %s: %a", problem, name)


def _name(entry: JournalEntry) -> str:
    return f"{entry.attempt.attempt_id.hex}{_SUFFIX}"


def _names(folder: int, suffix: str) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(suffix)]


def _set_aside(folder: int, name: str) -> None:
    _log.error("a journal file is damaged and is set aside: %a", name + _DAMAGED)
    with suppress(OSError):
        os.rename(name, name + _DAMAGED, src_dir_fd=folder, dst_dir_fd=folder)
