"""Tokens that no header can carry: each client refuses them, and no error shows them."""

import google.auth.transport.requests
import httpx
import httpx2
import pytest
import requests
from tests.adapters.clients.small_vault import ACCOUNT, LOOPBACK, AsyncListedVault, ListedVault

from vault_adapters import VaultError
from vault_adapters.clients.google import VaultCredentials
from vault_adapters.clients.httpx import VaultAuth as HttpxVaultAuth
from vault_adapters.clients.httpx2 import VaultAuth as Httpx2VaultAuth
from vault_adapters.clients.requests import VaultAuth as RequestsVaultAuth

CANARY = "canary-5c1f"
UNSENDABLE = {
    "a line break": f"{CANARY}\r\nX-Admin: 1",
    "a trailing line break": f"{CANARY}\n",
    "NUL": f"{CANARY}\0",
    "a space": f"{CANARY} and more",
    "a leading tab": f"\t{CANARY}",
    "DEL": f"{CANARY}\x7f",
    "a comma": f"{CANARY},Basic",
    "a quote": f'{CANARY}"',
    "padding in the middle": f"{CANARY}=a",
    "Latin-1": f"{CANARY}\xe9",
    "an emoji": f"{CANARY}\U0001f511",
    "nothing": "",
}


def ask_httpx(library, auth):
    def ask(url, *texts):
        with library.Client(auth=auth(ListedVault(*texts), ACCOUNT, hosts=LOOPBACK)) as client:
            return client.get(url).status_code

    return ask


def ask_requests(url, *texts):
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, auth=RequestsVaultAuth(ListedVault(*texts), ACCOUNT, hosts=LOOPBACK)).status_code


def ask_google(url, *texts):
    with google.auth.transport.requests.AuthorizedSession(
        VaultCredentials(ListedVault(*texts), ACCOUNT, hosts=LOOPBACK)
    ) as session:
        session.trust_env = False
        return session.get(url).status_code


ASKING = {
    "httpx": ask_httpx(httpx, HttpxVaultAuth),
    "httpx2": ask_httpx(httpx2, Httpx2VaultAuth),
    "requests": ask_requests,
    "google": ask_google,
}


@pytest.fixture(params=ASKING)
def ask(request):
    return ASKING[request.param]


@pytest.fixture(params=UNSENDABLE)
def text(request):
    return UNSENDABLE[request.param]


def refused(ask, *arguments):
    with pytest.raises(VaultError) as caught:
        ask(*arguments)
    error = caught.value
    assert error.code == "token_not_sendable"
    assert error.account == ACCOUNT
    return error


def test_it_is_refused_and_nothing_is_sent(ask, text, api):
    error = refused(ask, api.resource_url, text)
    assert CANARY not in str(error)
    assert api.requests == []


def test_the_next_token_is_checked_too(ask, text, api):
    refused(ask, api.resource_url, "old", text)
    assert len(api.requests) == 1


@pytest.mark.parametrize("texts", [(UNSENDABLE["a line break"],), ("old", UNSENDABLE["a line break"])])
async def test_no_frame_of_the_vault_shows_it(texts, api):
    async with httpx2.AsyncClient(auth=Httpx2VaultAuth(AsyncListedVault(*texts), ACCOUNT, hosts=LOOPBACK)) as client:
        with pytest.raises(VaultError) as caught:
            await client.get(api.resource_url)
    error = caught.value
    assert error.__context__ is None
    frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_globals["__name__"].startswith("vault_"):
            assert CANARY not in repr(frame.tb_frame.f_locals)
        frame = frame.tb_next


@pytest.mark.parametrize("text", ["00D5!AQ4.x", "123|app-secret", "a:b", "v^1.1#i^1", "ya29.a0~_-/+=="])
def test_what_providers_really_issue_is_sent(ask, text, api):
    assert ask(api.resource_url, text, "good") == 200
    assert api.requests[0].headers["authorization"] == f"Bearer {text}"
