"""`as_json` turns what the vault reports into values that a web framework can send as JSON; it refuses secrets."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from vault_adapters import Account, InvalidInputError, TokenSet, VaultConfig, as_json
from vault_adapters.testing import ManualClock, memory_vault

ACCOUNT = Account("t1", "google", "ann")
CANARY = "ya29.canary-of-json"


@pytest.fixture
async def vault():
    async with memory_vault(clock=ManualClock(datetime(2030, 1, 1, tzinfo=UTC))) as opened:
        token_set = TokenSet(CANARY, CANARY + "-r", expires_in=60, extra={"instance_url": CANARY})
        await opened.store_token_set(ACCOUNT, token_set, label="Ann")
        yield opened


async def test_an_account(vault):
    found = as_json(await vault.get_account(ACCOUNT))
    assert json.loads(json.dumps(found)) == found
    assert [found[name] for name in ("tenant_id", "provider", "identifier", "label", "state", "expires_at")] == [
        *("t1", "google", "ann", "Ann", "connected", "2030-01-01T00:01:00.000000Z")
    ]


async def test_every_report_and_listing(vault):
    token = (await vault.get_access_token(ACCOUNT)).token
    reports = {
        "health": await vault.health(),
        "ready": await vault.ready(),
        "accounts": await vault.list_accounts("t1"),
        "expiring": await vault.find_expiring_tokens(timedelta(hours=1)),
        "token": token.info,
        "mark": await vault.mark_token_invalid(token, "invalid_token"),
        "events": await vault.audit_events(tenant_id="t1"),
        "sweep": await vault.refresh_due(),
        "revival": await vault.revive_accounts(provider="google", since=datetime(2029, 1, 1, tzinfo=UTC)),
        "keys": await vault.keys.status(),
        "reencryption": await vault.keys.reencrypt(),
        "deletion": await vault.delete_account(ACCOUNT),
        "erasure": await vault.erase_tenant("t1"),
        "nothing": None,
    }
    found = as_json(reports)
    assert CANARY not in json.dumps(found)
    assert (found["health"]["ok"], found["ready"]) == (
        True,
        {"store": None, "schema": None, "master_key": None, "journal": None, "home": None, "ok": True},
    )
    assert [info["identifier"] for info in found["accounts"]["items"]] == ["ann"]
    assert (found["accounts"]["next"], found["mark"]) == (None, "applied")
    assert (found["token"]["lifetime_seconds"], found["reencryption"]["incomplete"]) == (60.0, False)
    assert found["erasure"]["data_keys"] == 1


async def test_secrets_are_refused(vault):
    usable = await vault.get_access_token(ACCOUNT)
    token = usable.token
    held = [token, usable, [token], {"token": token}, token.value, token.extra, TokenSet(CANARY)]
    for value in [*held, VaultConfig(encryption_secret=CANARY * 3), object(), lambda: CANARY]:
        with pytest.raises(InvalidInputError) as caught:
            as_json(value)
        assert CANARY not in str(caught.value)
