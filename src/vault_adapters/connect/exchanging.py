"""Exchanges an authorization code for tokens (RFC 6749 section 4.1.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault_adapters.connect.asking import Members, unavailable
from vault_adapters.connect.client import Client
from vault_adapters.connect.handshake import Handshake
from vault_adapters.connect.posting import post
from vault_adapters.providers.answers import answer_members
from vault_adapters.providers.dpop import UNBOUND, is_bound, with_key
from vault_adapters.providers.profiles.profile import Profile
from vault_adapters.providers.shaped_answers import is_in_place, read_shaped, read_token_set
from vault_domain.entities.causes import REFUSED, TOKEN_NOT_BOUND, UNREADABLE_ANSWER
from vault_domain.entities.errors import (
    AuthorizationRefusedError,
    ConnectError,
    InvalidInputError,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    VaultError,
)
from vault_domain.entities.secret import Secret
from vault_domain.entities.token_set import TokenSet

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient


async def exchanged(
    client: Client, handshake: Handshake, code: str, redirect_uri: str, http: HttpClient | None
) -> tuple[TokenSet, Members]:
    """Exchange a code once; return the tokens, and all members of the answer.

    Raises:
        AuthorizationRefusedError: the provider refuses the code.
        ProviderConfigurationError: the provider rejects this client.
        ConnectError: the provider gave no usable answer, or did not bind the token to the account's key, or the request
            could not be signed. In these cases, the error's code is ``provider_unavailable``.
    """
    profile, values = client.profile, client.values(handshake.variables)
    members = profile.parameters(profile.authorization.exchange, values)
    members |= {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
    if profile.authorization.pkce != "unsupported":
        members["code_verifier"] = handshake.verifier
    key = key_of(client, handshake)
    answer = await post(client, "token_url", members, handshake.variables, http, shaped=True, proof_key=key)
    found = answer_members(answer.body) if 200 <= answer.status < 300 else None
    token_set = None if found is None else tokens_in(profile, found)
    if found is not None and token_set is not None:
        return bound(token_set, key), found
    result = read_shaped(answer, profile)
    raise unavailable(UNREADABLE_ANSWER) if isinstance(result, TokenSet) else refused(result)


def key_of(client: Client, handshake: Handshake) -> Secret | None:
    """Return the private key for the account that a request connects; None if its tokens are not to be bound."""
    return handshake.proof_key if client.made_of.dpop else None


def bound(token_set: TokenSet, key: Secret | None) -> TokenSet:
    """Return the tokens with the key that they are bound to, or unchanged without a key.

    Raises:
        ConnectError: the provider did not bind the access token, so whoever gets it could use it (RFC 9449 section 5).
    """
    if key is not None and not is_bound(token_set):
        raise ConnectError(UNBOUND, code="provider_unavailable", reason=TOKEN_NOT_BOUND)
    return with_key(token_set, key)


def tokens_in(profile: Profile, answer: Members) -> TokenSet | None:
    """Return the tokens that an answer holds for a profile; None if it holds no usable access token."""
    if not is_in_place(profile.answer, answer):
        return None
    try:
        return read_token_set(profile, answer)
    except InvalidInputError:
        return None


def refused(error: VaultError) -> VaultError:
    """Return the error of the exchange; ``error`` is the error that the same answer would mean for a refresh."""
    if isinstance(error, ReauthorizationRequiredError):
        return AuthorizationRefusedError(reason=error.reason or REFUSED)
    if isinstance(error, ProviderConfigurationError):
        if error.reason is None and error.refused:
            return AuthorizationRefusedError(reason=REFUSED)
        return error
    return unavailable(error.reason)
