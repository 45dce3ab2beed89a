"""Clients that authenticate by a certificate (RFC 8705), with an HTTP client of the host."""

import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl

import httpx
import httpx2
import pytest
from tests.adapters.providers.asking import failure, refreshed
from tests.support.client_certificates import make_certificates

from vault_adapters import ConfigurationError, InvalidInputError, RefreshFailedError
from vault_adapters.providers import OAuth2Refresher, SigningKey, openid

METHODS = ["tls_client_auth", "self_signed_tls_client_auth"]


class TokenEndpoint(BaseHTTPRequestHandler):
    """Notes who asks, by the certificate, and what is sent."""

    def do_POST(self):
        form = dict(parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
        subject = dict(pair for part in self.connection.getpeercert()["subject"] for pair in part)
        self.server.seen.append((subject["commonName"], form, self.headers.get("authorization")))
        body = json.dumps({"access_token": "new", "token_type": "Bearer", "expires_in": 60}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def server(certificates, tmp_path):
    """A server that lets nobody in who has no certificate of the authority, or the known one."""
    (tmp_path / "server.pem").write_text(certificates.for_server["key"] + certificates.for_server["cert"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    context.load_verify_locations(cadata="".join(certificates.for_server["ca"]))
    context.verify_mode = ssl.CERT_REQUIRED
    with ThreadingHTTPServer(("127.0.0.1", 0), TokenEndpoint) as running:
        running.seen = []
        running.socket = context.wrap_socket(running.socket, server_side=True)
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def made(server, client, method="tls_client_auth", **more):
    url = f"https://127.0.0.1:{server.server_port}/token"
    return OAuth2Refresher(url, "client-1", auth_method=method, client=client, **more)


@pytest.mark.parametrize("library", [httpx2, httpx])
@pytest.mark.parametrize("method", METHODS)
async def test_the_certificate_authenticates_and_only_the_client_id_is_sent(server, certificates, library, method):
    file = certificates.certified if method == "tls_client_auth" else certificates.self_signed
    async with library.AsyncClient(verify=certificates.context(file), trust_env=False) as client:
        tokens = await refreshed(made(server, client, method))
    assert tokens.access_token.reveal() == "new"
    form = {"grant_type": "refresh_token", "refresh_token": "refresh-1", "client_id": "client-1"}
    assert server.seen == [("certified" if method == "tls_client_auth" else "own", form, None)]


async def test_a_server_lets_in_nobody_without_a_certificate(server, certificates):
    async with httpx2.AsyncClient(verify=certificates.context(), trust_env=False) as client:
        error = await failure(made(server, client))
    # With TLS 1.3, the server refuses a client after the request has left, so nobody can know that it was not read.
    assert (type(error), error.outcome_unknown) == (RefreshFailedError, True)
    assert error.reason in ("tls", "connection_lost")
    assert server.seen == []


@pytest.mark.parametrize("method", METHODS)
def test_a_client_with_a_certificate_has_nothing_else_and_needs_an_http_client(method):
    url, client = "https://id.example.com/token", httpx2.AsyncClient()
    for given in ({}, {"client": client, "client_secret": "canary"}, {"client": client, "signing_key": KEY}):
        with pytest.raises(InvalidInputError) as caught:
            OAuth2Refresher(url, "client-1", auth_method=method, **given)
        assert "canary" not in str(caught.value)
    assert OAuth2Refresher(url, "client-1", auth_method=method, client=client).client_secret is None


KEY = SigningKey.from_signer(lambda content: b"", algorithm="ES256")
DOCUMENT = {
    "issuer": "https://id.example.com",
    "token_endpoint": "https://id.example.com/token",
    "authorization_endpoint": "https://id.example.com/auth",
    "jwks_uri": "https://id.example.com/jwks",
    "userinfo_endpoint": "https://id.example.com/me",
    "token_endpoint_auth_methods_supported": METHODS,
    "mtls_endpoint_aliases": {
        "token_endpoint": "https://mtls.id.example.com/token",
        "authorization_endpoint": "https://mtls.id.example.com/auth",
        "issuer": "https://evil.example.com",
    },
}


def test_an_openid_provider_names_the_endpoints_for_clients_with_certificates():
    made = openid("https://id.example.com", "c", document=DOCUMENT, client=httpx2.AsyncClient(), auth_method=METHODS[0])
    profile = made.profile
    assert (made.token_url, profile.userinfo_url) == ("https://mtls.id.example.com/token", "https://id.example.com/me")
    assert (profile.authorization_url, profile.issuer) == ("https://id.example.com/auth", "https://id.example.com")
    with pytest.raises(ConfigurationError):  # the method is never chosen by itself
        openid("https://id.example.com", "c", "secret", document=DOCUMENT)
    broken = {**DOCUMENT, "mtls_endpoint_aliases": {"token_endpoint": "http://evil.example.com"}}
    with pytest.raises(ConfigurationError):
        openid("https://id.example.com", "c", document=broken, client=httpx2.AsyncClient(), auth_method=METHODS[0])
