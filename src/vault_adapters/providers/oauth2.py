"""`OAuth2Refresher`: the refresh_token grant and revocation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from vault_adapters.providers.answers import incoming, read_answer
from vault_adapters.providers.assertions import Proof, by_the_clock, proof_of
from vault_adapters.providers.client_auth import (
    AuthMethod,
    as_auth_method,
    as_client_secret,
    as_signing_key,
    check_client,
    jwt_key,
    signed_form,
)
from vault_adapters.providers.dpop import Prove, proved
from vault_adapters.providers.endpoint import (
    as_audience,
    as_client_id,
    as_parameters,
    as_revocation_url,
    as_token_url,
    shown,
)
from vault_adapters.providers.http import Incoming, exchange, settle
from vault_adapters.providers.signing_key import JwtKey, SigningKey
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.errors import InvalidInputError, RefreshFailedError, VaultError
from vault_domain.entities.extra import as_extra
from vault_domain.entities.request_limit import RequestLimit
from vault_domain.entities.rotation_policy import RevocationScope, Rotation
from vault_domain.entities.scrub import scrubbed, scrubbed_class
from vault_domain.entities.secret import Secret
from vault_domain.entities.text import as_duration, as_scopes, plain_text
from vault_domain.entities.token_set import TokenSet
from vault_domain.entities.unread_answer import UnreadAnswer
from vault_domain.ports.token_refresher import RefreshRequest

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient


def _check_rotation(_: object, __: object, value: object) -> None:
    if not isinstance(value, Rotation):
        raise InvalidInputError("rotation must be Rotation.strict(), Rotation.grace(...) or Rotation.non_rotating()")


def _as_default_lifetime(value: object) -> timedelta | None:
    return None if value is None else as_duration(value, "default_lifetime", positive=True)


def _as_idle_lifetime(value: object) -> timedelta | None:
    return None if value is None else as_duration(value, "idle_lifetime", positive=True)


def _as_flag(value: bool) -> bool:
    if not isinstance(value, bool):
        raise InvalidInputError("old_token_dies must be True or False")
    return value


def _as_limit(value: RequestLimit | None) -> RequestLimit | None:
    if value is not None and not isinstance(value, RequestLimit):
        raise InvalidInputError("request_limit must be a RequestLimit or None")
    return value


def _as_scope(value: RevocationScope | str) -> RevocationScope:
    text = plain_text(value)
    if text not in set(RevocationScope):
        raise InvalidInputError("revocation_scope must be grant or user_and_client")
    return RevocationScope(text)


def later(request: RefreshRequest, spent: timedelta) -> RefreshRequest | RefreshFailedError:
    """Return a request whose deadlines are shorter by the time that is spent, or the error if nothing may be sent."""
    send_by = request.send_deadline or request.deadline
    if spent >= send_by:
        return RefreshFailedError("no time was left to send the request once more")
    return evolve(request, deadline=request.deadline - spent, send_deadline=send_by - spent) if spent else request


@scrubbed_class
@frozen(eq=False)
class OAuth2Refresher:
    """Refreshes at an OAuth 2 token endpoint with a refresh token (RFC 6749 section 6), and revokes (RFC 7009).

    Args:
        token_url: the token endpoint; https, or http on loopback.
        client_id: the client id registered with the provider.
        client_secret: text or `Secret`. None for a public client (``auth_method="none"``) and with a ``signing_key``.
        auth_method: how the client authenticates: ``client_secret_basic`` (the default of RFC 6749),
            ``client_secret_post``, ``client_secret_jwt`` (a JWT under the secret, RFC 7523 section 2.2),
            ``private_key_jwt`` (a JWT under the client's key), ``secret_as_user`` (Stripe: the secret is the user of
            Basic authentication, and no client id is sent), ``tls_client_auth`` or ``self_signed_tls_client_auth``
            (RFC 8705: ``client`` has the client's certificate) or ``none``.
        signing_key: the client's key for ``private_key_jwt``, instead of a secret.
        audience: the ``aud`` of the client's JWT; None: ``token_url``. Some providers want the URL of their issuer.
        scopes: the scopes that users are asked for. A refresh does not send them, so that it never asks for more than
            the user has granted (RFC 6749 section 6); ``token-vault doctor`` compares them with the stored scopes.
        extra: further form parameters, such as ``{"resource": "..."}``.
        rotation: the provider's rotation policy, by which the vault decides whether to try again after an unknown
            outcome. The default, ``Rotation.strict()``, is safe for every provider.
        revocation_url: the revocation endpoint (RFC 7009), or None.
        revocation_scope: a `RevocationScope` or its text: what the provider ends when one token is revoked. ``grant``
            (RFC 7009), or ``user_and_client``: all grants of the user for this client (Google).
        default_lifetime: the documented lifetime of access tokens (Salesforce: 2 hours). It applies if neither the
            answer nor an ``exp`` in the access token says when the token expires. None: such a token has no expiry.
        idle_lifetime: the time after which a refresh token lapses if it is not used, or None. A sweep refreshes each
            grant when 80 % of this time has passed since the grant's last refresh.
        old_token_dies: whether a refresh ends the old access token at once (RingCentral). If True,
            `ensure_access_token` does not return the old token while an attempt is running; it waits for the new
            one, within its timeout.
        request_limit: a `RequestLimit` that the provider sets on token requests, or None; all processes share it.
        client: an HTTP client, which the refresher never closes. None: the HTTP client of the vault; if there is no
            vault, a new HTTP client for each call.

    Raises:
        InvalidInputError: an argument is not valid; the message does not repeat it.
    """

    token_url: str = field(converter=as_token_url, repr=shown)
    client_id: str = field(converter=as_client_id)
    client_secret: Secret | None = field(default=None, converter=as_client_secret)
    auth_method: AuthMethod = field(default="client_secret_basic", converter=as_auth_method, kw_only=True)
    signing_key: SigningKey | None = field(default=None, converter=as_signing_key, kw_only=True)
    audience: str | None = field(default=None, converter=as_audience, kw_only=True)
    scopes: tuple[str, ...] = field(default=None, converter=as_scopes, kw_only=True)
    extra: dict[str, str] = field(default=None, converter=as_parameters, kw_only=True, repr=False)
    # Use a validator, not a converter: pyright treats a field that has a converter as a descriptor, and no protocol
    # accepts a descriptor.
    rotation: Rotation = field(factory=Rotation.strict, validator=_check_rotation, kw_only=True)
    revocation_url: str | None = field(
        default=None,
        converter=as_revocation_url,
        kw_only=True,
        repr=shown,
    )
    revocation_scope: RevocationScope = field(default=RevocationScope.GRANT, converter=_as_scope, kw_only=True)
    default_lifetime: timedelta | None = field(default=None, converter=_as_default_lifetime, kw_only=True)
    idle_lifetime: timedelta | None = field(default=None, converter=_as_idle_lifetime, kw_only=True)
    old_token_dies: bool = field(default=False, converter=_as_flag, kw_only=True)
    request_limit: RequestLimit | None = field(default=None, converter=_as_limit, kw_only=True)
    client: HttpClient | None = field(default=None, kw_only=True, repr=False)

    def __attrs_post_init__(self) -> None:
        check_client(self.auth_method, self.client_secret, self.signing_key, self.client)

    @property
    def spends(self) -> TokenKind:
        """The kind of credential, which is a refresh token."""
        return TokenKind.REFRESH_TOKEN

    def with_client(self, client: HttpClient) -> OAuth2Refresher:
        """Return a copy that sends its requests through ``client``, which it never closes."""
        return evolve(self, client=client)

    def client_id_of(self, account: Account | None) -> str | None:
        """Return the client id, which all accounts share; see `ClientNamer`."""
        return self.client_id

    async def refresh(self, request: RefreshRequest) -> TokenSet:
        """Ask the provider for a new access token; see `TokenRefresher`."""
        return settle(await self._refresh(request), request.account)

    @scrubbed
    def read_again(self, answer: UnreadAnswer) -> TokenSet | None:
        """Read an answer that could not be read before; see `AnswerReader`."""
        if not isinstance(answer, UnreadAnswer):
            raise InvalidInputError("answer must be an UnreadAnswer")
        found = self._read(incoming(answer))
        return found if isinstance(found, TokenSet) else None

    async def revoke(self, request: RefreshRequest) -> bool | None:
        """Revoke a refresh token or an access token (RFC 7009); see `TokenRevoker`."""
        if self.revocation_url is None:
            return None

        def form() -> dict[str, str]:
            return {"token": request.credential.reveal(), "token_type_hint": request.kind.value}

        answer = await self._post(self.revocation_url, form, request)
        return isinstance(answer, Incoming) and answer.status == 200

    async def _refresh(self, request: RefreshRequest) -> TokenSet | VaultError:
        def form() -> dict[str, str]:
            return {**self.extra, "grant_type": "refresh_token", "refresh_token": request.credential.reveal()}

        async def send(prove: Prove, spent: timedelta) -> Incoming | VaultError:
            again = later(request, spent)
            return again if isinstance(again, VaultError) else await self._post(self.token_url, form, again, prove)

        answer = await proved(as_extra(request.extra).proof_key, send)
        return self._judged(answer, request) if isinstance(answer, Incoming) else answer

    def _judged(self, answer: Incoming, request: RefreshRequest) -> TokenSet | VaultError:
        result = self._read(answer)
        return result if self._key is None else by_the_clock(result, answer, request.account.provider)

    def _read(self, answer: Incoming) -> TokenSet | VaultError:
        return read_answer(answer)

    async def _post(
        self, url: str, form: Callable[[], dict[str, str]], request: RefreshRequest, prove: Prove | None = None
    ) -> Incoming | VaultError:
        proof = await self._proof(request, self.token_url)
        if isinstance(proof, VaultError):
            return proof
        # A cancellation's traceback keeps this frame, so no name here holds the form, which holds the credential.
        outgoing = signed_form(
            url,
            {**form(), **proof.members},
            client_id=self.client_id,
            client_secret=self.client_secret,
            auth_method=self.auth_method,
        )
        outgoing = outgoing if prove is None else prove(outgoing)
        return await exchange(self.client, outgoing, proof.deadline, proof.send_deadline)

    @property
    def _key(self) -> JwtKey | None:
        return jwt_key(self.auth_method, self.client_secret, self.signing_key)

    async def _proof(self, request: RefreshRequest, token_url: str) -> Proof | VaultError:
        """Return the client's proof by a JWT, or the error to raise."""
        audience = self.audience or token_url
        return await proof_of(self._key, self.client_id, audience, request.deadline, request.send_deadline)
