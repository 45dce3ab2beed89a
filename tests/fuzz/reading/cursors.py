"""Cursors of listings, which a host may have got from a browser."""

import asyncio
import base64
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from tests.fuzz.target import CANARY, Run, Target

from vault_adapters.testing import memory_vault
from vault_domain.entities.account import TokenKey, TokenKind
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.page import decode_cursor
from vault_domain.facade.vault import TokenVault

MINE, THEIRS = "tenant-1", "tenant-2"


@contextmanager
def _opened() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        context = memory_vault()
        vault = runner.run(context.__aenter__())
        try:
            runner.run(_fill(vault))
            yield lambda data: runner.run(_continue(vault, data))
        finally:
            runner.run(context.__aexit__(None, None, None))


async def _fill(vault: TokenVault) -> None:
    for tenant in (MINE, THEIRS):
        for number in range(3):
            key = TokenKey(tenant, "google", TokenKind.ACCESS_TOKEN, f"user-{number}")
            await vault.store_token(key, CANARY)


async def _continue(vault: TokenVault, data: bytes) -> None:
    """Continue each listing twice: with the bytes as the cursor, and with a cursor that encodes them."""
    refused = None
    for after in (data.decode("latin-1"), base64.urlsafe_b64encode(data).decode().rstrip("=")):
        for listing in (_tokens, _accounts, _events, _expiring, _position):
            try:
                await listing(vault, after)
            except InvalidInputError as error:
                refused = error
    if refused is not None:
        raise refused


async def _tokens(vault: TokenVault, after: str) -> None:
    page = await vault.list_tokens(MINE, after=after, limit=2)
    assert {info.key.tenant_id for info in page.items} <= {MINE}


async def _accounts(vault: TokenVault, after: str) -> None:
    page = await vault.list_accounts(MINE, after=after, limit=2)
    assert {connection.account.tenant_id for connection in page.items} <= {MINE}


async def _events(vault: TokenVault, after: str) -> None:
    page = await vault.audit_events(tenant_id=MINE, after=after, limit=2)
    assert {event.tenant_id for event in page.items} <= {MINE}


async def _expiring(vault: TokenVault, after: str) -> None:
    await vault.find_expiring_tokens(timedelta(hours=1), after=after, limit=2)


async def _position(vault: TokenVault, after: str) -> None:
    """Read a position, and check that a database can store its texts and numbers."""
    for kinds in ((str, str), (int,), (str, str, str, str)):
        try:
            position = decode_cursor(after, *kinds) or ()
        except InvalidInputError:
            continue
        assert [type(member) for member in position] == list(kinds)
        for member in position:
            assert -(2**63) <= member < 2**63 if isinstance(member, int) else "\0" not in member.encode().decode()


CURSORS = Target(
    "cursors",
    _opened,
    (InvalidInputError,),
    (
        *(b"[", b"]", b",", b'""', b"0", b"-1", b"9223372036854775807", b"9223372036854775808", b"1e5", b"null"),
        *(b'"tenant-2"', b'"\\u0000"', b'"\\ud800"', b"true", b"[" * 3000, b"9" * 5000, b"=", CANARY.encode()),
    ),
)
