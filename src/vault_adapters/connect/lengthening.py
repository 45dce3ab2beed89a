"""Exchanges the access token that a code gave for one that lasts longer, if the provider has such (Instagram)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from attrs import evolve

from vault_adapters.connect.asking import NO_HEADERS, Members, send
from vault_adapters.connect.client import Client
from vault_adapters.connect.exchanging import refused
from vault_adapters.connect.handshake import Handshake
from vault_adapters.providers.http import Outgoing
from vault_adapters.providers.profiles.shapes import LongLived
from vault_adapters.providers.shaped_answers import read_shaped
from vault_domain.entities.secret import Secret
from vault_domain.entities.token_set import TokenSet

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient


async def lengthened(
    client: Client, handshake: Handshake, given: tuple[TokenSet, Members], http: HttpClient | None
) -> tuple[TokenSet, Members]:
    """Return the tokens and members of an answer, with the token that lasts longer in place of the access token.

    Raises:
        AuthorizationRefusedError: the provider refuses the exchange.
        ProviderConfigurationError: the provider rejects this client.
        ConnectError: the provider gave no usable answer (code ``provider_unavailable``).
    """
    shape, secret = client.profile.long_lived, client.made_of.client_secret
    if shape is None or secret is None:  # a profile that has it is refused without a secret
        return given
    token_set, answer = given
    url = client.profile.filled(shape.url, client.values(handshake.variables))
    outgoing = _outgoing(shape, url, token_set.access_token, secret)
    outgoing = evolve(outgoing, public=client.public(shape.url, handshake.variables))
    result = read_shaped(await send(http, outgoing), client.profile)
    if not isinstance(result, TokenSet):
        raise refused(result)
    token, lifetime, expiry = result.access_token, result.expires_in, result.expires_at
    longer = evolve(token_set, access_token=token, expires_in=lifetime, expires_at=expiry)
    return longer, _replaced(answer, token_set.access_token, result.access_token)


def _outgoing(shape: LongLived, url: str, access_token: Secret, secret: Secret) -> Outgoing:
    members = {
        "grant_type": shape.grant_type,
        shape.secret: secret.reveal(),
        shape.credential: access_token.reveal(),
    }
    return Outgoing(f"{url}?{urlencode(members)}", b"", NO_HEADERS, method="GET")


def _replaced(answer: Members, old: Secret, new: Secret) -> Members:
    """Return an answer that holds ``new`` wherever it held ``old``, so that no token of it is left over."""
    text = json.dumps(answer).replace(json.dumps(old.reveal()), json.dumps(new.reveal()))
    found: Members = json.loads(text)
    return found
