"""Slack Bolt's app over the vault: four processes get events at once, while both tokens are due."""

import json
import re
import ssl
import time
from contextlib import contextmanager
from datetime import timedelta

import anyio
import httpx2
import pytest
from slack_bolt import App, BoltRequest
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.oauth.async_oauth_settings import AsyncOAuthSettings
from slack_bolt.oauth.oauth_settings import OAuthSettings
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.oauth.installation_store import FileInstallationStore, Installation
from slack_sdk.oauth.state_store import FileOAuthStateStore
from slack_sdk.web.async_client import AsyncWebClient
from tests.adapters.clients.slack_stub import ENTERPRISE, TEAM, USER, slack_refreshers, slack_stub
from tests.adapters.clients.strict_api import meet, meeting_in, with_recipes
from tests.support.certificates import tls_of, write_identity
from tests.support.databases import SECRET, PostgresSchema, SqliteFile
from tests.support.processes import Call, run_processes
from tests.support.scripted_provider import Answer, ScriptedProvider
from tests.support.strict_provider import ANSWERED, digest

from vault_adapters import Account, VaultConfig, open_sync_vault
from vault_adapters.clients.slack import (
    AsyncRejectionHandler,
    AsyncVaultInstallationStore,
    RejectionHandler,
    VaultInstallationStore,
)
from vault_adapters.testing import ManualClock, memory_sync_vault, memory_vault

FOUR = 4
BOT = Account("tenant-1", "slack", TEAM)
MESSAGE = {"type": "message", "channel": "C1", "user": USER, "text": "hello", "ts": "1.1"}
EVENT = {"type": "event_callback", "team_id": TEAM, "enterprise_id": ENTERPRISE, "api_app_id": "A1", "event": MESSAGE}


@pytest.fixture
def identity(tmp_path):
    return write_identity(tmp_path)


@pytest.fixture
def slack(identity, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with slack_stub(tls_of(identity)) as running:
        yield running


def options_of(url, identity):
    """Return how an app calls the stub; its own rotation is switched on, as Bolt has it."""
    client = WebClient(base_url=f"{url}/api/", ssl=ssl.create_default_context(cafile=str(identity)))
    return {
        "client": client,
        "signing_secret": "x",
        "request_verification_enabled": False,
        "process_before_response": True,
    }


def app_of(vault, url, identity, folder):
    """Return the app of the guide."""
    with_recipes()
    from with_slack_bolt import app_of as app_of_the_guide

    states = FileOAuthStateStore(expiration_seconds=600, base_dir=str(folder))
    return app_of_the_guide(vault, ("client", "secret"), states, tenant_of, **options_of(url, identity))


def tenant_of(enterprise_id, team_id):
    return "tenant-1"


def vault_at(url, schema, slack_url, identity):
    config = VaultConfig(
        url, encryption_secret=SECRET, scrypt_log2_n=14, **({"postgres_schema": schema} if schema else {})
    )
    http = httpx2.AsyncClient(verify=ssl.create_default_context(cafile=identity), trust_env=False)
    return open_sync_vault(config, refreshers=slack_refreshers(slack_url, http))


def place_of(database, slack, identity):
    if isinstance(database, SqliteFile):
        return [f"sqlite:///{database.path}", None, slack.url, str(identity)]
    assert isinstance(database, PostgresSchema)
    return [database.url, database.schema, slack.url, str(identity)]


def store_of(vault):
    return VaultInstallationStore(vault, tenant_of=tenant_of)


def event_of(app, meeting=None):
    """Let an app handle an event; return the response's status and the tokens that the listener saw."""
    seen = []

    @app.event("message")
    def listener(context):
        seen.append([context.bot_token, context.user_token])

    meet(meeting)
    response = app.dispatch(BoltRequest(body=json.dumps(EVENT), headers={"content-type": ["application/json"]}))
    return [response.status, seen]


def handle_with_the_vault(place, folder, meeting):
    with vault_at(*place) as vault:
        return event_of(app_of(vault, place[2], place[3], folder), meeting)


def handle_with_files(files, slack_url, identity, meeting):
    store = FileInstallationStore(base_dir=files)
    oauth = OAuthSettings(client_id="client", client_secret="secret", installation_store=store)
    app = App(installation_store=store, oauth_settings=oauth, **options_of(slack_url, identity))
    return event_of(app, meeting)


def installation_of(slack, *, ends_in=-5):
    bot, user = slack.tokens("bot"), slack.tokens("user")
    ends = int(time.time()) + ends_in
    return Installation(
        app_id="A1",
        enterprise_id=ENTERPRISE,
        team_id=TEAM,
        team_name="Acme",
        bot_token=bot["access_token"],
        bot_refresh_token=bot["refresh_token"],
        bot_token_expires_at=ends,
        bot_id="B1",
        bot_user_id="UB",
        bot_scopes=["chat:write"],
        user_id=USER,
        user_token=user["access_token"],
        user_refresh_token=user["refresh_token"],
        user_token_expires_at=ends,
        user_scopes=["search:read"],
    )


def test_bolts_own_rotation_loses_the_grants(slack, identity, tmp_path):
    """The table of the guide is true: each process presents the refresh tokens that it has read."""
    FileInstallationStore(base_dir=str(tmp_path / "files")).save(installation_of(slack))
    job = [str(tmp_path / "files"), slack.url, str(identity), meeting_in(tmp_path, FOUR)]
    run_processes([Call(handle_with_files, job)] * FOUR)
    assert slack.lost


def test_the_vault_refreshes_each_token_once_for_all_processes(slack, identity, tmp_path, database):
    place = place_of(database, slack, identity)
    with vault_at(*place) as vault:
        store_of(vault).save(installation_of(slack))
    answers = run_processes(
        [Call(handle_with_the_vault, [place, str(tmp_path / "states"), meeting_in(tmp_path, FOUR)])] * FOUR
    )
    assert [status for status, _ in answers] == [200] * FOUR
    [(bot, user)] = {tuple(tokens) for _, seen in answers for tokens in seen}
    assert slack.outcomes == [ANSWERED] * 2
    assert {slack.provider.issued[digest("slack", token)].account for token in (bot, user)} == {"bot", "user"}


async def test_an_async_app_gets_tokens_that_are_refreshed_once(slack, identity):
    trusted = ssl.create_default_context(cafile=str(identity))
    async with (
        httpx2.AsyncClient(verify=trusted, trust_env=False) as http,
        memory_vault(refreshers=slack_refreshers(slack.url, http)) as vault,
    ):
        store = AsyncVaultInstallationStore(vault, tenant_of=tenant_of)
        await store.async_save(installation_of(slack))
        options = options_of(slack.url, identity)
        client = AsyncWebClient(base_url=options["client"].base_url, ssl=options["client"].ssl)
        oauth = AsyncOAuthSettings(client_id="client", client_secret="secret", installation_store=store)
        app = AsyncApp(installation_store=store, oauth_settings=oauth, **{**options, "client": client})
        seen = set()

        @app.event("message")
        async def listener(context):
            seen.add((context.bot_token, context.user_token))

        async def dispatch():
            headers = {"content-type": ["application/json"]}
            assert (await app.async_dispatch(AsyncBoltRequest(body=json.dumps(EVENT), headers=headers))).status == 200

        async with anyio.create_task_group() as events:
            for _ in range(FOUR):
                events.start_soon(dispatch)
    assert len(seen) == 1
    assert slack.outcomes == [ANSWERED] * 2


def test_an_app_is_installed_by_bolts_flow_and_works(slack, identity, tmp_path, database):
    place = place_of(database, slack, identity)
    with vault_at(*place) as vault:
        app = app_of(vault, slack.url, identity, tmp_path / "states")
        begun = app.oauth_flow.handle_installation(BoltRequest(body="", query={}, headers={}))
        cookie = begun.headers["set-cookie"][0].partition(";")[0]
        state = re.search(r"state=([\w-]+)", begun.body)[1]
        ended = app.oauth_flow.handle_callback(
            BoltRequest(body="", query={"code": "c", "state": state}, headers={"cookie": [cookie]})
        )
        assert ended.status == 200
        assert event_of(app)[0] == 200
        info = vault.get_account(BOT)
        assert (info.state, info.label, info.scopes) == ("connected", "Acme", ("chat:write", "commands"))
        assert vault.get_account(Account("tenant-1", "slack-user", f"{TEAM}:{USER}")).state == "connected"
    assert slack.outcomes == []


REVOKED = {"ok": False, "error": "token_revoked"}


@contextmanager
def revoking(identity):
    server = ScriptedProvider(lambda request: Answer(json=REVOKED), tls=tls_of(identity))
    try:
        yield server
    finally:
        server.close()
    server.check()


def asked(api, identity, *handlers):
    context = ssl.create_default_context(cafile=str(identity))
    return WebClient(base_url=f"{api.base_url}/api/", ssl=context, retry_handlers=list(handlers))


def test_a_token_that_slack_calls_revoked_is_reported(identity, monkeypatch):
    """Slack answers 200; the caller gets Slack's answer, nothing is sent again, and the account needs its user."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    clock = ManualClock()
    with (
        revoking(identity) as api,
        memory_sync_vault(refreshers=slack_refreshers(api.base_url, None), clock=clock) as vault,
    ):
        store = store_of(vault)
        store.save(Installation(team_id=TEAM, enterprise_id=ENTERPRISE, user_id=USER, bot_token="xoxb-1"))
        clients = [
            asked(api, identity, store.rejection_handler),
            asked(api, identity, RejectionHandler.of(vault, BOT)),
        ]
        for client in clients:
            clock.advance(timedelta(minutes=1))
            bot = store.find_bot(enterprise_id=ENTERPRISE, team_id=TEAM)
            assert bot.bot_token == "xoxb-1"
            with pytest.raises(SlackApiError, match="token_revoked"):
                client.chat_postMessage(channel="C1", text="hello", token="xoxb-of-another")
            with pytest.raises(SlackApiError, match="token_revoked"):
                client.chat_postMessage(channel="C1", text="hello", token=bot.bot_token)
        assert store.find_bot(enterprise_id=ENTERPRISE, team_id=TEAM) is None
        assert vault.get_account(BOT).state == "reauthorization_required"
        assert len(api.requests) == 4


async def test_an_async_client_reports_a_revoked_token_too(identity):
    clock = ManualClock()
    with revoking(identity) as api:
        async with memory_vault(refreshers=slack_refreshers(api.base_url, None), clock=clock) as vault:
            store = AsyncVaultInstallationStore(vault, tenant_of=tenant_of)
            await store.async_save(Installation(team_id=TEAM, user_id=USER, bot_token="xoxb-1"))
            context = ssl.create_default_context(cafile=str(identity))
            for handler in (store.rejection_handler, AsyncRejectionHandler.of(vault, BOT)):
                clock.advance(timedelta(minutes=1))
                bot = await store.async_find_bot(enterprise_id=None, team_id=TEAM)
                client = AsyncWebClient(
                    bot.bot_token, base_url=f"{api.base_url}/api/", ssl=context, retry_handlers=[handler]
                )
                with pytest.raises(SlackApiError, match="token_revoked"):
                    await client.chat_postMessage(channel="C1", text="hello")
            assert await store.async_find_bot(enterprise_id=None, team_id=TEAM) is None
            assert len(api.requests) == 2


def test_the_guides_app_listens_for_revocations(slack, identity, tmp_path, database):
    """Bolt deletes installations only if it is told to listen for the events."""
    place = place_of(database, slack, identity)
    with vault_at(*place) as vault:
        store_of(vault).save(installation_of(slack, ends_in=36_000))
        app = app_of(vault, slack.url, identity, tmp_path / "states")
        assert app.client.retry_handlers
        event = {**EVENT, "event": {"type": "app_uninstalled"}}
        request = BoltRequest(body=json.dumps(event), headers={"content-type": ["application/json"]})
        assert app.dispatch(request).status == 200
        assert vault.get_account(BOT) is None
