"""An OpenID provider for tests and demonstrations: codes and refresh tokens that work once, PKCE, and id_tokens."""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from collections.abc import Mapping
from datetime import date
from typing import Any

from attrs import field, frozen
from joserfc import jwt
from joserfc.jwk import ECKey

from vault_adapters.providers import refresher
from vault_adapters.providers.profiled import ProfileRefresher
from vault_adapters.providers.profiles import Profile
from vault_adapters.providers.profiles.facts import AuthorizationFacts, Place

LIFETIME = 3600
_SCOPES = ("openid", "email", "profile", "offline_access")


@frozen
class User:
    """A user of the provider.

    Attributes:
        sub: the identifier that never changes.
        email: the e-mail address; if a request has it as ``login_hint``, the user is signed in, and no page is shown.
        name: the name that the provider's page shows.
    """

    sub: str
    email: str
    name: str


@frozen
class Grant:
    """What a user has agreed to.

    Attributes:
        user: the user.
        scope: the scopes, separated by spaces.
        request: the parameters of the authorization request that the user has agreed to.
    """

    user: User
    scope: str
    request: Mapping[str, str] = field(repr=False)


class LoopbackOpenIdProvider:
    """Answers requests as an OpenID provider does; `openid_provider` serves it over HTTP.

    Override a method to make the provider answer wrongly.

    Args:
        issuer: the provider's issuer identifier, with which all its URLs begin.
        client_secret: the client's secret; None makes a random one. If the provider runs in a process of its own
            (``python -m vault_adapters.testing.openid``), the service under test makes its own object of this
            class with the same issuer and secret, and uses the `refresher` of that object.

    Attributes:
        issuer: the provider's issuer identifier.
        client_id: the id of the only registered client.
        client_secret: the secret of this client.
        sends_iss: whether callbacks hold ``iss`` (RFC 9207).
        users: the users who can sign in.
        lifetimes: the lifetime of access tokens in seconds, by their user's ``sub``; an hour for other users.
        exchanged: number of codes that were exchanged for tokens.
        refreshed: number of refresh tokens that were exchanged for new tokens.
        refused: number of token requests that were refused.
    """

    sends_iss = True

    def __init__(self, issuer: str, *, client_secret: str | None = None) -> None:
        self.issuer = issuer
        self.client_id, self.client_secret = "loopback-client", client_secret or secrets.token_urlsafe(24)
        self.users = [User("user-1", "ana@example.com", "Ana"), User("user-2", "ben@example.com", "Ben")]
        self.lifetimes: dict[str, int] = {}
        self.exchanged = self.refreshed = self.refused = 0
        self.key = ECKey.generate_key("P-256", {"use": "sig", "kid": secrets.token_hex(8)}, private=True)
        self._codes: dict[str, Grant] = {}
        self._refresh_tokens: dict[str, Grant] = {}
        self._access_tokens: dict[str, Grant] = {}
        self._lock = threading.Lock()

    def profile(self, name: str = "local") -> Profile:
        """Return the profile of this provider."""
        return Profile(
            name=name,
            title="Loopback",
            docs=("https://openid.net/specs/openid-connect-core-1_0.html",),
            checked=date(2026, 11, 26),
            token_url=f"{self.issuer}/token",
            authorization_url=f"{self.issuer}/authorize",
            userinfo_url=f"{self.issuer}/userinfo",
            issuer=self.issuer,
            client_auth=("client_secret_basic",),
            api_hosts=("127.0.0.1",),
            authorization=AuthorizationFacts(scopes=_SCOPES, pkce="required", iss=self.sends_iss),
            identifier=Place("id_token", "sub"),
            label=Place("id_token", "name"),
        )

    def refresher(self, name: str = "local") -> ProfileRefresher:
        """Return the refresher of this provider's client, for `open_vault` and for a connector."""
        made = refresher(self.profile(name), self.client_id, self.client_secret)
        if not isinstance(made, ProfileRefresher):
            raise TypeError("the profile must not have the grant client_credentials or api_key")
        return made

    def metadata(self) -> dict[str, Any]:
        """Return the discovery document (OpenID Connect Discovery 1.0)."""
        return {
            "issuer": self.issuer,
            **{
                f"{name}_endpoint": f"{self.issuer}/{path}"
                for name, path in (("authorization", "authorize"), ("token", "token"), ("userinfo", "userinfo"))
            },
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": self.sends_iss,
        }

    def keys(self) -> dict[str, Any]:
        """Return the public keys that verify id_tokens, as a JWK set."""
        return {"keys": [self.key.as_dict(private=False)]}

    def check(self, request: Mapping[str, str]) -> str | None:
        """Return the error code for an authorization request; None if the request is valid."""
        if request.get("client_id") != self.client_id or not request.get("redirect_uri", "").startswith("http"):
            return "invalid_request"
        if request.get("response_type") != "code":
            return "unsupported_response_type"
        if request.get("code_challenge_method") != "S256" or not request.get("code_challenge"):
            return "invalid_request"
        return None

    def consent(self, user: User, request: Mapping[str, str]) -> dict[str, str]:
        """Return the parameters of the callback after a user has agreed."""
        code = "demo-code-" + secrets.token_urlsafe(18)
        with self._lock:
            self._codes[code] = Grant(user, request.get("scope", ""), request)
        return {"code": code, **self.common(request)}

    def denial(self, error: str, request: Mapping[str, str]) -> dict[str, str]:
        """Return the parameters of the callback with an error."""
        return {"error": error, **self.common(request)}

    def common(self, request: Mapping[str, str]) -> dict[str, str]:
        """Return the parameters that every callback has."""
        return {"state": request.get("state", ""), **({"iss": self.issuer} if self.sends_iss else {})}

    def token(self, form: Mapping[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """Return status and members of the answer to a token request."""
        pair = base64.b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()
        if not secrets.compare_digest(authorization.encode(), f"Basic {pair}".encode()):
            return self._refuse("invalid_client")
        with self._lock:
            if form.get("grant_type") == "authorization_code":
                grant = self._codes.pop(form.get("code", ""), None)
                if grant is None or not _fits(grant.request, form):
                    return self._refuse("invalid_grant")
                self.exchanged += 1
            elif form.get("grant_type") == "refresh_token":
                grant = self._refresh_tokens.pop(form.get("refresh_token", ""), None)
                if grant is None:
                    return self._refuse("invalid_grant")
                self.refreshed += 1
            else:
                return self._refuse("unsupported_grant_type")
            return 200, self._issue(grant)

    def userinfo(self, authorization: str) -> dict[str, Any] | None:
        """Return the claims about the user of an access token; None if the token is unknown."""
        grant = self._access_tokens.get(authorization.removeprefix("Bearer "))
        return None if grant is None else _about(grant.user)

    def claims(self, grant: Grant) -> dict[str, Any]:
        """Return the claims of an id_token."""
        now = int(time.time())
        nonce = {"nonce": grant.request["nonce"]} if "nonce" in grant.request else {}
        about = {"iss": self.issuer, "aud": self.client_id, "iat": now, "exp": now + 300}
        return {**about, **nonce, **_about(grant.user)}

    def signed(self, claims: dict[str, Any]) -> str:
        """Return an id_token with these claims."""
        return jwt.encode({"alg": "ES256", "kid": self.key.kid}, claims, self.key)

    def _issue(self, grant: Grant) -> dict[str, Any]:
        access_token = "demo-access-" + secrets.token_urlsafe(18)
        refresh_token = "demo-refresh-" + secrets.token_urlsafe(18)
        self._access_tokens[access_token] = self._refresh_tokens[refresh_token] = grant
        return {
            "access_token": access_token,
            "refresh_token": refresh_token,
            "token_type": "Bearer",
            "expires_in": self.lifetimes.get(grant.user.sub, LIFETIME),
            "scope": grant.scope,
            "id_token": self.signed(self.claims(grant)),
        }

    def _refuse(self, error: str) -> tuple[int, dict[str, Any]]:
        self.refused += 1
        return 401 if error == "invalid_client" else 400, {"error": error}


def _about(user: User) -> dict[str, Any]:
    return {"sub": user.sub, "email": user.email, "email_verified": True, "name": user.name}


def _fits(request: Mapping[str, str], form: Mapping[str, str]) -> bool:
    """Return whether a token request fits its authorization request: redirect URI and PKCE (RFC 7636 section 4.6)."""
    digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return request.get("code_challenge") == challenge and request.get("redirect_uri") == form.get("redirect_uri")
