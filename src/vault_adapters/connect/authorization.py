"""Makes the address that a user is sent to (RFC 6749 section 4.1.1), with a pushed request if possible (RFC 9126)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from authlib.common.urls import add_params_to_uri  # type: ignore[import-untyped]
from authlib.oauth2.rfc7636 import create_s256_code_challenge  # type: ignore[import-untyped]

from vault_adapters.connect.asking import unavailable
from vault_adapters.connect.client import Client
from vault_adapters.connect.exchanging import key_of, refused
from vault_adapters.connect.handshake import Handshake
from vault_adapters.connect.posting import post
from vault_adapters.providers.answers import json_object, read_answer
from vault_adapters.providers.dpop import thumbprint
from vault_adapters.providers.http import opened
from vault_domain.entities.causes import UNREADABLE_ANSWER
from vault_domain.entities.text import plain_text
from vault_domain.entities.token_set import TokenSet

if TYPE_CHECKING:
    from vault_adapters.providers.http import Incoming

_LONGEST = 2048


async def authorization_url(
    client: Client, handshake: Handshake, state: str, redirect_uri: str, extra: Mapping[str, str]
) -> str:
    """Return the address to send a user to.

    If the profile has `pushed_authorization_url`, the client sends the parameters there itself. The address then holds
    only the client id and the provider's reference to them, so the browser can neither read nor change them.

    Raises:
        AuthorizationRefusedError, ProviderConfigurationError: the provider refuses the pushed request.
        ConnectError: it gives no usable answer to the pushed request, or the request could not be signed (code
            ``provider_unavailable``).
    """
    parameters = {"response_type": "code", "client_id": client.made_of.client_id, "redirect_uri": redirect_uri}
    parameters |= {"state": state, **_further(client, handshake), **extra}
    key = key_of(client, handshake)
    if key is not None:
        parameters["dpop_jkt"] = thumbprint(key)  # the code works only with proofs by this key (RFC 9449 section 10)
    if client.profile.pushed_authorization_url is not None:
        async with opened(client.made_of.client) as http:
            answer = await post(
                client,
                "pushed_authorization_url",
                parameters,
                handshake.variables,
                http,
                shaped=False,
                proof_key=key,
            )
        parameters = {"client_id": client.made_of.client_id, "request_uri": _reference(answer)}
    base = client.url("authorization_url", handshake.variables) or ""
    return str(add_params_to_uri(base, list(parameters.items())))


def _further(client: Client, handshake: Handshake) -> dict[str, str]:
    """Return the parameters that depend on the profile."""
    facts = client.profile.authorization
    parameters = client.profile.parameters(facts.parameters, client.values(handshake.variables))
    if handshake.scopes:
        parameters[facts.scopes_parameter] = facts.scope_separator.join(handshake.scopes)
    if facts.pkce != "unsupported":
        parameters["code_challenge"] = create_s256_code_challenge(handshake.verifier)
        parameters["code_challenge_method"] = "S256"
    if client.uses_openid and facts.nonce:
        parameters["nonce"] = handshake.nonce
    return parameters


def _reference(answer: Incoming) -> str:
    """Return the ``request_uri`` of an answer (RFC 9126 section 2.2).

    Raises:
        AuthorizationRefusedError, ProviderConfigurationError, ConnectError: see `authorization_url`.
    """
    if 200 <= answer.status < 300:
        reference = plain_text((json_object(answer.body) or {}).get("request_uri"))
        if reference is None or not 1 <= len(reference) <= _LONGEST or not reference.isprintable():
            raise unavailable(UNREADABLE_ANSWER)
        return reference
    result = read_answer(answer)
    raise unavailable(UNREADABLE_ANSWER) if isinstance(result, TokenSet) else refused(result)
