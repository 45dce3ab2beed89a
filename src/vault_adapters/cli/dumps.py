"""Opens the files of the command `import`: the dump, and the secrets that decrypt its values."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from vault_adapters.crypto.fernet import FernetReader
from vault_adapters.crypto.legacy import read_originals
from vault_adapters.importing.formats import FERNET, ORIGINAL, TOKENS, Format
from vault_adapters.importing.lines import MOST_BYTES
from vault_adapters.importing.piped import PipedLines
from vault_adapters.importing.reading import Opener, open_plain, read_dump
from vault_domain import ConfigurationError, ImportedToken, ImportFailure, InvalidInputError, Secret

STANDARD_INPUT = "-"
_MOST_KEY_BYTES = 64 * 1024
_MOST_THREADS = 8


class Dump:
    """An open dump: the tokens to import, from a file or standard input.

    Attributes:
        size: size in bytes, or None if unknown.
        source: a text that identifies the file and changes whenever the file changes; None if the dump is not a regular
            file.
    """

    def __init__(self, stream: BinaryIO, form: Format, opener: Opener) -> None:
        self._form = form
        self._opener = opener
        found = os.fstat(stream.fileno())
        is_file = stat.S_ISREG(found.st_mode)
        self._file = stream if is_file else None
        self._lines = stream if is_file else PipedLines(stream.fileno(), MOST_BYTES + 1)
        self.size = found.st_size if is_file else None
        # Do not derive `source` from the file's content, because the ids of imported tokens contain a digest of
        # `source`. With a digest of the content, a reader of the database could test guesses of a token's value.
        numbers = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        self.source = ":".join(map(str, numbers)) if is_file else None

    @property
    def position(self) -> int:
        """Number of bytes read from the file so far; 0 if the dump is not a regular file."""
        return 0 if self._file is None else self._file.tell()

    def rows(self) -> AsyncIterator[ImportedToken | ImportFailure]:
        """Read the rows of the dump."""
        return read_dump(self._lines, self._form, self._opener)


@contextmanager
def open_dump(path: str, form: Format, opener: Opener) -> Iterator[Dump]:
    """Open a dump; ``-`` means standard input. See `format_of` for ``form`` and ``opener``."""
    if path == STANDARD_INPUT:
        yield Dump(sys.stdin.buffer, form, opener)
        return
    if path.startswith("-"):  # do not take a misspelt option for a file
        raise InvalidInputError("there is no such option; see `token-vault import --help`")
    with _open(path, "DUMP") as stream:
        yield Dump(stream, form, opener)


def format_of(name: str, secret_file: str | None, key_file: str | None) -> tuple[Format, Opener]:
    """Return the format, and the function that decrypts its values.

    Args:
        name: ``original``, ``tokens`` or ``fernet``.
        secret_file: path of the file with the original system's secret, for ``original`` only.
        key_file: path of the file with the Fernet keys, one per line, for ``fernet`` only.
    """
    if (secret_file is not None) != (name == "original"):
        raise InvalidInputError("--format original needs --secret-file, and no other format takes it")
    if (key_file is not None) != (name == "fernet"):
        raise InvalidInputError("--format fernet needs --key-file, and no other format takes it")
    if secret_file is not None:
        return ORIGINAL, _original_opener(_only_line_end_removed(read_key(secret_file, "--secret-file")))
    if key_file is not None:
        keys = [Secret(line.strip()) for line in read_key(key_file, "--key-file").reveal().splitlines() if line.strip()]
        return FERNET, _fernet_opener(FernetReader(keys))
    return TOKENS, open_plain


def _original_opener(secret: Secret) -> Opener:
    threads = min(os.cpu_count() or 1, _MOST_THREADS)

    async def opener(texts: Sequence[str]) -> list[Secret | None]:
        return [value async for value in read_originals(texts, secret, threads=threads)]

    return opener


def _fernet_opener(reader: FernetReader) -> Opener:
    async def opener(texts: Sequence[str]) -> list[Secret | None]:
        return [reader.read(text) for text in texts]

    return opener


def _only_line_end_removed(secret: Secret) -> Secret:
    text = secret.reveal()
    text = text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
    if not text:
        raise ConfigurationError("the file of --secret-file is empty")
    return Secret(text)


def read_key(path: str, option: str) -> Secret:
    """Return the text of a small file, such as one with a key; ``option`` names it in errors."""
    with _open(path, option) as stream:
        raw = stream.read(_MOST_KEY_BYTES + 1)
    text = _decoded(raw) if len(raw) <= _MOST_KEY_BYTES else None
    if text is None:
        raise ConfigurationError(f"the file of {option} must be UTF-8 text of at most 64 KiB")
    return Secret(text)


def _decoded(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def _open(path: str, name: str) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except (OSError, ValueError):  # drop the error, because it names the path, which may be a misplaced secret
        pass
    raise InvalidInputError(f"the file of {name} cannot be read")
