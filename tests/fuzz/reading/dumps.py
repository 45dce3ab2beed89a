"""Dumps to import, in every format: JSON lines and CSV."""

import asyncio
import io
from collections.abc import Iterator
from contextlib import contextmanager

from tests.fuzz.target import CANARY, Run, Target

from vault_adapters.crypto.fernet import FernetReader
from vault_adapters.importing.formats import FERNET, ORIGINAL, TOKENS, Format
from vault_adapters.importing.reading import Opener, open_plain, read_dump
from vault_domain.entities.imported import ImportedToken, ImportFailure
from vault_domain.entities.secret import Secret

FERNET_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
_READER = FernetReader([Secret(FERNET_KEY)])


async def _open_fernet(texts: list[str]) -> list[Secret | None]:
    return [_READER.read(text) for text in texts]


# Values of the format `original` are not decrypted, because each scrypt would take longer than all the rest.
_FORMATS: list[tuple[Format, Opener]] = [(TOKENS, open_plain), (FERNET, _open_fernet), (ORIGINAL, open_plain)]


@contextmanager
def _opened() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        yield lambda data: runner.run(_read(data))


async def _read(data: bytes) -> None:
    """Read a dump to its end. This must not raise; each bad row gives a failure with its line and a code."""
    lines = data.count(b"\n") + 1
    for form, opener in _FORMATS:
        last = 0
        async for row in read_dump(io.BytesIO(data), form, opener):
            assert last < row.line <= lines
            last = row.line
            if isinstance(row, ImportFailure):
                assert CANARY not in repr(row)
            else:
                assert isinstance(row, ImportedToken)
                assert CANARY not in repr(row.value)


DUMPS = Target(
    "dumps",
    _opened,
    words=(
        *(b"\n", b"\r\n", b"\xef\xbb\xbf", b'"', b'""', b",", b"\\N", b"NULL", b"\0", b"{", b"[" * 1000, b"}"),
        *(b'"tenant_id":', b'"provider":', b'"kind":', b'"value":', b'"scopes":', b'"expires_at":', b'"status":'),
        *(b"tenant_id,provider,kind,value\n", b"9999-12-31 23:59:59+00", b"0001-01-01 00:00:00+15", b"{a,b}"),
        *(b"9" * 5000, b"1e999", b'"\\ud800"', b"\xed\xa0\x80", CANARY.encode()),
    ),
)
