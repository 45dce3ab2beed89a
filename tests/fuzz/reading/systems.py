"""What other systems keep in their tables and files, for `import --from`."""

import asyncio
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.fuzz.target import CANARY, Run, Target

from vault_adapters.importing.formats import TOKENS
from vault_adapters.importing.reading import read_rows
from vault_adapters.importing.records import Record
from vault_adapters.importing.systems import allauth, nango, slack, social_django
from vault_adapters.importing.systems.columns import as_object
from vault_domain.entities.imported import ImportedToken, ImportFailure

_COLUMNS = (
    *("token", "token_secret", "expires_at", "user_id", "provider", "uid", "extra_data", "created", "modified"),
    *("connection_id", "provider_config_key", "credentials", "credentials_iv", "credentials_tag", "connection_config"),
    *("created_at", "updated_at", "end_user_id", "installed_at"),
)


class _Tables:
    """Tables whose every row is the same."""

    def __init__(self, row: dict[str, Any]) -> None:
        self._row = row

    def select(self, statement: str, *parameters: object) -> Iterator[dict[str, Any]]:
        yield self._row


@contextmanager
def _opened() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        yield lambda data: runner.run(_read(data))


async def _read(data: bytes) -> None:
    """Read every line as a row of each system's tables. A bad row gives a failure, which holds nothing of it."""
    async for row in read_rows(_records(data), TOKENS):
        assert isinstance(row, ImportedToken | ImportFailure)
        assert CANARY not in repr(row if isinstance(row, ImportFailure) else row.value)


def _records(data: bytes) -> Iterator[Record | ImportFailure]:
    yield from nango.read_export(io.BytesIO(data))
    for line in data.decode(errors="surrogateescape").split("\n"):
        found = as_object(line)
        if found is not None:
            tables = _Tables(dict.fromkeys(_COLUMNS) | dict(found) | {"id": 1})
            for read in (allauth.read, social_django.read, slack.read, nango.reader(None)):
                yield from read(tables, "1")


SYSTEMS = Target(
    "systems",
    _opened,
    words=(
        *(b"\n", b'"token":', b'"token_secret":', b'"extra_data":', b'"access_token":', b'"refresh_token":', b"null"),
        *(b'"user_id":', b'"provider":', b'"uid":', b'"expires":', b'"auth_time":', b'"scope":', b"1e400", b"[", b"{"),
        *(
            b'"team_id":',
            b'"bot_token":',
            b'"user_token":',
            b'"bot_scopes":',
            b'"credentials":',
            b'"type":',
            b"}",
            b"]",
        ),
        *(
            b'"OAUTH2"',
            b'"API_KEY"',
            b'"apiKey":',
            b'"raw":',
            b'"expires_at":',
            b"9" * 5000,
            b'"\\ud800"',
            b"-1",
            b"NaN",
        ),
        *(b'"encrypted_credentials":', b'"connection_config":', b'"installed_at":', b"Infinity", CANARY.encode()),
    ),
)
