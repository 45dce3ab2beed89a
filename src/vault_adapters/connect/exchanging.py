"""Exchanges an authorization code for tokens (RFC 6749 section 4.1.3)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vault_adapters.connect.asking import DEADLINE, Members, send, unavailable
from vault_adapters.connect.client import Client
from vault_adapters.connect.handshake import Handshake
from vault_adapters.providers.answers import answer_members
from vault_adapters.providers.assertions import Proof, proof_of
from vault_adapters.providers.profiles.profile import Profile
from vault_adapters.providers.shaped_answers import is_in_place, read_shaped, read_token_set
from vault_adapters.providers.shaped_requests import signed
from vault_domain.entities.causes import UNREADABLE_ANSWER
from vault_domain.entities.errors import (
    AuthorizationRefusedError,
    InvalidInputError,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    VaultError,
)
from vault_domain.entities.token_set import TokenSet

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient

_log = logging.getLogger(__name__)


async def exchanged(
    client: Client, handshake: Handshake, code: str, redirect_uri: str, http: HttpClient | None
) -> tuple[TokenSet, Members]:
    """Exchange a code once; return the tokens, and all members of the answer.

    Raises:
        AuthorizationRefusedError: the provider refuses the code.
        ProviderConfigurationError: the provider rejects this client.
        ConnectError: the provider gave no usable answer, or the request could not be signed. In both cases, the error's
            code is ``provider_unavailable``.
    """
    profile, made_of, values = client.profile, client.made_of, client.values(handshake.variables)
    token_url = client.url("token_url", handshake.variables) or ""
    members = profile.parameters(profile.authorization.exchange, values)
    members |= {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
    if profile.authorization.pkce != "unsupported":
        members["code_verifier"] = handshake.verifier
    proof = await proof_of(made_of.signing_key, made_of.client_id, made_of.audience or token_url, DEADLINE)
    if not isinstance(proof, Proof):
        _log.warning("a code was not exchanged at %s: %s", client.name, proof)
        raise unavailable()
    outgoing = signed(
        profile,
        token_url,
        {**members, **proof.members},
        client_id=made_of.client_id,
        client_secret=made_of.client_secret,
        auth_method=made_of.auth_method,
    )
    answer = await send(http, outgoing, proof.deadline)
    found = answer_members(answer.body) if 200 <= answer.status < 300 else None
    token_set = None if found is None else tokens_in(profile, found)
    if found is not None and token_set is not None:
        return token_set, found
    result = read_shaped(answer, profile)
    raise unavailable(UNREADABLE_ANSWER) if isinstance(result, TokenSet) else refused(result)


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
        return AuthorizationRefusedError(reason=error.reason)
    if isinstance(error, ProviderConfigurationError):
        if error.reason is None and error.refused:
            return AuthorizationRefusedError()
        return error
    return unavailable(error.reason)
