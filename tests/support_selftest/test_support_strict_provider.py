"""The strict provider: single use, families, and faults that deliver or lose an answer."""

import http.client
import json
import socket
from urllib.parse import urlencode, urlsplit

import pytest
from tests.support.strict_provider import (
    ANSWERED,
    FAULTS_THAT_DELIVER,
    FAULTS_THAT_LOSE,
    REUSED,
    REVOKED,
    UNKNOWN,
    digest,
    strict_provider,
)

pytestmark = pytest.mark.tools


def post(url, **form):
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", parts.path, urlencode(form), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def raw(url, **form):
    """Return all bytes that come until the connection ends, however it ends."""
    parts, body = urlsplit(url), urlencode(form)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    received = b""
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall((head + body).encode())
        try:
            while piece := connection.recv(65536):
                received += piece
        except ConnectionResetError:
            pass
    return received


def test_a_refresh_token_is_taken_once_and_then_costs_the_family():
    with strict_provider("salt") as (provider, url):
        first = provider.consent("t0/a")[1]
        status, answer = post(f"{url}/token", refresh_token=first, sender="w0.0")
        assert status == 200
        assert provider.is_live(digest("salt", answer["refresh_token"]))
        assert not provider.is_live(digest("salt", first))
        assert post(f"{url}/token", refresh_token=first, sender="w1.0") == (400, {"error": "invalid_grant"})
        assert not provider.is_live(digest("salt", answer["refresh_token"]))
        assert post(f"{url}/token", refresh_token=answer["refresh_token"])[0] == 400
        assert post(f"{url}/token", refresh_token="of nobody")[0] == 400
        seen = [(each.outcome, each.sender) for each in provider.presented]
        assert seen == [(ANSWERED, "w0.0"), (REUSED, "w1.0"), (REVOKED, "?"), (UNKNOWN, "?")]


def test_a_new_consent_is_a_family_of_its_own():
    with strict_provider("salt") as (provider, url):
        old = provider.consent("t0/a")[1]
        new = post(f"{url}/consent", account="t0/a")[1]["refresh_token"]
        post(f"{url}/token", refresh_token=old)
        post(f"{url}/token", refresh_token=old)
        assert provider.is_live(digest("salt", new))
        assert {each.family for each in provider.issued.values()} == {1, 2}


@pytest.mark.parametrize("fault", FAULTS_THAT_DELIVER)
def test_a_fault_that_delivers_sends_the_whole_json(fault):
    with strict_provider("salt") as (provider, url):
        token = provider.consent("t0/a")[1]
        provider.weather(fault)
        body = raw(f"{url}/token", refresh_token=token)
        assert body[body.index(b"{") : body.rindex(b"}") + 1]
        assert provider.is_live(
            digest("salt", json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])["refresh_token"])
        )
        assert provider.presented[0].delivered


@pytest.mark.parametrize("fault", FAULTS_THAT_LOSE)
def test_a_fault_that_loses_spends_the_token(fault):
    with strict_provider("salt") as (provider, url):
        token = provider.consent("t0/a")[1]
        provider.weather(fault)
        assert b"}" not in raw(f"{url}/token", refresh_token=token)
        assert not provider.is_live(digest("salt", token))
        assert not provider.presented[0].delivered


def test_an_unavailable_provider_spends_nothing():
    with strict_provider("salt") as (provider, url):
        token = provider.consent("t0/a")[1]
        provider.weather("unavailable")
        assert post(f"{url}/token", refresh_token=token)[0] == 503
        assert provider.is_live(digest("salt", token))
