"""The attack: an intruder changes the database, and the vault refuses the changed rows and no others."""

from __future__ import annotations

from vault_adapters.cli.demo.sample import ACME_GOOGLE, GLOBEX_CLERK, GLOBEX_GOOGLE
from vault_adapters.cli.demo.stage import Stage
from vault_adapters.cli.screen import Cell, Content
from vault_domain import DecryptionError, TokenKey, TokenKind

TAMPERED = GLOBEX_CLERK.key(TokenKind.API_KEY)
STOLEN = ACME_GOOGLE.key(TokenKind.ACCESS_TOKEN)
MOVED_TO = GLOBEX_GOOGLE.key(TokenKind.ACCESS_TOKEN)


async def attack(stage: Stage) -> None:
    """Change one row, copy another row's value to a different tenant, then read everything."""
    stage.screen.heading(
        "An intruder changes the database",
        "one bit of globex's clerk key is flipped; acme's google token is copied to globex",
    )
    stage.intruder.flip_a_bit(TAMPERED)
    stage.intruder.move(STOLEN, MOVED_TO)
    answers = [
        ("one bit changed", TAMPERED, await _read(stage, TAMPERED)),
        ("copied from acme", MOVED_TO, await _read(stage, MOVED_TO)),
        ("the source row of the copy", STOLEN, await _read(stage, STOLEN)),
    ]
    rows: list[list[Content]] = [[what, key.tenant_id, key.provider, answer] for what, key, answer in answers]
    stage.screen.table(("row", "tenant", "provider", "get_token"), rows)
    readable, untouched = await _read_the_rest(stage)
    report = await stage.vault.health()
    stage.screen.text(
        f"Other tokens returned as stored: {readable} of {untouched}. Failed reads counted: {report.failed_reads}."
    )


async def _read(stage: Stage, key: TokenKey) -> Cell:
    try:
        token = await stage.vault.get_token(key)
    except DecryptionError as error:
        return Cell(f"{type(error).__name__}: {error}", "bad")
    if token is None:
        return Cell("None", "warning")
    return Cell("opens, as stored" if token.value == stage.stored[key] else "opens, with another value", "good")


async def _read_the_rest(stage: Stage) -> tuple[int, int]:
    """Return how many unchanged tokens the vault still returns as stored, and the number of unchanged tokens."""
    keys = [info.key for info in await stage.tokens() if info.key not in {TAMPERED, MOVED_TO}]
    tokens = await stage.vault.get_tokens(keys)
    return sum(tokens[key].value == stage.stored[key] for key in keys if key in tokens), len(keys)
