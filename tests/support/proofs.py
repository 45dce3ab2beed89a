"""Checks DPoP proofs (RFC 9449 section 4.3) with a library of other authors, as a server does."""

import base64
import hashlib
import json
import time

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from vault_adapters.clients.proofs import SERVERS
from vault_adapters.providers import dpop

__all__ = ["checked_proof", "no_nonces"]


def checked_proof(request, url, *, access_token=None, nonce=None, ahead=0):
    """Return the claims of a request's proof and the thumbprint of its key; raise if the proof is not valid."""
    proof = request.headers["dpop"]
    token = jwt.decode(proof, _key_in(proof), algorithms=["ES256"])
    header = token.header
    assert header.keys() == {"typ", "alg", "jwk"}
    assert (header["typ"], header["alg"]) == ("dpop+jwt", "ES256")
    assert header["jwk"].keys() == {"kty", "crv", "x", "y"}  # above all no private part
    claims = token.claims
    assert (claims["htm"], claims["htu"]) == (request.method, url)
    assert abs(claims["iat"] - (time.time() - ahead)) < 5
    assert len(claims["jti"]) >= 20
    assert claims.get("nonce") == nonce
    hashed = None if access_token is None else _encoded(hashlib.sha256(access_token.encode()).digest())
    assert claims.get("ath") == hashed
    return claims, ECKey.import_key(header["jwk"]).thumbprint()


@pytest.fixture(autouse=True)
def no_nonces():
    """Forget what servers have told this process: a server of a test may get the port of an earlier one."""
    dpop._servers.clear()
    SERVERS._known.clear()


def _key_in(proof):
    header = proof.split(".")[0]
    return ECKey.import_key(json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["jwk"])


def _encoded(raw):
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
