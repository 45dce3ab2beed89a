"""Each action asks the operator first, accepts only its own form, names its actor, and needs the host's permission."""

from datetime import timedelta
from urllib.parse import urlencode

import pytest
from attrs import define, field
from tests.adapters.web import sample
from tests.adapters.web.conftest import browsing
from tests.adapters.web.reading import Reader
from tests.adapters.web.test_web_pages import account_path

from vault_adapters import (
    Account,
    AccountInfo,
    ConfigurationError,
    ConnectionState,
    InvalidInputError,
    ReauthorizationRequiredError,
    StorageError,
    VaultError,
)
from vault_adapters.testing import memory_vault
from vault_adapters.web import dashboard

ACCOUNT = Account("tenant-1", "google", "owner@example.com")


@pytest.fixture
async def stored(vault):
    await vault.store_token_set(ACCOUNT, sample.token_set("1"))


async def asked(client, action, account=ACCOUNT, **more):
    """Open the page that asks whether to do an action; return the fields of its form."""
    answer = await client.get(account_path(account, f"/ask/{action}") + ("&" + urlencode(more) if more else ""))
    assert answer.status_code == 200
    return Reader(answer.text).form


async def events(vault, action):
    return [event async for event in vault.iter_audit_events() if event.action == action]


async def test_a_refresh_is_asked_proved_and_audited_with_its_actor(vault, stored, acting):
    form = await asked(acting, "refresh")
    assert not await events(vault, "token_refreshed"), "asking changes nothing"
    answer = await acting.post("/act/refresh", data=form)
    assert answer.status_code == 303
    assert "was refreshed" in (await acting.get(answer.headers["location"])).text
    assert {event.actor for event in await events(vault, "token_refreshed")} == {"ops@example.com"}


async def test_a_refused_refresh_shows_its_code(vault, acting):
    account = Account("tenant-1", "quickbooks")
    await vault.store_token_set(account, sample.token_set("1"))
    answer = await acting.post("/act/refresh", data=await asked(acting, "refresh", account))
    assert answer.status_code == 409
    assert "reauthorization_required: invalid_grant" in Reader(answer.text).text


async def test_a_deletion_is_asked_proved_and_audited(vault, stored, acting):
    form = await asked(acting, "delete")
    answer = await acting.post("/act/delete", data={**form, "revoke": "yes"})
    assert "2 tokens of google" in Reader(answer.text).text
    assert await vault.get_account(ACCOUNT) is None
    assert {event.actor for event in await events(vault, "token_deleted")} == {"ops@example.com"}


async def test_a_revival_counts_first_and_then_revives(vault, acting):
    account = Account("tenant-1", "quickbooks")
    await vault.store_token_set(account, sample.token_set("1"))
    await sample.failing(vault, account)
    page = await acting.get(account_path(account, "/ask/revive"))
    assert "1 credentials would be revived" in Reader(page.text).text
    assert (await vault.get_account(account)).state is ConnectionState.REAUTHORIZATION_REQUIRED
    form = await asked(acting, "revive", account, since="1h")
    answer = await acting.post("/act/revive", data=form)
    assert "1 credentials of quickbooks" in Reader(answer.text).text
    assert "The next sweeps ask the provider" in Reader(answer.text).text
    assert "accounts?provider=quickbooks&amp;state=reauthorization_required" in answer.text
    assert (await vault.get_account(account)).state is not ConnectionState.REAUTHORIZATION_REQUIRED


@define
class Refusing:
    """A vault whose `revive_accounts` raises an error."""

    error: VaultError

    async def revive_accounts(self, **_):
        raise self.error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StorageError("the database cannot be reached", reason="connection_refused"), 503),
        (ConfigurationError("the vault belongs to another event loop", code="wrong_event_loop"), 409),
        (InvalidInputError("until must not be earlier than since"), 400),
    ],
    ids=["storage", "configuration", "input"],
)
async def test_a_revival_that_cannot_be_counted_has_the_status_of_its_error(error, status):
    async with browsing(dashboard(lambda: Refusing(error), actions=True)) as client:
        answer = await client.get(account_path(ACCOUNT, "/ask/revive"))
    assert answer.status_code == status
    assert error.code in Reader(answer.text).text


@define
class Connections:
    """Begins connections as a connector does."""

    url: str = "https://provider.example/authorize?state=s"
    begun: list = field(factory=list)

    async def begin(self, tenant_id, provider, *, session, account):
        self.begun.append((tenant_id, provider, session, account))
        return self

    async def finish(self, query, *, session):
        if session != self.begun[-1][2]:
            raise ReauthorizationRequiredError("the callback is of another session", reason="state")
        return AccountInfo(self.begun[-1][3], ConnectionState.CONNECTED)


async def test_a_reconnection_is_begun_by_the_connector(vault, stored):
    connector = Connections()
    app = dashboard(vault, connector=connector, actions=True, session=lambda request: "session-1")
    async with browsing(app) as client:
        form = await asked(client, "reconnect")
        assert connector.begun == []
        answer = await client.post("/act/reconnect", data=form)
        assert connector.url in Reader(answer.text).links
        assert connector.begun == [("tenant-1", "google", "session-1", ACCOUNT)]
        connector.url = "javascript:alert(1)"
        answer = await client.post("/act/reconnect", data=form)
        assert answer.status_code == 400
        assert "javascript:" not in answer.text


async def test_the_dashboard_finishes_a_connection_of_the_same_browser_only(vault, stored):
    app = dashboard(vault, connector=Connections(), actions=True)
    async with browsing(app) as client, browsing(app) as other:
        answer = await client.post("/act/reconnect", data=await asked(client, "reconnect"))
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        refused = await other.get("/connected?code=c&state=s")
        assert refused.status_code == 409
        assert "reauthorization_required: state" in Reader(refused.text).text
        assert "is connected" in Reader((await client.get("/connected?code=c&state=s")).text).text
    async with browsing(dashboard(vault, connector=Connections())) as client:
        assert (await client.get("/connected?code=c&state=s")).status_code == 404


async def test_without_a_connector_there_is_no_reconnection(stored, acting):
    assert (await acting.get(account_path(ACCOUNT, "/ask/reconnect"))).status_code == 404
    assert "ask/reconnect" not in (await acting.get(account_path(ACCOUNT))).text


@pytest.mark.parametrize("action", ["refresh", "reconnect", "revive", "delete"])
async def test_a_dashboard_that_only_shows_refuses_and_offers_no_action(vault, stored, browser, acting, action):
    form = await asked(acting, "refresh")
    assert (await browser.get(account_path(ACCOUNT, f"/ask/{action}"))).status_code == 403
    assert (await browser.post(f"/act/{action}", data=form)).status_code == 403
    assert "/ask/" not in (await browser.get(account_path(ACCOUNT))).text
    assert await vault.get_account(ACCOUNT) is not None


async def test_the_host_decides_by_request_who_may_act(vault, stored):
    app = dashboard(vault, actions=lambda request: request.headers.get("x-role") == "admin")
    async with browsing(app, **{"X-Role": "admin"}) as admin, browsing(app) as other:
        assert (await admin.get(account_path(ACCOUNT, "/ask/delete"))).status_code == 200
        assert (await other.get(account_path(ACCOUNT, "/ask/delete"))).status_code == 403
        form = await asked(admin, "delete")
        assert (await other.post("/act/delete", data=form)).status_code == 403


@pytest.mark.parametrize(
    "change",
    [
        {"proof": ""},
        {"proof": "0" * 64},
        {"tenant": "tenant-2"},
        {"provider": "github"},
        {"identifier": "someone-else"},
        {"since": "30d"},
        {"everyone": "yes"},
    ],
    ids=str,
)
async def test_a_form_is_good_for_what_it_showed_only(vault, stored, acting, change):
    form = await asked(acting, "delete")
    assert (await acting.post("/act/delete", data={**form, **change})).status_code == 403
    assert await vault.get_account(ACCOUNT) is not None


async def test_a_form_is_good_for_its_action_its_actor_and_its_browser_only(vault, stored):
    def actor(request):
        return request.headers.get("x-user", "ops")

    app = dashboard(vault, actions=True, actor=actor)
    async with browsing(app) as client, browsing(app) as other:
        form = await asked(client, "refresh")
        assert (await client.post("/act/delete", data=form)).status_code == 403, "another action"
        assert (await client.post("/act/refresh", data=form, headers={"X-User": "eve"})).status_code == 403
        assert (await other.post("/act/refresh", data=form)).status_code == 403, "no cookie"
        await asked(other, "refresh")
        assert (await other.post("/act/refresh", data=form)).status_code == 403, "another cookie"
        assert (await client.post("/act/refresh", data=form)).status_code == 303


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[ops.test"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://public.example"}, 303),
        ({"Origin": "http://ops.test"}, 303),
    ],
    ids=str,
)
async def test_another_origin_cannot_act_even_with_a_proved_form(stored, acting, headers, status):
    form = await asked(acting, "refresh")
    assert (await acting.post("/act/refresh", data=form, headers=headers)).status_code == status


async def test_actions_are_posted_as_forms_of_moderate_size(vault, stored, acting):
    form = await asked(acting, "delete")
    assert (await acting.get("/act/delete", params=form)).status_code == 405
    assert (await acting.post("/act/delete", json=form)).status_code == 400
    assert (await acting.post("/act/delete", data={**form, "more": "x" * 20_000})).status_code == 400
    assert (await acting.post("/act/delete", data={f"n{n}": "x" for n in range(50)})).status_code == 400
    assert (await acting.get(account_path(ACCOUNT, "/ask/erase"))).status_code == 404
    assert await vault.get_account(ACCOUNT) is not None


async def test_the_cookie_of_forms_is_kept_from_scripts_and_other_sites(stored, acting):
    answer = await acting.get(account_path(ACCOUNT, "/ask/delete"))
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    value = answer.headers["set-cookie"].split("=", 1)[1].split(";")[0]
    assert value not in answer.text
    assert "set-cookie" not in (await acting.get("/")).headers


async def test_an_actor_that_the_host_names_badly_is_an_error_page(vault, stored):
    async with browsing(dashboard(vault, actions=True, actor=lambda request: "x" * 300)) as client:
        form = await asked(client, "delete")
        assert (await client.post("/act/delete", data=form)).status_code == 400
        assert await vault.get_account(ACCOUNT) is not None


async def test_hooks_may_be_async_and_the_vault_may_come_later():
    async with memory_vault(refreshers=sample.refreshers()) as vault:
        await vault.store_token_set(ACCOUNT, sample.token_set("1", expires_in=timedelta(hours=1)))

        async def actor(request):
            return "async-ops"

        app = dashboard(lambda: vault, actions=True, actor=actor)
        async with browsing(app) as client:
            assert (await client.post("/act/refresh", data=await asked(client, "refresh"))).status_code == 303
        assert {event.actor for event in await events(vault, "token_refreshed")} == {"async-ops"}
