"""Sessions of Authlib and requests-oauthlib: by themselves they lose a grant, with the vault they do not.

Four processes meet a token that has expired, at a provider that revokes a grant whose refresh token comes twice.
"""

import importlib
import json
import time
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from tests.adapters.clients.strict_api import (
    ACCOUNT,
    LOOPBACK,
    Place,
    meet,
    meeting_in,
    minute_ago,
    strict_api,
    with_recipes,
)
from tests.support.processes import Call, run_processes
from tests.support.strict_provider import ANSWERED

from vault_adapters import TokenSet
from vault_adapters.testing import memory_vault

pytestmark = pytest.mark.peers

FOUR = 4
LIBRARIES = ["authlib", "requests_oauthlib"]


@pytest.fixture
def api():
    with strict_api() as running:
        yield running


@pytest.fixture
def place(tmp_path, api):
    return Place.in_file(tmp_path / "vault.db", api)


@pytest.fixture(autouse=True)
def loopback(monkeypatch):
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with_recipes()


def hooked_session(library, file, token_url):
    """Return a session that refreshes by itself, and keeps its token in a file that all processes share."""
    path = Path(file)
    token = json.loads(path.read_text())

    def keep(token, **_):
        path.write_text(json.dumps(token))

    if library == "authlib":
        from authlib.integrations.requests_client import OAuth2Session

        return OAuth2Session("client", "secret", token=token, token_endpoint=token_url, update_token=keep)
    from requests_oauthlib import OAuth2Session

    return OAuth2Session("client", token=token, auto_refresh_url=token_url, token_updater=keep)


def call_with_the_hook(library, file, token_url, url, meeting):
    with hooked_session(library, file, token_url) as session:
        meet(meeting)
        try:
            return session.get(f"{url}/api").status_code
        except Exception as error:
            return type(error).__name__


def session_of(library, vault):
    recipe = importlib.import_module(f"with_{library}")
    make = recipe.VaultSession if library == "authlib" else recipe.session_of
    return make(vault, ACCOUNT, hosts=LOOPBACK)


def call_with_the_vault(library, facts, url, meeting):
    with Place(*facts).open() as vault, session_of(library, vault) as session:
        meet(meeting)
        return session.get(f"{url}/api").status_code


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_librarys_own_hook_loses_the_grant(library, api, tmp_path):
    """The warning of the guide is true: each process presents the refresh token that it has read."""
    access, refresh = api.provider.consent("ann")
    file = tmp_path / "token.json"
    expired = {"expires_in": -10, "expires_at": time.time() - 10}
    file.write_text(json.dumps({"access_token": access, "refresh_token": refresh, "token_type": "Bearer", **expired}))
    job = Call(call_with_the_hook, [library, str(file), api.token_url, api.url, meeting_in(tmp_path, FOUR)])
    answers = run_processes([job] * FOUR)
    assert api.lost
    assert answers != [200] * FOUR
    assert call_with_the_hook(library, str(file), api.token_url, api.url, None) != 200


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_vault_refreshes_once_for_all_sessions(library, api, place, tmp_path):
    place.connect(api.provider.consent("ann"), expires_in=1)
    job = Call(call_with_the_vault, [library, place.facts(), api.url, meeting_in(tmp_path, FOUR)])
    assert run_processes([job] * FOUR) == [200] * FOUR
    assert api.outcomes == [ANSWERED]


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_refused_token_is_reported_and_refreshed_once(library, api, place, tmp_path):
    pair = api.provider.consent("ann")
    place.connect(pair)
    api.end(pair[0])
    job = Call(call_with_the_vault, [library, place.facts(), api.url, meeting_in(tmp_path, FOUR)])
    assert run_processes([job] * FOUR) == [200] * FOUR
    assert api.outcomes == [ANSWERED]


async def test_authlibs_async_client(api):
    with_recipes()
    from with_authlib import VaultClient

    pair = api.provider.consent("ann")
    api.end(pair[0])
    clock = minute_ago()
    async with memory_vault(refreshers=api.refreshers(), clock=clock) as vault:
        await vault.store_token_set(ACCOUNT, TokenSet(*pair, expires_in=3600))
        clock.advance(timedelta(minutes=1))
        async with (
            VaultClient(vault, ACCOUNT, hosts=LOOPBACK, trust_env=False) as client,
            anyio.create_task_group() as all_,
        ):
            for _ in range(FOUR):
                all_.start_soon(_check, client, api.url)
    assert api.outcomes == [ANSWERED]


async def _check(client, url):
    assert (await client.get(f"{url}/api")).status_code == 200
    async with client.stream("GET", f"{url}/api") as response:
        assert response.status_code == 200
    assert (await client.request("GET", f"{url}/api", withhold_token=True)).status_code == 401
