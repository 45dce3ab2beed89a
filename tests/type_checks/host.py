"""A sample of a host's code. A line whose comment says `refused` has a mistake that type checkers must find."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from vault_adapters import (
    Account,
    Readiness,
    Secret,
    Token,
    TokenKey,
    TokenKind,
    TokenRefresher,
    TokenSet,
    TokenVault,
    VaultConfig,
    open_sync_vault,
    open_vault,
)
from vault_adapters.providers import (
    ClientCredentialsRefresher,
    CustomRefresher,
    GitHubAppRefresher,
    GreenInvoiceRefresher,
    JwtBearerRefresher,
    MetaTokenExchangeRefresher,
    OAuth2Refresher,
    refresher,
)

TENANT = UUID(int=7)


def right() -> None:
    for tenant in ("t1", 5, TENANT):
        Account(tenant, "google", "ann@example.com")
        TokenKey(tenant, "google", "access_token")
    TokenKey("t1", "google", TokenKind.API_KEY, None)
    VaultConfig("sqlite:///vault.db", encryption_secret="s" * 40, journal_dir="journal")
    VaultConfig(encryption_secret=Secret("s" * 40), journal_dir=Path("journal"), read_cache=timedelta(seconds=30))
    TokenSet("access", Secret("refresh"), expires_in=3600, expires_at=datetime.now(UTC))
    OAuth2Refresher("https://provider.example/token", "client", Secret("secret"), extra={"resource": "x"})
    kept: Sequence[str] = ["openid"]
    asked: Collection[str] = kept
    for scopes in (["openid"], ("openid", "email"), {"openid"}, frozenset({"openid"}), {"openid": 1}.keys()):
        TokenSet("access", scopes=scopes)
    TokenSet("access", scopes=kept)
    TokenSet("access", scopes=asked)
    TokenSet("access", scopes=(scope for scope in asked if scope))
    TokenSet("access", scopes=map(str.lower, asked))
    refresher("google", "client", scopes=kept)


async def asynchronous(vault: TokenVault) -> str:
    token: Token = await vault.ensure_access_token(Account("t1", "google"), timeout=1.5)
    readiness: Readiness = await vault.ready(timeout=timedelta(seconds=1))
    refreshers = {
        "google": refresher("google", "client", "secret"),
        "acme": OAuth2Refresher("https://acme.test/t", "c"),
    }
    async with open_vault(VaultConfig(), refreshers=refreshers):
        pass
    return token.value.reveal() + str(readiness.store)


def synchronous() -> bool:
    with open_sync_vault(VaultConfig()) as vault:
        token: Token | None = vault.get_token(Account("t1", "google").key(TokenKind.ACCESS_TOKEN))
        return token is not None and vault.ready().ok


def refreshers_of_all_kinds(
    custom: CustomRefresher,
    keyed: ClientCredentialsRefresher | GreenInvoiceRefresher,
    signing: JwtBearerRefresher | GitHubAppRefresher,
    exchanging: MetaTokenExchangeRefresher,
) -> list[TokenRefresher]:
    return [custom, keyed, signing, exchanging, OAuth2Refresher("https://acme.test/t", "c"), refresher("slack", "c")]


def wrong() -> None:
    Account(None, "google")  # refused
    Account("t1", 5)  # refused
    Account("t1", "google", 5)  # refused
    TokenKey("t1", "google", 5)  # refused
    VaultConfig(5)  # refused
    VaultConfig(encryption_secret=5)  # refused
    VaultConfig(pool_size="7")  # refused
    VaultConfig(read_cache=3)  # refused
    TokenSet(5)  # refused
    TokenSet("access", expires_at="tomorrow")  # refused
    TokenSet("access", scopes="openid")  # refused
    TokenSet("access", scopes=[5])  # refused
    OAuth2Refresher("https://provider.example/token", "client", scopes="openid email")  # refused
    refresher("google", "client", scopes="openid")  # refused
    OAuth2Refresher(5, "client")  # refused
    OAuth2Refresher("https://provider.example/token", None)  # refused


async def wrong_calls(vault: TokenVault) -> None:
    await vault.get_token("t1")  # refused
    await vault.store_token(Account("t1", "google"), "value")  # refused
    await vault.store_token(TokenKey("t1", "google", "api_key"), "value", scopes="openid")  # refused
    await vault.ready(timeout="1")  # refused
    await vault.on(None).get_account(Account("t1", "google"))  # refused
    open_vault(VaultConfig(), refreshers={"google": "a name"})  # refused
