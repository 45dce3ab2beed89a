"""What Bolt's installation stores find, keep and delete, sync and async."""

import time
from functools import partial

import pytest
from anyio.from_thread import start_blocking_portal
from slack_sdk.oauth.installation_store import Installation

from vault_adapters import Account, InvalidInputError, ReauthorizationRequiredError, Secret, TokenSet
from vault_adapters.clients.slack import AsyncVaultInstallationStore, VaultInstallationStore
from vault_adapters.testing import ScriptedRefresher, memory_sync_vault, memory_vault

TENANTS = {"T1": "tenant-1", "T2": "tenant-2", "E1": "tenant-1"}
EVERYTHING = {
    "app_id": "A1",
    "enterprise_id": "E1",
    "enterprise_name": "Acme Group",
    "team_id": "T1",
    "team_name": "Acme",
    "bot_token": "xoxb-1",
    "bot_id": "B1",
    "bot_user_id": "UB",
    "bot_scopes": ["chat:write"],
    "user_id": "U1",
    "user_token": "xoxp-1",
    "user_scopes": ["search:read"],
    "incoming_webhook_url": "https://hooks.slack.com/x",
    "installed_at": 5.0,
    "custom_values": {"plan": "big"},
}
IDS = {"enterprise_id": "E1", "team_id": "T1"}


def tenant_of(enterprise_id, team_id):
    return TENANTS.get(team_id or enterprise_id)


class NeverEnds:
    def __await__(self):
        yield


class Stores:
    """A store of either kind whose methods a test calls by the names of the sync one."""

    def __init__(self, vault, store, wait=None):
        self._vault, self._store, self._wait = vault, store, wait

    def vault(self, name, *arguments, **options):
        method = getattr(self._vault, name)
        return self._wait(method, *arguments, **options) if self._wait else method(*arguments, **options)

    def call(self, name, *arguments, **options):
        if self._wait is None:
            return getattr(self._store, name)(*arguments, **options)
        return self._wait(getattr(self._store, f"async_{name}"), *arguments, **options)

    def accounts(self):
        return self.vault("list_accounts", "tenant-1").items


@pytest.fixture
def refresher():
    """A provider that refreshes once, and then refuses."""
    renewed = TokenSet("xoxb-2", "xoxe-2", expires_in=1, extra={"team_id": "T1"})
    return ScriptedRefresher(renewed, ReauthorizationRequiredError())


@pytest.fixture(params=["sync", "async"])
def stores(request, refresher):
    refreshers = {"slack": refresher}
    if request.param == "sync":
        with memory_sync_vault(refreshers=refreshers) as vault:
            yield Stores(vault, VaultInstallationStore(vault, tenant_of=tenant_of))
        return
    with start_blocking_portal() as portal:

        def wait(method, *arguments, **options):
            return portal.call(partial(method, *arguments, **options))

        with portal.wrap_async_context_manager(memory_vault(refreshers=refreshers)) as vault:
            yield Stores(vault, AsyncVaultInstallationStore(vault, tenant_of=tenant_of), wait)


def test_all_that_bolt_knows_is_found_again(stores):
    stores.call("save", Installation(**EVERYTHING))
    for user in ({}, {"user_id": "U1"}):
        assert vars(stores.call("find_installation", **IDS, **user)) == vars(Installation(**EVERYTHING))
    bot = stores.call("find_bot", **IDS)
    assert vars(bot) == vars(Installation(**EVERYTHING).to_bot())
    shown = stores.accounts()
    assert {(info.account.provider, info.account.identifier) for info in shown} == {
        ("slack", "T1"),
        ("slack-user", "T1:U1"),
    }
    assert "xox" not in repr(shown)
    assert "hooks" not in repr(shown)


def test_what_is_found_has_no_refresh_token(stores):
    """So Bolt's rotation, which has no lock, finds nothing to do."""
    rotating = {"bot_refresh_token": "xoxe-1", "bot_token_expires_in": 9999, "user_refresh_token": "xoxe-2"}
    stores.call("save", Installation(**EVERYTHING, **rotating, user_token_expires_in=9999))
    found = stores.call("find_installation", **IDS)
    assert (found.bot_refresh_token, found.bot_token_expires_at) == (None, None)
    assert (found.user_refresh_token, found.user_token_expires_at) == (None, None)
    assert (stores.call("find_bot", **IDS)).bot_refresh_token is None


def test_a_refresh_keeps_what_bolt_needs(stores):
    stores.call("save", Installation(**EVERYTHING, bot_refresh_token="xoxe-1", bot_token_expires_at=5))
    found = stores.call("find_installation", **IDS)
    assert vars(found) == vars(Installation(**{**EVERYTHING, "bot_token": "xoxb-2"}))


def test_a_dead_grant_counts_as_not_installed(stores):
    bot_only = {**EVERYTHING, "user_token": None}
    stores.call("save", Installation(**bot_only, bot_refresh_token="xoxe-1", bot_token_expires_at=5))
    assert stores.call("find_bot", **IDS).bot_token == "xoxb-2"
    time.sleep(1.1)  # the next refresh is refused
    assert stores.call("find_bot", **IDS) is None
    assert stores.call("find_installation", **IDS) is None


def test_another_user_gets_the_bot_of_the_workspace(stores):
    stores.call("save", Installation(**EVERYTHING))
    assert stores.call("find_installation", **IDS, user_id="U2") is None
    later = {**EVERYTHING, "user_id": "U2", "user_token": "xoxp-2", "bot_token": "xoxb-2", "installed_at": 6.0}
    stores.call("save", Installation(**later))
    first = stores.call("find_installation", **IDS, user_id="U1")
    assert (first.user_token, first.bot_token, first.user_id) == ("xoxp-1", "xoxb-2", "U1")
    assert (stores.call("find_installation", **IDS)).user_id == "U2"


def test_an_app_for_users_only(stores):
    for number in (1, 2):
        own = {
            "bot_token": None,
            "user_id": f"U{number}",
            "user_token": f"xoxp-{number}",
            "installed_at": float(number),
        }
        stores.call("save", Installation(**{**EVERYTHING, **own}))
    assert stores.call("find_bot", **IDS) is None
    assert (stores.call("find_installation", **IDS)).user_token == "xoxp-2"
    assert (stores.call("find_installation", **IDS, user_id="U1")).user_token == "xoxp-1"


def test_an_installation_for_an_organization(stores):
    stores.call("save", Installation(**{**EVERYTHING, "team_id": None, "is_enterprise_install": True}))
    found = stores.call("find_installation", **IDS, is_enterprise_install=True)
    assert (found.bot_token, found.user_token, found.is_enterprise_install) == ("xoxb-1", "xoxp-1", True)
    assert (stores.call("find_bot", enterprise_id="E1", team_id=None)).bot_token == "xoxb-1"
    assert stores.call("find_bot", **IDS) is None


def test_a_workspace_of_another_organization_finds_nothing(stores):
    stores.call("save", Installation(**EVERYTHING))
    assert stores.call("find_bot", enterprise_id="E2", team_id="T1") is None
    assert stores.call("find_installation", enterprise_id="E2", team_id="T1") is None


def test_a_bot_alone_keeps_who_installed_it(stores):
    stores.call("save", Installation(**EVERYTHING))
    bot = Installation(**{**EVERYTHING, "bot_token": "xoxb-2"}).to_bot()
    stores.call("save_bot", bot)
    found = stores.call("find_installation", **IDS)
    assert (found.bot_token, found.user_id, found.incoming_webhook_url) == ("xoxb-2", "U1", "https://hooks.slack.com/x")


def test_an_account_that_a_connector_made_is_a_bot(stores):
    tokens = TokenSet("xoxb-9", scopes=["chat:write"], extra={"team_id": "T1", "bot_user_id": "UB"})
    stores.vault("store_token_set", Account("tenant-1", "slack", "T1"), tokens)
    bot = stores.call("find_bot", **IDS)
    assert (bot.bot_token, bot.bot_scopes, bot.bot_user_id, bot.team_id) == ("xoxb-9", ["chat:write"], "UB", "T1")


def test_deleting(stores):
    for user in ("U1", "U2"):
        stores.call("save", Installation(**{**EVERYTHING, "user_id": user}))
    stores.call("delete_installation", **IDS, user_id="U1")
    assert stores.call("find_installation", **IDS, user_id="U1") is None
    assert (stores.call("find_installation", **IDS, user_id="U2")).user_token == "xoxp-1"
    stores.call("delete_bot", **IDS)
    assert stores.call("find_bot", **IDS) is None
    stores.call("delete_all", **IDS)
    assert stores.accounts() == ()


@pytest.mark.parametrize("wrong", ["E2", None])
def test_a_deletion_for_another_organization_deletes_nothing(stores, wrong):
    stores.call("save", Installation(**EVERYTHING))
    ids = IDS | {"enterprise_id": wrong}
    stores.call("delete_installation", **ids, user_id="U1")
    stores.call("delete_installation", **ids)
    stores.call("delete_bot", **ids)
    stores.call("delete_all", **ids)
    assert len(stores.accounts()) == 2


def test_a_workspace_of_no_tenant_is_refused(stores):
    other = {"enterprise_id": None, "team_id": "T9"}
    calls = [
        ("save", [Installation(**{**EVERYTHING, **other})], {}),
        ("save_bot", [Installation(**{**EVERYTHING, **other}).to_bot()], {}),
        *((name, [], other) for name in ("find_bot", "find_installation", "delete_bot", "delete_installation")),
        ("find_bot", [], {"enterprise_id": None, "team_id": None}),
    ]
    for name, arguments, options in calls:
        with pytest.raises(InvalidInputError) as error:
            stores.call(name, *arguments, **options)
        assert "T9" not in str(error.value)
    assert (stores.vault("list_tenants")).items == ()


@pytest.mark.parametrize(
    "wrong", [{"user_token": ""}, {"custom_values": {"canary": object()}}], ids=["an empty token", "no JSON"]
)
def test_an_installation_that_cannot_be_kept_is_refused_as_a_whole(stores, wrong):
    with pytest.raises(InvalidInputError) as caught:
        stores.call("save", Installation(**EVERYTHING | wrong))
    assert "canary" not in str(caught.value)
    assert stores.accounts() == ()


async def test_the_tenant_may_be_looked_up_by_a_coroutine_in_an_async_store():
    async def looked_up(enterprise_id, team_id):
        return tenant_of(enterprise_id, team_id)

    async with memory_vault() as vault:
        await AsyncVaultInstallationStore(vault, tenant_of=looked_up).async_save(Installation(**EVERYTHING))
        assert await AsyncVaultInstallationStore(vault).async_find_bot(**IDS) is None
        assert [tenant async for tenant in vault.iter_tenants()] == ["tenant-1"]


def test_the_tenant_is_looked_up_by_a_plain_function_in_a_sync_store():
    async def looked_up(enterprise_id, team_id):
        await NeverEnds()

    with memory_sync_vault() as vault, pytest.raises(InvalidInputError):
        VaultInstallationStore(vault, tenant_of=looked_up).find_bot(**IDS)


@pytest.mark.parametrize("kind", [VaultInstallationStore, AsyncVaultInstallationStore])
def test_arguments_are_checked(kind):
    with pytest.raises(InvalidInputError):
        kind(Secret("vault"))
    with memory_sync_vault() as vault, pytest.raises(InvalidInputError):
        kind(vault, tenant_of="tenant-1")


async def test_a_sync_store_refuses_an_async_vault():
    async with memory_vault() as vault:
        with pytest.raises(InvalidInputError, match="SyncVault"):
            VaultInstallationStore(vault)


def test_an_async_store_refuses_a_sync_vault():
    with memory_sync_vault() as vault, pytest.raises(InvalidInputError, match="TokenVault"):
        AsyncVaultInstallationStore(vault)
