"""A step of the demonstration: an access token has expired, and many callers ask for a new one at once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from vault_adapters.cli.demo.provider import LoopbackProvider, loopback_provider
from vault_adapters.cli.demo.stage import Stage
from vault_adapters.cli.screen import Cell
from vault_adapters.composition import open_vault
from vault_adapters.providers import OAuth2Refresher
from vault_domain import Account, Rotation, Token, TokenKind, TokenSet

ACCOUNT = Account("acme", "demo", "ana@acme.example")
_CALLERS = 200
_VAULTS = 3


async def refresh(stage: Stage) -> None:
    """Store an expired access token, and let many callers in several vaults ask for a new one at once."""
    stage.screen.heading(
        "An access token has expired, and many callers ask for a new one at once",
        "an OAuth server on loopback, whose refresh tokens work once; the callers use ensure_access_token",
    )
    with loopback_provider() as provider:
        await _connect(stage, provider)
        tokens = await _ask_at_once(stage, provider)
    distinct = {token.value.reveal() for token in tokens}
    stage.screen.fields(
        [
            ("callers", f"{len(tokens)}, in {_VAULTS} vaults that share only the database"),
            ("token requests at the provider", _judged(provider.requests, good=provider.requests == 1)),
            ("refresh tokens presented twice", _judged(provider.refused, good=not provider.refused)),
            ("different access tokens handed out", _judged(len(distinct), good=len(distinct) == 1)),
            ("generation now stored", tokens[0].info.generation),
            ("expires", stage.screen.moment(tokens[0].info.expires_at)),
        ]
    )
    await _remember(stage)


async def _connect(stage: Stage, provider: LoopbackProvider) -> None:
    expired = datetime.now(UTC) - timedelta(seconds=1)
    token_set = TokenSet("demo-access-that-has-expired", provider.issue(), expires_at=expired)
    await stage.vault.store_token_set(ACCOUNT, token_set, label="Ana")


async def _ask_at_once(stage: Stage, provider: LoopbackProvider) -> list[Token]:
    """Ask for the token from several vaults, each opened as in a separate process."""
    refresher = OAuth2Refresher(provider.token_url, "demo-client", "demo-client-secret", rotation=Rotation.strict())

    async def ask() -> list[Token]:
        async with open_vault(stage.place.config(), refreshers={"demo": refresher}, migrate=False) as vault:
            return await asyncio.gather(*[vault.ensure_access_token(ACCOUNT) for _ in range(_CALLERS)])

    return [token for tokens in await asyncio.gather(*[ask() for _ in range(_VAULTS)]) for token in tokens]


async def _remember(stage: Stage) -> None:
    for kind in (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN):
        token = await stage.vault.get_token(ACCOUNT.key(kind))
        if token is not None:
            stage.stored[token.info.key] = token.value


def _judged(count: int, *, good: bool) -> Cell:
    return Cell(str(count), "good" if good else "bad")
