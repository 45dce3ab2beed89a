"""`JwtBearerRefresher`: asks for access tokens with a signed JWT instead of a refresh token (RFC 7523 section 2.1)."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from vault_adapters.providers.answers import read_answer
from vault_adapters.providers.assertions import DEFAULT_LIFETIME, JWT_BEARER, Signed, by_the_clock, new_claims, timely
from vault_adapters.providers.client_auth import as_signing_key, plain_form
from vault_adapters.providers.endpoint import as_audience, as_parameters, as_token_url, shown
from vault_adapters.providers.fields import fields_of
from vault_adapters.providers.http import Incoming, exchange
from vault_adapters.providers.key_refresher import KeyRefresher
from vault_adapters.providers.oauth_errors import CONDEMNS_GRANT, CONDEMNS_KEY
from vault_adapters.providers.signing_key import SigningKey
from vault_domain.entities.errors import (
    ConfigurationError,
    InvalidInputError,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    VaultError,
)
from vault_domain.entities.scrub import scrubbed_class
from vault_domain.entities.secret import Secret
from vault_domain.entities.text import as_duration, as_scopes, plain_text
from vault_domain.entities.token_set import TokenSet
from vault_domain.ports.token_refresher import RefreshRequest

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient

_log = logging.getLogger(__name__)

_LONGEST = timedelta(hours=1)
_LONGEST_PEM = 4096
"""Largest number of characters of an account's private key; the PEM of an RSA key of 4096 bits fits.

A tenant may have supplied the key, and OpenSSL's check of an RSA key of 8192 bits blocks the event loop for seconds.
"""
_NAMES = {
    "issuer": ("issuer", "client_email"),
    "private_key": ("private_key",),
    "key_id": ("key_id", "private_key_id"),
    "subject": ("subject",),
}


def _as_name(value: str | None) -> str | None:
    text = None if value is None else plain_text(value)
    if value is not None and (not text or not text.isprintable()):
        raise InvalidInputError("issuer must be a printable text, or None")
    return text


def _as_lifetime(value: timedelta) -> timedelta:
    lifetime = as_duration(value, "lifetime", positive=True)
    if lifetime > _LONGEST:
        raise InvalidInputError("lifetime must be an hour at most, because providers refuse longer ones")
    return lifetime


@scrubbed_class
@frozen(eq=False)
class JwtBearerRefresher(KeyRefresher):
    """Signs a JWT for each request and exchanges it for an access token; the provider knows the public key.

    The account's credential is an API key that consists of named fields (`Secret.from_fields`). If the issuer or the
    private key is missing there, the refresher's own is used. Examples:

    - ``Secret.from_fields(subject="ann@example.com")``: the refresher asks for access tokens for this user, with its
      own issuer and private key (Salesforce).
    - The text of a service account's JSON file (Google) brings its own ``client_email``, ``private_key`` and
      ``private_key_id``. Add ``subject`` to ask for access tokens for a user of a Workspace domain.

    The fields are ``issuer`` (or ``client_email``), ``private_key`` (PEM), ``key_id`` (or ``private_key_id``) and
    ``subject``. An account's ``private_key`` has at most 4096 characters (RSA of 4096 bits). If the account has a
    ``private_key``, the answers ``invalid_client`` and ``unauthorized_client`` condemn its API key; the answer
    ``invalid_grant`` always does.

    If the issuer or the private key is missing in both the account and the refresher, the refresh fails:

    - If the refresher has one of the two, the host may have forgotten to give it the other one. So the account is not
      condemned.
    - If the refresher has neither, an account must bring both. An account that has a ``private_key`` but no issuer is
      condemned, and so is an account that has none of the four fields. An account that has some of these fields but no
      ``private_key`` is not condemned, because its API key may rely on a private key that the host forgot to give.

    Args:
        token_url: the token endpoint; https, or http on loopback.
        issuer: the ``iss`` of accounts that have none of their own; usually the client id.
        signing_key: the private key of accounts that have none of their own.
        audience: the ``aud``; None: ``token_url``. Salesforce expects the URL of its login host.
        scopes: the scopes to request.
        scope_claim: whether the scopes are a claim of the JWT (Google) instead of a parameter of the request.
        lifetime: lifetime of a JWT, an hour at most.
        extra: further form parameters.
        default_lifetime: the documented lifetime of access tokens, for answers without a lifetime (Salesforce).
        client: an HTTP client, which the refresher never closes. None: the HTTP client of the vault; if there is no
            vault, a new HTTP client for each call.

    Raises:
        InvalidInputError: an argument is not valid; the message does not repeat it.
    """

    token_url: str = field(converter=as_token_url, repr=shown)
    issuer: str | None = field(default=None, converter=_as_name, kw_only=True)
    signing_key: SigningKey | None = field(default=None, converter=as_signing_key, kw_only=True)
    audience: str | None = field(default=None, converter=as_audience, kw_only=True)
    scopes: tuple[str, ...] = field(default=None, converter=as_scopes, kw_only=True)
    scope_claim: bool = field(default=False, converter=bool, kw_only=True)
    lifetime: timedelta = field(default=DEFAULT_LIFETIME, converter=_as_lifetime, kw_only=True)
    extra: dict[str, str] = field(default=None, converter=as_parameters, kw_only=True, repr=False)
    default_lifetime: timedelta | None = field(default=None, kw_only=True)
    client: HttpClient | None = field(default=None, kw_only=True, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.default_lifetime is not None:
            as_duration(self.default_lifetime, "default_lifetime", positive=True)

    async def _refresh(self, request: RefreshRequest) -> TokenSet | VaultError:
        fields = _named(fields_of(request.credential))
        signed = await self._signed(fields, request)
        has_own_key = "private_key" in fields
        fields.clear()  # a cancellation's traceback keeps this frame, which must not hold the key
        if not isinstance(signed, Signed):
            return signed
        form = {**self.extra, "grant_type": JWT_BEARER, "assertion": signed.jwt}
        if self.scopes and not self.scope_claim:
            form["scope"] = " ".join(self.scopes)
        answer = await exchange(self.client, plain_form(self.token_url, form), signed.deadline, signed.send_deadline)
        if not isinstance(answer, Incoming):
            return answer
        condemns = CONDEMNS_KEY if has_own_key else CONDEMNS_GRANT
        result = read_answer(answer, condemns=condemns, default_lifetime=self.default_lifetime)
        return by_the_clock(result, answer, request.account.provider)

    async def _signed(self, fields: dict[str, str], request: RefreshRequest) -> Signed | VaultError:
        key = self._key(fields)
        if isinstance(key, VaultError):
            return key
        issuer = fields.get("issuer") or self.issuer
        if key is None or issuer is None:
            return self._incomplete(fields, "signing_key" if key is None else "issuer")
        claims: dict[str, Any] = new_claims(
            issuer, fields.get("subject"), self.audience or self.token_url, self.lifetime
        )
        if self.scopes and self.scope_claim:
            claims["scope"] = " ".join(self.scopes)
        return await timely(key, claims, request.deadline, request.send_deadline)

    def _incomplete(self, fields: dict[str, str], lacking: str) -> VaultError:
        """Return the error for a missing issuer or key.

        An account is not condemned if the host may have forgotten to give the refresher its issuer or key. If
        the refresher has neither of them, it may be meant for accounts that bring both. In this case, an account is
        condemned if it has a ``private_key`` but no issuer, or if it has none of the four fields.
        """
        is_for_own_keys = self.issuer is None and self.signing_key is None
        if is_for_own_keys and (not fields or "private_key" in fields):
            return ReauthorizationRequiredError(
                "the stored API key must hold issuer and private_key (PEM), or the refresher must have them",
                reason="invalid_client",
            )
        _log.warning("a JwtBearerRefresher has no %s, and an account's API key brings none", lacking)
        return ProviderConfigurationError(f"the refresher has no {lacking}, and the API key brings none", refused=False)

    def _key(self, fields: dict[str, str]) -> SigningKey | VaultError | None:
        """Return the account's key or else the refresher's; None if there is none; or the error to raise."""
        pem = fields.get("private_key")
        if pem is None:
            return self.signing_key
        if len(pem) <= _LONGEST_PEM:
            try:
                return SigningKey.from_pem(Secret(pem), key_id=fields.get("key_id"))
            except InvalidInputError:
                pass
            except ConfigurationError as error:  # joserfc is missing; drop the traceback: this frame holds the key
                return error.with_traceback(None)
        return ReauthorizationRequiredError(
            f"the stored API key must hold a private_key (PEM) of {_LONGEST_PEM} characters at most",
            reason="invalid_client",
        )


def _named(fields: dict[str, str]) -> dict[str, str]:
    """Return the fields by the vault's names, without those that are missing or empty."""
    found = {name: [fields[alias] for alias in known if fields.get(alias)] for name, known in _NAMES.items()}
    return {name: values[0] for name, values in found.items() if values}
