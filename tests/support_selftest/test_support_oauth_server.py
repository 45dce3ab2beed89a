import base64
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import pytest
from tests.support.oauth_server import OAuthServer, start_oauth_server
from tests.support.processes import import_environment

pytestmark = pytest.mark.tools

AWKWARD_SECRET = "se:cr%et+/ é"


@pytest.fixture(scope="module")
def server() -> Iterator[OAuthServer]:
    with start_oauth_server(client_secret=AWKWARD_SECRET) as server:
        yield server


def post(url: str, form: dict[str, str], client: tuple[str, str]) -> tuple[int, dict[str, Any]]:
    parts = urlsplit(url)
    credentials = ":".join(quote_plus(part) for part in client)
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}",
    }
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    try:
        connection.request("POST", parts.path, urlencode(form), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"{}")
    finally:
        connection.close()


def refresh(server: OAuthServer, refresh_token: str) -> tuple[int, dict[str, Any]]:
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    return post(server.token_url, form, (server.client_id, server.client_secret))


def resource(server: OAuthServer, access_token: str) -> tuple[int, dict[str, Any]]:
    parts = urlsplit(server.resource_url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    try:
        connection.request("GET", parts.path, headers={"Authorization": f"Bearer {access_token}"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_issued_tokens_belong_to_their_accounts(server: OAuthServer) -> None:
    for pair in server.issue(3) + server.issue(2):
        assert resource(server, pair.access_token) == (200, {"account": pair.account})


def test_a_refresh_replaces_both_tokens(server: OAuthServer) -> None:
    (pair,) = server.issue(1)
    status, answer = refresh(server, pair.refresh_token)
    assert status == 200
    assert answer["expires_in"] == 3600
    assert answer["scope"] == "read write"
    assert answer["refresh_token"] != pair.refresh_token
    assert resource(server, answer["access_token"]) == (200, {"account": pair.account})
    assert resource(server, pair.access_token)[0] == 401


def test_reuse_revokes_the_whole_family(server: OAuthServer) -> None:
    (pair,) = server.issue(1)
    before = server.stats()
    _, answer = refresh(server, pair.refresh_token)
    assert refresh(server, pair.refresh_token) == (400, {"error": "invalid_grant"})
    assert refresh(server, answer["refresh_token"])[0] == 400
    assert resource(server, answer["access_token"])[0] == 401
    after = server.stats()
    assert after.token_requests - before.token_requests == 3
    assert after.refreshes - before.refreshes == 1
    assert after.invalid_grants - before.invalid_grants == 2
    assert after.live_refresh_tokens == before.live_refresh_tokens - 1
    assert after.most_presented >= 2


def test_of_many_at_once_one_wins(server: OAuthServer) -> None:
    (pair,) = server.issue(1)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: refresh(server, pair.refresh_token)[0], range(8)))
    assert sorted(answers) == [200, *[400] * 7]


def test_a_wrong_secret_is_invalid_client(server: OAuthServer) -> None:
    (pair,) = server.issue(1)
    before = server.stats()
    form = {"grant_type": "refresh_token", "refresh_token": pair.refresh_token}
    status, answer = post(server.token_url, form, (server.client_id, "wrong"))
    assert (status, answer["error"]) == (401, "invalid_client")
    assert server.stats().other_errors == before.other_errors + 1
    assert refresh(server, pair.refresh_token)[0] == 200


def test_revocation_ends_the_account(server: OAuthServer) -> None:
    (pair,) = server.issue(1)
    before = server.stats().revocations
    client = (server.client_id, server.client_secret)
    assert post(server.revocation_url, {"token": pair.refresh_token}, client)[0] == 200
    assert server.stats().revocations == before + 1
    assert resource(server, pair.access_token)[0] == 401
    assert refresh(server, pair.refresh_token)[0] == 400


def test_client_credentials(server: OAuthServer) -> None:
    client = (server.machine_client_id, server.machine_client_secret)
    status, answer = post(server.token_url, {"grant_type": "client_credentials", "scope": "read"}, client)
    assert status == 200
    assert "refresh_token" not in answer
    assert resource(server, answer["access_token"]) == (200, {"account": None})


def test_access_tokens_can_be_expired(server: OAuthServer) -> None:
    (pair,) = server.issue(1)
    assert server.expire_access_tokens() >= 1
    assert resource(server, pair.access_token)[0] == 401
    assert refresh(server, pair.refresh_token)[0] == 200


def test_within_the_grace_period_the_same_pair_comes_again() -> None:
    with start_oauth_server(grace_seconds=60, access_token_seconds=5) as server:
        (pair,) = server.issue(1)
        first, second = refresh(server, pair.refresh_token), refresh(server, pair.refresh_token)
        assert first[1]["expires_in"] == 5
        assert first[1]["refresh_token"] == second[1]["refresh_token"]
        assert first[1]["access_token"] == second[1]["access_token"]
        stats = server.stats()
        assert (stats.refreshes, stats.replays, stats.live_refresh_tokens) == (2, 1, 1)


def test_without_rotation_the_refresh_token_stays() -> None:
    with start_oauth_server(rotation=False, latency_seconds=0.2) as server:
        (pair,) = server.issue(1)
        started = time.monotonic()
        for _ in range(2):
            assert refresh(server, pair.refresh_token)[1]["refresh_token"] == pair.refresh_token
        assert time.monotonic() - started >= 0.4
        assert server.stats().replays == 0


_HOLDER = """
import time
from tests.support.oauth_server import start_oauth_server
with start_oauth_server() as server:
    print(server.base_url, flush=True)
    time.sleep(60)
"""


def test_the_server_ends_with_a_killed_test_process() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER], stdout=subprocess.PIPE, text=True, env=import_environment()
    ) as holder:
        assert holder.stdout is not None
        address = urlsplit(holder.stdout.readline().strip())
        os.kill(holder.pid, signal.SIGKILL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection(address.netloc, timeout=5)
        try:
            connection.request("GET", "/api/me")
            connection.getresponse().read()
        except (ConnectionError, http.client.HTTPException):
            return
        finally:
            connection.close()
        time.sleep(0.05)
    pytest.fail("the server outlived the process that started it")
