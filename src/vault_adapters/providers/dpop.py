"""DPoP (RFC 9449): keys of accounts, proofs that a request comes from a key's holder, and the nonces of servers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import secrets
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TypeAlias, TypeVar
from urllib.parse import urlsplit

from attrs import evolve, field, frozen
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from vault_adapters.providers.answers import json_object
from vault_adapters.providers.expiry import clock_skew
from vault_adapters.providers.http import Incoming, Outgoing
from vault_domain.entities.extra import as_extra
from vault_domain.entities.secret import Secret
from vault_domain.entities.token_set import TokenSet

A = TypeVar("A")
Prove: TypeAlias = Callable[[Outgoing], Outgoing]

UNBOUND = "the provider gave an access token that is not bound to the account's key, although DPoP was asked for"

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of the curve P-256
_BYTES = 32
_NONCE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,1024}\Z")
_LEAST_SKEW = timedelta(seconds=5)
_MOST_SKEW = timedelta(days=1)
_MOST_SERVERS = 256


def new_key(seed: bytes | None = None) -> Secret:
    """Return a private key for ES256: the number of RFC 7518's ``d``, in base64url; of ``seed``, or a random one.

    Args:
        seed: a secret of 256 bits or more, of which always the same key is made.
    """
    # 512 bits, so that the remainder prefers no number (FIPS 186-5, A.2.1).
    wide = hashlib.sha512(b"dpop\0" + seed).digest() if seed is not None else secrets.token_bytes(2 * _BYTES)
    return Secret(_encoded((int.from_bytes(wide, "big") % (_ORDER - 1) + 1).to_bytes(_BYTES, "big")))


def thumbprint(key: Secret) -> str:
    """Return the thumbprint of the public key (RFC 7638), the ``dpop_jkt`` of an authorization request."""
    return _encoded(hashlib.sha256(_json(_public(_private(key)))).digest())


def proof(
    key: Secret,
    method: str,
    url: str,
    *,
    access_token: Secret | None = None,
    nonce: str | None = None,
    ahead: timedelta = timedelta(0),
) -> str:
    """Return the value of the header ``DPoP`` (RFC 9449 section 4.2); see `Prover`."""
    private = _private(key)
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": _public(private)}
    claims: dict[str, object] = {
        "jti": secrets.token_urlsafe(24),
        "htm": method,
        "htu": _without_query(url),
        "iat": int(time.time() - ahead.total_seconds()),
    }
    if access_token is not None:
        claims["ath"] = _encoded(hashlib.sha256(access_token.reveal().encode()).digest())
    if nonce is not None:
        claims["nonce"] = nonce
    content = f"{_encoded(_json(header))}.{_encoded(_json(claims))}"
    r, s = decode_dss_signature(private.sign(content.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{content}.{_encoded(r.to_bytes(_BYTES, 'big') + s.to_bytes(_BYTES, 'big'))}"


class DpopProver:
    """Makes proofs; see `Prover`."""

    def prove(
        self,
        key: Secret,
        method: str,
        url: str,
        *,
        access_token: Secret | None = None,
        nonce: str | None = None,
        ahead: timedelta = timedelta(0),
    ) -> str:
        """Return the value of the header ``DPoP`` for one request."""
        return proof(key, method, url, access_token=access_token, nonce=nonce, ahead=ahead)


async def proved(
    key: Secret | None, send: Callable[[Prove, timedelta], Awaitable[A]], access_token: Secret | None = None
) -> A:
    """Send a request with a proof; send it once more if the server refuses the proof for want of its nonce or time.

    The server checks the proof first (RFC 9449 section 5), so a request that it refuses in this way has no effect: it
    spends no code and no refresh token.

    Args:
        key: the private key; None: the request is sent without a proof.
        send: makes a request anew, applies the given function to it, and sends it; its second argument is the time
            that has passed since the first call.
        access_token: the access token that the request carries, or None.
    """
    if key is None:
        return await send(lambda outgoing: outgoing, timedelta(0))
    clock = asyncio.get_running_loop().time
    began, proofs = clock(), _Proofs(key, access_token)
    answer = await send(proofs.added, timedelta(0))
    if isinstance(answer, Incoming) and proofs.has_learned(answer):
        answer = await send(proofs.added, timedelta(seconds=clock() - began))
        if isinstance(answer, Incoming):
            proofs.has_learned(answer)
    return answer


def with_key(token_set: TokenSet, key: Secret | None) -> TokenSet:
    """Return a token set that the vault stores with this key; unchanged if there is none."""
    return token_set if key is None else evolve(token_set, extra=as_extra(token_set.extra).proved_by(key))


def is_bound(token_set: TokenSet) -> bool:
    """Return whether the access token works only with proofs (RFC 9449 section 5)."""
    return token_set.token_type.lower() == "dpop"


def usable_nonce(value: str | None) -> str | None:
    """Return the nonce in a header ``DPoP-Nonce``; None for a text that is no nonce."""
    return value if value is not None and _NONCE.match(value) else None


@frozen
class _Server:
    """What a server has told of its proofs: its last nonce, and by how much the local clock is ahead of its."""

    nonce: str | None = None
    ahead: timedelta = timedelta(0)


# What servers have told this process, by origin. A nonce is no secret, and is of no key (RFC 9449 section 8.2).
_servers: dict[str, _Server] = {}
_lock = threading.Lock()


@frozen
class _Proofs:
    """The proofs of one request and of its repetition."""

    key: Secret
    access_token: Secret | None
    _used: dict[str, _Server] = field(factory=dict, init=False)

    def added(self, outgoing: Outgoing) -> Outgoing:
        """Return the request with a proof."""
        origin = _origin(outgoing.url)
        with _lock:
            server = _servers.get(origin, _Server())
        self._used.clear()
        self._used[origin] = server
        header = proof(
            *(self.key, outgoing.method, outgoing.url),
            access_token=self.access_token,
            nonce=server.nonce,
            ahead=server.ahead,
        )
        return evolve(outgoing, headers={**outgoing.headers, "DPoP": header})

    def has_learned(self, answer: Incoming) -> bool:
        """Remember what an answer tells of the server; return whether another proof may be accepted."""
        ((origin, used),) = self._used.items()
        server = evolve(used, nonce=usable_nonce(answer.headers.get("dpop-nonce")) or used.nonce)
        code = _refusal(answer)
        if code == "invalid_dpop_proof":
            ahead = clock_skew(answer.headers, answer.received_at)
            if ahead is not None and abs(ahead) <= _MOST_SKEW and abs(ahead - used.ahead) >= _LEAST_SKEW:
                server = evolve(server, ahead=ahead)
        if server != used:
            _remember(origin, server)
        return code is not None and server != used


def _refusal(answer: Incoming) -> str | None:
    """Return the code with which a server refuses a proof; None if it does not."""
    if answer.status not in (400, 401):
        return None
    code = (json_object(answer.body) or {}).get("error") or answer.headers.get("www-authenticate", "")
    return next((name for name in ("use_dpop_nonce", "invalid_dpop_proof") if name in str(code)), None)


def _remember(origin: str, server: _Server) -> None:
    with _lock:
        _servers.pop(origin, None)
        _servers[origin] = server
        while len(_servers) > _MOST_SERVERS:
            _servers.pop(next(iter(_servers)))


def _private(key: Secret) -> ec.EllipticCurvePrivateKey:
    # No name holds the number, because tracebacks may show it.
    return ec.derive_private_key(int.from_bytes(_decoded(key.reveal()), "big"), ec.SECP256R1())


def _public(private: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """Return the public key as a JWK, whose members are in the order of RFC 7638."""
    numbers = private.public_key().public_numbers()
    x, y = (_encoded(number.to_bytes(_BYTES, "big")) for number in (numbers.x, numbers.y))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def _origin(url: str) -> str:
    """Return scheme, host and port of a URL, without a user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _without_query(url: str) -> str:
    return f"{_origin(url)}{urlsplit(url).path or '/'}"


def _json(members: Mapping[str, object]) -> bytes:
    return json.dumps(members, separators=(",", ":")).encode()


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
