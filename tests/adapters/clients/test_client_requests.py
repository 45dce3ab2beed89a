"""`VaultAuth` for requests."""

import io

import pytest
import requests
from tests.adapters.clients.small_vault import ACCOUNT, LOOPBACK, ListedVault, SmallSyncVault
from tests.support.scripted_provider import Answer, redirect_answer, scripted_provider

from vault_adapters.clients.requests import VaultAuth
from vault_domain.entities.errors import ReauthorizationRequiredError


@pytest.fixture
def session():
    with requests.Session() as opened:
        opened.trust_env = False
        yield opened


def test_a_good_token_is_sent(session, server, pair):
    vault = SmallSyncVault(server, pair)
    response = session.get(server.resource_url, auth=VaultAuth(vault, ACCOUNT, hosts=LOOPBACK))
    assert response.status_code == 200
    assert pair.account in response.text
    assert vault.reported == []


def test_a_refused_token_is_reported_and_the_next_one_is_tried(session, server, stale_pair):
    vault = SmallSyncVault(server, stale_pair)
    old = vault.held
    session.auth = VaultAuth(vault, ACCOUNT, hosts=LOOPBACK)
    response = session.get(server.resource_url)
    assert response.status_code == 200
    assert [earlier.status_code for earlier in response.history] == [401]
    assert vault.reported == [old]
    assert session.get(server.resource_url).status_code == 200
    assert len(vault.reported) == 1


def test_two_refusals_are_the_callers(session, api):
    vault = ListedVault("old", "older")
    response = session.get(api.resource_url, auth=VaultAuth(vault, ACCOUNT, hosts=LOOPBACK))
    assert response.status_code == 401
    assert vault.reported == ["old"]
    assert len(api.requests) == 2


def test_the_vaults_error_reaches_the_caller(session, api):
    with pytest.raises(ReauthorizationRequiredError):
        session.get(api.resource_url, auth=VaultAuth(ListedVault("old"), ACCOUNT, hosts=LOOPBACK))


@pytest.mark.parametrize("body", [{"data": b"whole"}, {"data": {"a": "1"}}, {"json": {"a": 1}}, {}])
def test_a_whole_body_is_sent_again(session, api, body):
    response = session.post(
        api.resource_url, auth=VaultAuth(ListedVault("old", "good"), ACCOUNT, hosts=LOOPBACK), **body
    )
    assert response.status_code == 200
    first, second = api.requests
    assert first.body == second.body


@pytest.mark.parametrize("body", [lambda: iter([b"once"]), lambda: io.BytesIO(b"once")])
def test_a_streamed_body_is_not_sent_again(session, api, body):
    vault = ListedVault("old", "good")
    response = session.post(api.resource_url, data=body(), auth=VaultAuth(vault, ACCOUNT, hosts=LOOPBACK))
    assert (response.status_code, response.text) == (401, "who are you?")
    assert vault.reported == ["old"]
    assert len(api.requests) == 1


def test_what_counts_as_refused_is_for_the_host_to_say(session):
    vault = ListedVault("old", "good")
    with scripted_provider(Answer(status=403)) as api:
        auth = VaultAuth(vault, ACCOUNT, hosts=LOOPBACK, rejected=lambda response: response.status_code == 403)
        assert session.get(api.resource_url, auth=auth).status_code == 403
    assert vault.reported == ["old"]


def test_another_host_never_sees_the_token_and_cannot_have_it_reported(session, api):
    vault = ListedVault("good", "next")
    with scripted_provider(redirect_answer(api.resource_url)) as first:
        response = session.get(first.resource_url, auth=VaultAuth(vault, ACCOUNT, hosts=LOOPBACK))
        assert first.requests[0].headers["authorization"] == "Bearer good"
    assert response.status_code == 401
    assert "authorization" not in api.requests[0].headers
    assert vault.reported == []


def test_a_streamed_answer_can_be_read(session, api):
    auth = VaultAuth(ListedVault("old", "good"), ACCOUNT, hosts=LOOPBACK)
    with session.get(api.resource_url, auth=auth, stream=True) as response:
        assert response.status_code == 200
        assert response.json() == {"body": ""}
