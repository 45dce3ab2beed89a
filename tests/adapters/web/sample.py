"""A sample vault for the pages: accounts in each state, hostile texts, an incident, events."""

from datetime import timedelta

from vault_adapters import (
    Account,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    TokenKind,
    TokenSet,
    VaultError,
)
from vault_adapters.testing import ScriptedRefresher

CANARY = "canary-4f1b0c-secret"
TENANTS = [f"5f0c2a5e-7d11-4c8e-9a35-0b1f6a1d9c{number:02x}" for number in range(12)]

SCRIPT = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
RIGHT_TO_LEFT = "invoice\u202egpj.exe\u202c \u05e9\u05dc\u05d5\u05dd"
LONG = "x" * 240
HOSTILE = [SCRIPT, RIGHT_TO_LEFT, LONG, "a&amp;b\nc\td\x1b[31m", "../../etc/passwd?tenant=1#x"]


def refreshers():
    """Providers that answer, one that is down, one that ended a grant."""
    answers = [TokenSet(f"{CANARY}-new-{n}", refresh_token=f"{CANARY}-next-{n}", expires_in=3600) for n in range(500)]
    return {
        "google": ScriptedRefresher(*answers),
        "hubspot": ScriptedRefresher(*[RefreshFailedError(reason="temporarily_unavailable")] * 100),
        "quickbooks": ScriptedRefresher(*[ReauthorizationRequiredError(reason="invalid_grant")] * 100),
        "salesforce": ScriptedRefresher(*[ProviderConfigurationError(reason="invalid_client")] * 100),
    }


def token_set(name, **more):
    more.setdefault("expires_in", 3600)
    return TokenSet(f"{CANARY}-access-{name}", refresh_token=f"{CANARY}-refresh-{name}", **more)


async def fill(vault):
    """Store the sample."""
    for number, tenant in enumerate(TENANTS):
        host = vault.with_actor("billing-service")
        account = Account(tenant, "google", f"owner{number}@example.com")
        await host.store_token_set(
            account, token_set(number, scopes=("openid", "drive.readonly")), label=f"Owner {number}"
        )
        await host.store_token_set(Account(tenant, "github"), TokenSet(f"{CANARY}-gh-{number}"), label="octo-org")
        if number % 2:
            await host.with_actor("worker").refresh_account(account)
    for number, provider in enumerate(
        ["hubspot", "quickbooks", "hubspot", "quickbooks", "salesforce", "salesforce", "salesforce"]
    ):
        account = Account(TENANTS[number], provider, f"team-{number}")
        await vault.store_token_set(account, token_set(f"{provider}{number}", expires_in=timedelta(minutes=20)))
        await failing(vault.with_actor("worker"), account)
    for number, text in enumerate(HOSTILE):
        account = Account("hostile", "google", text)
        await vault.with_actor(text).store_token_set(account, token_set(f"h{number}"), label=text)
    await vault.store_token(Account(TENANTS[0], "stripe").key(TokenKind.API_KEY), f"{CANARY}-api-key")


async def add_the_longest(vault):
    """Store an account whose texts are all as long as they may be."""
    account = Account("t" * 255, "p" * 64, "i" * 255)
    await vault.with_actor("a" * 255).store_token_set(account, token_set("long"), label="l" * 255)


async def failing(vault, account):
    """Refresh an account whose provider refuses."""
    try:
        await vault.refresh_account(account)
    except VaultError:
        return
    raise AssertionError("the refresh must fail")
