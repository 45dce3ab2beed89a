"""`revive`: which accounts it makes refreshable again, and what it prints."""

import asyncio
import json
import shlex
from datetime import UTC, datetime, timedelta

import pytest

from vault_adapters import Account, ReauthorizationRequiredError, TokenKind, TokenSet, VaultConfig, open_vault
from vault_adapters.testing import ScriptedRefresher

ANN, BOB = Account("t1", "acme", "ann"), Account("t2", "acme", "bob")
LONG_AGO = "2020-01-01T00:00:00Z"


@pytest.fixture
def condemned(token_vault):
    """The command line over a database with two accounts whose refresh tokens a refresh has condemned."""

    async def condemn():
        refresher = ScriptedRefresher(*[ReauthorizationRequiredError(reason="invalid_grant")] * 2)
        config = VaultConfig.from_env(token_vault.variables)
        async with open_vault(config, migrate=False, refreshers={"acme": refresher}) as vault:
            for account in (ANN, BOB):
                await vault.store_token_set(account, TokenSet("access", "refresh", expires_in=3600))
                with pytest.raises(ReauthorizationRequiredError):
                    await vault.refresh_account(account)

    asyncio.run(condemn())
    return token_vault


def statuses(token_vault):
    """Return the status of each refresh token, by tenant."""
    found = {}
    for account in (ANN, BOB):
        [info] = [
            each
            for each in json.loads(token_vault("list", account.tenant_id, "--json").out)
            if each["kind"] == TokenKind.REFRESH_TOKEN.value
        ]
        found[account.tenant_id] = info["status"]
    return found


def test_all_accounts_of_a_provider_come_back(condemned):
    assert json.loads(condemned("revive", "acme", "--since", LONG_AGO, "--json").out) == {
        "dry_run": False,
        "revived": 2,
        "skipped": 0,
    }
    assert statuses(condemned) == {"t1": "valid", "t2": "valid"}
    events = json.loads(condemned("audit", "--tenant", "t1", "--json").out)
    assert [(event["action"], event["actor"], event["code"]) for event in events][-1:] == [
        ("account_revived", "cli", "invalid_grant")
    ]


@pytest.mark.parametrize("only", [(), ("--tenant", "t1")], ids=["all", "tenant"])
def test_what_came_of_it_is_shown_by_the_command_that_it_names(condemned, only):
    said = condemned("revive", "acme", "--since", LONG_AGO, *only).out
    assert "the next sweeps ask the provider" in said
    program, *arguments = shlex.split(said.splitlines()[-1])
    assert program == "token-vault"
    assert json.loads(condemned(*arguments, "--json").out) == []

    async def ask():
        gone, alive = ReauthorizationRequiredError(reason="invalid_grant"), TokenSet("new", "next", expires_in=3600)
        refresher = ScriptedRefresher(gone, *[alive] * (not only))
        config = VaultConfig.from_env(condemned.variables)
        async with open_vault(config, migrate=False, refreshers={"acme": refresher}) as vault:
            with pytest.raises(ReauthorizationRequiredError):
                await vault.refresh_account(ANN)
            if not only:
                await vault.refresh_account(BOB)

    asyncio.run(ask())
    [found] = json.loads(condemned(*arguments, "--json").out)
    assert (found["tenant_id"], found["reason"]) == ("t1", "invalid_grant")


def test_nothing_is_promised_where_nothing_was_revived(condemned):
    for arguments in (("other", "--since", LONG_AGO), ("acme", "--since", LONG_AGO, "--dry-run")):
        assert "sweeps" not in condemned("revive", *arguments).out


def test_a_dry_run_writes_nothing(condemned):
    result = condemned("revive", "acme", "--since", LONG_AGO, "--dry-run")
    assert (result.code, result.stderr) == (0, "")
    assert "nothing was written" in result.out
    assert json.loads(condemned("revive", "acme", "--since", LONG_AGO, "--dry-run", "--json").out)["revived"] == 2
    assert statuses(condemned) == {"t1": "invalid", "t2": "invalid"}


def test_one_tenant_and_a_window(condemned):
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    for window in (("--since", later), ("--since", LONG_AGO, "--until", LONG_AGO)):
        assert json.loads(condemned("revive", "acme", *window, "--json").out)["revived"] == 0
    assert json.loads(condemned("revive", "other", "--since", LONG_AGO, "--json").out)["revived"] == 0
    result = condemned("revive", "acme", "--since", LONG_AGO, "--until", later, "--tenant", "t2")
    assert (result.code, result.stderr) == (0, "")
    assert statuses(condemned) == {"t1": "invalid", "t2": "valid"}


def test_wrong_arguments_change_nothing(condemned):
    for arguments in (
        (),
        ("--since", "yesterday"),
        ("--since", "2020-01-01T00:00:00"),
        ("--since", LONG_AGO, "--until", "2019-01-01T00:00:00Z"),
    ):
        result = condemned("revive", "acme", *arguments)
        assert (result.code, result.out) == (2, "")
    assert statuses(condemned) == {"t1": "invalid", "t2": "invalid"}


def test_after_a_restore_the_accounts_to_connect_again_are_listed(condemned):
    done = condemned("restored", "--json")
    report = json.loads(done.out)
    assert [(each["tenant_id"], each["identifier"]) for each in report["ask"]] == [("t1", "ann"), ("t2", "bob")]
    assert (report["refreshed"], report["retrying"]) == (0, [])
    assert datetime.fromisoformat(report["restored_at"]) <= datetime.now(UTC)
    earlier = json.loads(condemned("restored", "--since", "2h", "--json").out)
    assert earlier["restored_at"] < report["restored_at"]
    shown = condemned("restored")
    assert (shown.code, "ask to connect again  2" in shown.out, "ann" in shown.out) == (0, True, True)
    assert condemned("restored", "--since", "2999-01-01T00:00:00Z").code == 2
    events = json.loads(condemned("audit", "--json").out)
    assert [event["actor"] for event in events if event["action"] == "database_restored"] == ["cli"] * 3
