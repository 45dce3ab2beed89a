"""A certified provider that requires, one after another, what strict authorization servers ask for.

PAR (RFC 9126), ``client_secret_jwt`` and ``private_key_jwt`` (RFC 7523), DPoP with nonces (RFC 9449), and clients with
certificates (RFC 8705). Each time: connect, refresh three times from four processes, revoke. The provider revokes a
grant whose refresh token comes twice.
"""

import asyncio
from contextlib import asynccontextmanager

import httpx2
import pytest
from joserfc.jwk import ECKey
from tests.acceptance.crowd import SECRET, wait_for
from tests.adapters.connect.browser import REDIRECT_URI
from tests.support.client_certificates import Certificates, make_certificates
from tests.support.openid_peer import openid_peer
from tests.support.processes import Call, start_processes

from vault_adapters import Account, TokenKind, VaultConfig, open_vault
from vault_adapters.clients.httpx2 import VaultAuth
from vault_adapters.connect import Connector
from vault_adapters.providers import SigningKey, openid

pytestmark = pytest.mark.processes

KEY = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256", "kid": "client-key"}, private=True)
ANN = Account("t1", "peer", "ann")
PROCESSES, ROUNDS = 4, 3
_TLS = ("tls_client_auth", "self_signed_tls_client_auth")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def plain_peer():
    with openid_peer(REDIRECT_URI, KEY.as_dict(private=False)) as running:
        yield running


@pytest.fixture(scope="module")
def tls_peer(certificates):
    with openid_peer(REDIRECT_URI, KEY.as_dict(private=False), certificates) as running:
        yield running


def described(kind, peer, certificates):
    """Return what a process needs to know of the client that must do ``kind``, as JSON."""
    client_id, options = {
        "pushed": (peer.pushing_client_id, {"client_secret": peer.client_secret}),
        "client_secret_jwt": (
            peer.secret_signing_client_id,
            {"client_secret": peer.signing_secret, "auth_method": "client_secret_jwt"},
        ),
        "private_key_jwt": (peer.signing_client_id, {"signing_key": KEY.as_dict(private=True)}),
        "dpop": (peer.bound_client_id, {"auth_method": "none", "dpop": True}),
        "tls_client_auth": (peer.certified_client_id, {"auth_method": "tls_client_auth"}),
        "self_signed_tls_client_auth": (peer.self_signed_client_id, {"auth_method": "self_signed_tls_client_auth"}),
    }[kind]
    file = {"tls_client_auth": certificates.certified, "self_signed_tls_client_auth": certificates.self_signed}
    return {
        "issuer": peer.issuer,
        "client_id": client_id,
        "options": options,
        "authority": str(certificates.authority),
        "certificate": str(file[kind]) if kind in file else None,
    }


@asynccontextmanager
async def provider_of(spec):
    """Yield the refresher of a described client, its HTTP client, and the provider's document."""
    tls = Certificates(spec["authority"], None, None, {}).context(spec["certificate"])
    async with httpx2.AsyncClient(verify=tls, trust_env=False) as client:
        document = (await client.get(f"{spec['issuer']}/.well-known/openid-configuration")).json()
        options = dict(spec["options"])
        if "signing_key" in options:
            options["signing_key"] = SigningKey.from_jwk(options["signing_key"])
        made = openid(
            *(spec["issuer"], spec["client_id"]), document=document, client=client, api_hosts=["127.0.0.1"], **options
        )
        yield made, client


def config_of(store):
    return VaultConfig(encryption_secret=SECRET, scrypt_log2_n=14, pool_size=2, **store)


async def ensure_in_rounds(store, spec, signals):
    """In each round, ask for the token from five tasks, and call an API with it; return (tokens, API's status)."""
    rounds = []
    async with provider_of(spec) as (made, client), open_vault(config_of(store), refreshers={"peer": made}) as vault:
        for number, signal in enumerate(signals):
            print(f"ready {number}", flush=True)
            await wait_for(signal)
            tokens = await asyncio.gather(*[vault.ensure_access_token(ANN) for _ in range(5)])
            answer = await client.get(made.profile.userinfo_url, auth=VaultAuth(vault, ANN))
            rounds.append([sorted({token.value.reveal() for token in tokens}), answer.status_code, answer.json()])
    return rounds


async def callback_of(start, authority):
    """Follow all redirects, with cookies, as a browser does; return the query that reaches the redirect URI."""
    tls, url = Certificates(authority, None, None, {}).context(), start.url
    async with httpx2.AsyncClient(verify=tls, trust_env=False) as browser:
        for _ in range(10):
            answer = await browser.get(url)
            assert answer.status_code in (302, 303), (answer.status_code, answer.text)
            url = str(answer.next_request.url)
            if url.startswith(REDIRECT_URI):
                return answer.next_request.url.query.decode()
    raise AssertionError("too many redirects")


async def expire(vault):
    """Let the access token be expired, without any key beside it: the one beside the refresh token counts."""
    key = ANN.key(TokenKind.ACCESS_TOKEN)
    token = await vault.get_token(key)
    await vault.store_token(key, token.value, expires_at=token.info.created_at)


@pytest.mark.parametrize("kind", ["pushed", "client_secret_jwt", "private_key_jwt", "dpop", *_TLS])
async def test_connecting_refreshing_from_four_processes_and_revoking(kind, store, certificates, tmp_path, request):
    peer = request.getfixturevalue("tls_peer" if kind in _TLS else "plain_peer")
    spec = described(kind, peer, certificates)
    signals = [str(tmp_path / f"round-{number}") for number in range(ROUNDS)]
    async with provider_of(spec) as (made, client), open_vault(config_of(store), refreshers={"peer": made}) as vault:
        connector = Connector(vault, {"peer": made}, redirect_uri=REDIRECT_URI)
        start = await connector.begin("t1", "peer", session="s", extra={"login_hint": "ann"})
        info = await connector.finish(await callback_of(start, certificates.authority), session="s")
        assert (info.account, info.label) == (ANN, "ann@example.com")
        before = (await client.get(f"{peer.issuer}/counts")).json()
        with start_processes([Call(ensure_in_rounds, [store, spec, signals]) for _ in range(PROCESSES)]) as group:
            group.go()
            for number in range(ROUNDS):
                for handle in group:
                    handle.wait_for_output(f"ready {number}", timeout=60)
                await expire(vault)
                (tmp_path / f"round-{number}").touch()
            results = group.results(timeout=120)
        after = (await client.get(f"{peer.issuer}/counts")).json()
        for number in range(ROUNDS):
            tokens = {token for result in results for token in result[number][0]}
            assert len(tokens) == 1
            assert [result[number][1:] for result in results] == [
                [200, {"sub": "ann", "email": "ann@example.com"}]
            ] * PROCESSES
        assert (after["refreshed"] - before["refreshed"], after["failed"] - before["failed"]) == (ROUNDS, 0)
        deletion = await vault.delete_account(ANN, revoke=True)
        assert (deletion.revoked, deletion.deleted) == (True, 2)
