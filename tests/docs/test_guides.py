"""The guides' programs run: an account's life, a proxy, a private authority, probes, rights, Alembic's filter."""

import datetime as dt
import importlib.util
import ipaddress
import json
import ssl
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import httpx2
import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.adapters.connect.browser import REDIRECT_URI, Browser
from tests.support.scripted_provider import scripted_provider, token_answer

from vault_adapters import (
    Account,
    DecryptionError,
    KeyUnavailableError,
    ProviderConfigurationError,
    RefreshFailedError,
    StorageError,
    TokenSet,
    VaultConfig,
    generate_encryption_secret,
    open_vault,
)
from vault_adapters.connect import Connector
from vault_adapters.providers import OAuth2Refresher
from vault_adapters.testing import memory_vault
from vault_adapters.testing.openid import openid_provider

RECIPES = Path(__file__).parents[2] / "docs" / "how-to" / "recipes"
ACME = Account("tenant-1", "acme")


def recipe(name):
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def config(url="sqlite:///:memory:"):
    return VaultConfig(url, encryption_secret=generate_encryption_secret(), scrypt_log2_n=14)


async def test_an_account_is_followed_through_its_life():
    life = recipe("account_life")
    with openid_provider() as provider:
        refreshers = {"local": provider.refresher()}
        api = f"{provider.issuer}/userinfo"
        async with memory_vault(refreshers=refreshers) as vault:
            connector = Connector(vault, refreshers, redirect_uri=REDIRECT_URI)
            with pytest.raises(life.NotConnectedError):  # a tenant that never connected
                await life.call(vault, Account("tenant-1", "local", "user-1"), api, ["127.0.0.1"])
            account = None
            for _ in range(2):  # connected, and after a rejection connected again
                url = await life.connect(connector, "tenant-1", "local", "session", account)
                query = await Browser().visit(f"{url}&login_hint=ana%40example.com")
                account = (await life.connected(connector, "local", query, "session")).account
                answer = await life.call(vault, account, api, ["127.0.0.1"])
                assert (answer.status_code, answer.json()["email"]) == (200, "ana@example.com")
                credential = await vault.get_refresh_token(account)
                await vault.mark_token_invalid(credential, "invalid_grant")
                assert [info.account for info in await life.to_connect_again(vault, "tenant-1")] == [account]
            assert await life.disconnect(vault, account) is None  # the provider has no revocation endpoint
            with pytest.raises(life.NotConnectedError):
                await life.call(vault, account, api, ["127.0.0.1"])


async def refreshed(opening):
    async with opening as vault:
        await vault.store_token_set(ACME, TokenSet("old", "refresh", expires_in=3600))
        return (await vault.refresh_account(ACME)).value.reveal()


@pytest.mark.parametrize("error", [KeyUnavailableError, DecryptionError, StorageError, ProviderConfigurationError])
async def test_what_no_user_can_mend_is_an_outage_for_the_callers_of_the_api(error):
    class Failing:
        async def ensure_access_token(self, account):
            raise error(account=account)

    life = recipe("account_life")
    with pytest.raises(life.UnavailableError):
        await life.call(Failing(), ACME, "https://api.example/", ["api.example"])


async def test_a_token_request_goes_through_the_proxy():
    opened = recipe("proxied").opened
    with scripted_provider(token_answer(access_token="new")) as proxy:  # answers in the provider's place
        refreshers = {"acme": OAuth2Refresher("http://127.0.0.1:1/token", "client", "secret")}
        assert await refreshed(opened(config(), refreshers, proxy=proxy.base_url)) == "new"
        assert len(proxy.requests) == 1


def authority_and_server(folder):
    """Write a private authority's certificate, and the certificate and key of a server on loopback."""
    now = dt.datetime.now(dt.UTC)
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("an authority", "a server")]
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in names]
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key())
    use = dict.fromkeys(
        [
            *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("encipher_only", "decipher_only", "digital_signature", "key_cert_sign", "crl_sign"),
        ],
        False,
    )

    def certificate(which, *extensions):
        key = keys[which].public_key()
        builder = x509.CertificateBuilder(names[0], names[which], key, x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        for extension, critical in [*extensions, (x509.SubjectKeyIdentifier.from_public_key(key), False)]:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    constraints = x509.BasicConstraints(ca=True, path_length=0)
    usage = x509.KeyUsage(**{**use, "key_cert_sign": True})
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    (folder / "ca.pem").write_bytes(certificate(0, (constraints, True), (usage, True)))
    server = certificate(1, (address, False), (issuer, False))
    private = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(private + server)


class TokenEndpoint(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps({"access_token": "new", "token_type": "Bearer", "expires_in": 60}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def https_provider(certificate):
    server = ThreadingHTTPServer(("127.0.0.1", 0), TokenEndpoint)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}/token"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def test_a_private_authority_is_trusted_if_it_is_named(tmp_path):
    opened = recipe("proxied").opened
    authority_and_server(tmp_path)
    with https_provider(tmp_path / "server.pem") as url:
        refreshers = {"acme": OAuth2Refresher(url, "client", "secret")}
        assert await refreshed(opened(config(), refreshers, ca_file=str(tmp_path / "ca.pem"))) == "new"
        with pytest.raises(RefreshFailedError) as caught:
            await refreshed(opened(config(), refreshers))
        assert caught.value.reason == "tls"


async def test_probes_are_answered(monkeypatch, tmp_path):
    for name, value in {
        "DATABASE_URL": f"sqlite:///{tmp_path}/vault.db",
        "ENCRYPTION_SECRET": generate_encryption_secret(),
        "TOKEN_VAULT_SCRYPT_LOG2_N": "14",
    }.items():
        monkeypatch.setenv(name, value)
    name = "probes_fastapi"
    module = importlib.util.module_from_spec(importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py"))
    monkeypatch.setitem(sys.modules, name, module)  # FastAPI looks up annotations there
    module.__spec__.loader.exec_module(module)
    async with module.lifespan(module.app) as state:
        app = module.app

        async def with_state(scope, receive, send):
            await app({**scope, "state": dict(state)}, receive, send)

        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(with_state), base_url="http://host") as probe:
            assert (await probe.get("/livez")).status_code == 200
            ready = await probe.get("/readyz")
            assert (ready.status_code, set(ready.json().values())) == (200, {None})


def run_sql(url, script):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(script)


async def test_a_role_with_these_grants_creates_nothing_and_works(postgres):
    url = postgres.create_database("guide_grants")
    options = config(url)
    async with open_vault(options):
        pass
    run_sql(url, "DO $$ BEGIN CREATE ROLE app LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    run_sql(url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    run_sql(url, (RECIPES / "grants.sql").read_text())
    as_app = VaultConfig(
        url.replace("postgres@", "app@"), encryption_secret=options.encryption_secret, scrypt_log2_n=14
    )
    with scripted_provider(token_answer(access_token="new")) as provider:
        refreshers = {"acme": OAuth2Refresher(provider.token_url, "client", "secret")}
        assert await refreshed(open_vault(as_app, refreshers=refreshers, migrate=False)) == "new"
    async with open_vault(as_app, migrate=False) as vault:
        assert (await vault.ready()).ok
        assert [event.action.value for event in (await vault.audit_events(tenant_id="tenant-1")).items]
        await vault.erase_tenant("tenant-1")


def test_alembics_filter_leaves_the_vault_alone():
    module = recipe("alembic_filter")
    own, foreign = SimpleNamespace(schema=None), SimpleNamespace(schema="token_vault")
    assert module.include_object(own, "invoice", "table", True, None)
    assert not module.include_object(foreign, "token", "table", True, None)
    assert not module.include_object(SimpleNamespace(table=foreign), "token_pkey", "index", True, None)
    assert module.include_object(SimpleNamespace(table=own), "invoice_pkey", "index", True, None)
    assert not module.include_name("token_vault", "schema", {})
    assert module.include_name(None, "schema", {})
    assert module.include_name("token_vault", "table", {})
