"""Sends requests that the client authenticates, each as at the token endpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from attrs import evolve

from vault_adapters.connect.asking import DEADLINE, send, unavailable
from vault_adapters.connect.client import Client
from vault_adapters.providers.assertions import Proof, proof_of
from vault_adapters.providers.client_auth import jwt_key
from vault_adapters.providers.dpop import Prove, proved
from vault_adapters.providers.http import Incoming
from vault_adapters.providers.shaped_requests import signed
from vault_domain.entities.secret import Secret

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient

_log = logging.getLogger(__name__)

_LEAST = timedelta(seconds=1)


async def post(
    client: Client,
    endpoint: str,
    members: Mapping[str, str],
    variables: Mapping[str, str],
    http: HttpClient | None,
    *,
    shaped: bool,
    proof_key: Secret | None = None,
) -> Incoming:
    """Send an authenticated POST, and return the answer.

    With a ``proof_key`` it is sent twice if the server refuses the first proof (see `proved`), otherwise once.

    Args:
        client: the provider, and the host's client there.
        endpoint: names the URL of the profile, such as ``token_url``.
        members: the members of the request, without those that authenticate the client.
        variables: the values of the account's own variables.
        http: the HTTP client.
        shaped: whether the request has the format and headers of the profile's token requests; otherwise it is a form.
        proof_key: the account's private key, or None.

    Raises:
        ConnectError: the provider did not answer, or the request could not be signed (code ``provider_unavailable``).
        ConfigurationError: httpx2 is not installed.
    """
    made_of = client.made_of
    template, url = getattr(client.profile, endpoint), client.url(endpoint, variables) or ""
    audience = made_of.audience or client.url("token_url", variables) or ""
    key = jwt_key(made_of.auth_method, made_of.client_secret, made_of.signing_key)

    async def once(prove: Prove, spent: timedelta) -> Incoming:
        proof = await proof_of(key, made_of.client_id, audience, max(DEADLINE - spent, _LEAST))
        if not isinstance(proof, Proof):
            _log.warning("nothing was sent to %s: %s", client.name, proof)
            raise unavailable()
        outgoing = signed(
            client.profile if shaped else None,
            url,
            {**members, **proof.members},
            client_id=made_of.client_id,
            client_secret=made_of.client_secret,
            auth_method=made_of.auth_method,
        )
        outgoing = evolve(outgoing, public=client.public(template, variables))
        return await send(http, prove(outgoing), proof.deadline)

    return await proved(proof_key, once)
