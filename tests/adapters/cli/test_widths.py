"""Each id is shown whole at any width of the terminal: a table that does not fit becomes blocks of lines."""

import io
from datetime import UTC, datetime
from uuid import UUID

import pytest
from rich.console import Console

from vault_adapters import (
    Account,
    AccountInfo,
    AuditAction,
    AuditEvent,
    ConnectionState,
    HealthCount,
    HealthReport,
    Incident,
    KeyStatus,
    MasterKeyState,
    MasterKeyStatus,
    TokenHealth,
    TokenInfo,
    TokenKind,
    TokenStatus,
)
from vault_adapters.cli import key_views, views
from vault_adapters.cli.commands.doctor import show
from vault_adapters.cli.commands.watching import show_report
from vault_adapters.cli.examining import Result
from vault_adapters.cli.terminal import TerminalScreen
from vault_adapters.configuration.config import VaultConfig
from vault_domain.entities.findings import Example, FindingCode
from vault_domain.rules.advice import finding

WIDTHS = [60, 80, 120, 160]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TENANTS = ["5f0c2a5e-7d11-4c8e-9a35-0b1f6a1d9c00", "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d"]
IDENTIFIERS = [
    "owner-of-a-very-long-mailbox-name.and.more@subsidiary.example-company.com",
    "x" * 255,
    None,
    "שלום-日本語",
]
ACCOUNTS = [Account(tenant, "google-workspace", identifier) for tenant in TENANTS for identifier in IDENTIFIERS]
KEY_IDS = ["000102030405060708090a0b0c0d0e0f", "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"]
ARN = "aws-kms:arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@pytest.fixture(params=WIDTHS)
def shown(request):
    """Give a screen of one width, and a function that returns what the screen shows."""
    console = Console(file=io.StringIO(), width=request.param, force_terminal=True, color_system=None, highlight=False)
    return TerminalScreen(console), console.file.getvalue


def infos(key):
    return TokenInfo(
        id=UUID(int=1),
        key=key,
        status=TokenStatus.VALID,
        error_code=None,
        expires_at=NOW,
        scopes=("https://www.googleapis.com/auth/drive.metadata.readonly",),
        generation=1,
        last_used_at=None,
        last_refreshed_at=None,
        lifetime=None,
        created_at=NOW,
        updated_at=NOW,
    )


def assert_whole(text, ids):
    missing = [each for each in ids if each is not None and each not in text]
    assert missing == []
    assert "…" not in text


BUFFER = VaultConfig.__attrs_attrs__.refresh_buffer.default


def test_list(shown):
    screen, text = shown
    screen.table(
        views.TOKEN_COLUMNS, [views.token_row(infos(a.key(TokenKind.REFRESH_TOKEN)), BUFFER, screen) for a in ACCOUNTS]
    )
    assert_whole(text(), [*TENANTS, *IDENTIFIERS, "google-workspace", "refresh_token"])


def test_get(shown):
    screen, text = shown
    screen.fields(views.token_fields(infos(ACCOUNTS[1].key(TokenKind.REFRESH_TOKEN)), BUFFER, screen))
    scope = "https://www.googleapis.com/auth/drive.metadata.readonly"
    assert_whole(text(), [TENANTS[0], IDENTIFIERS[1], str(UUID(int=1)), scope])


def test_accounts(shown):
    screen, text = shown
    state = ConnectionState.REAUTHORIZATION_REQUIRED
    rows = [AccountInfo(a, state, "invalid_grant", f"label of {a.identifier}", expires_at=NOW) for a in ACCOUNTS]
    screen.table(views.ACCOUNT_COLUMNS, [views.account_row(info, screen) for info in rows])
    assert_whole(text(), [*TENANTS, *IDENTIFIERS, *[info.label for info in rows], state.value, "invalid_grant"])


def test_audit(shown):
    screen, text = shown
    events = [
        AuditEvent(
            AuditAction.TOKEN_REFRESHED, NOW, a.tenant_id, a, TokenKind.ACCESS_TOKEN, 3, f"actor-{n}", KEY_IDS[0]
        )
        for n, a in enumerate(ACCOUNTS)
    ]
    screen.table(views.EVENT_COLUMNS, [views.event_row(event, screen) for event in events])
    assert_whole(text(), [*TENANTS, *IDENTIFIERS, *[event.actor for event in events], KEY_IDS[0], "token_refreshed"])


def test_keys_status(shown):
    screen, text = shown
    keys = [
        MasterKeyStatus(KEY_IDS[0], "local", "", MasterKeyState.ACTIVE, 12, True, True, NOW),
        MasterKeyStatus(KEY_IDS[1], "aws-kms", ARN, MasterKeyState.UNWRAP_ONLY, 5, True, False, NOW, True),
    ]
    status = KeyStatus(tuple(keys), 1, 2, 3, 4, 5)
    screen.table(key_views.MASTER_KEY_COLUMNS, [key_views.master_key_row(key, screen) for key in keys])
    screen.fields(key_views.status_fields(status))
    assert_whole(text(), [*KEY_IDS, ARN, "unwrap_only, set back by someone", "tokens to re-encrypt"])


def test_health(shown):
    screen, text = shown
    providers = ["google-workspace", "a-provider-with-a-name-of-sixty-four-characters-0123456789abcdef"]
    counts = [HealthCount(provider, health, 1_234_567) for provider in providers for health in TokenHealth]
    report = HealthReport(tuple(counts), incidents=(Incident(providers[1], "invalid_client", NOW, NOW),))
    show_report(report, screen)
    assert_whole(text(), [*providers, "invalid_client", "1234567"])


def test_doctor(shown):
    screen, text = shown
    provider = "a-provider-with-a-name-of-sixty-four-characters-0123456789abcdef"
    identifiers = [*IDENTIFIERS, "=cmd|'/c calc'!A1", "many words " * 20 + "at the end"]
    accounts = [Account(tenant, provider, identifier) for tenant in TENANTS for identifier in identifiers]
    found = [
        finding(code, provider=provider, accounts=len(accounts), examples=tuple(map(Example, accounts)))
        for code in (FindingCode.RECONNECT_REQUIRED, FindingCode.REFRESH_TOKEN_ENDING)
    ]
    show(Result(found, len(accounts)), screen)
    assert_whole(text(), [*TENANTS, *identifiers, *(f"{each.code.value}: {provider}" for each in found)])
    assert all(f"{each.tenant_id} {provider} {each.identifier or ''}".strip() in text() for each in accounts)


def test_blocks_beside_each_other(shown):
    screen, text = shown
    screen.beside(("stored", [("tenant", TENANTS[0]), ("id", IDENTIFIERS[0])]), ("in use", [("id", IDENTIFIERS[1])]))
    assert_whole(text(), [TENANTS[0], IDENTIFIERS[0], IDENTIFIERS[1]])


def test_a_narrow_table_says_once_what_all_rows_share():
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None, highlight=False)
    screen = TerminalScreen(console)
    accounts = [Account(TENANTS[0], "google", f"user-{n}") for n in range(3)]
    rows = [AccountInfo(a, ConnectionState.CONNECTED, label="Ana", expires_at=NOW) for a in accounts]
    screen.table(views.ACCOUNT_COLUMNS, [views.account_row(info, screen) for info in rows])
    text = console.file.getvalue()
    assert text.count(TENANTS[0]) == 1
    assert all(line.strip().startswith("user-") for line in text.splitlines()[-4:-1]), text


@pytest.mark.parametrize("columns", [60, 80, 160])
def test_the_command_on_a_terminal_shows_ids_whole(token_vault, columns):
    for identifier in (IDENTIFIERS[0], "short"):
        stored = token_vault("store", TENANTS[0], "google", "access_token", "--identifier", identifier, stdin="v")
        assert stored.code == 0
    for arguments in (["list", TENANTS[0]], ["accounts", TENANTS[0]], ["audit"]):
        done = token_vault.on_terminal(*arguments, columns=columns)
        assert done.code == 0
        assert_whole(done.out, [TENANTS[0], IDENTIFIERS[0]])


def test_rows_that_say_the_same_are_all_shown(shown):
    screen, text = shown
    long = "x" * 200
    screen.table(["name", "value"], [["same", long], ["same", long]])
    assert text().count(long) == 2


@pytest.mark.parametrize("padding", range(11, 17))
def test_no_code_is_cut_at_any_width_of_a_table(padding):
    """The table is as wide as the terminal for one of the paddings, and wider for the others."""
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None, highlight=False)
    codes = ["reauthorization_required", "invalid_grant", "retired", "x" * (14 + padding)]
    TerminalScreen(console).table(["state", "reason", "key", "other"], [codes, ["a", "b", "c", "d"]])
    assert_whole(console.file.getvalue(), codes)
