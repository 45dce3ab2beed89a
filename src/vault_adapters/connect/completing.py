"""Completes a connection once the provider has given tokens: identifies the accounts, and stores them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from attrs import evolve

from vault_adapters.connect.accounts import account_of
from vault_adapters.connect.asking import Members
from vault_adapters.connect.client import Client
from vault_adapters.connect.handshake import Handshake
from vault_adapters.connect.identity import Answers, identify
from vault_adapters.connect.openid import Issuer, Issuers, check_id_token
from vault_adapters.connect.several import Connected, others_in, warn_of_rest
from vault_adapters.connect.vaults import Keeper
from vault_adapters.providers.dpop import with_key
from vault_domain.entities.account import Account, AccountInfo
from vault_domain.entities.errors import OtherAccountError
from vault_domain.entities.extra import as_extra, fitting
from vault_domain.entities.token_set import TokenSet
from vault_domain.services.tokens.states import OpenedState

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient


async def issuer_of(issuers: Issuers, client: Client, handshake: Handshake, http: HttpClient | None) -> Issuer | None:
    """Return the issuer whose id_tokens identify the accounts of a provider; None if no id_token does.

    Raises:
        ConnectError, IdentityRefusedError: see `Issuers.find`.
    """
    name = client.url("issuer", handshake.variables)
    if name is None or not client.uses_openid:
        return None
    return await issuers.find(name, http, public=client.public(client.profile.issuer or "", handshake.variables))


async def identified(
    client: Client,
    clients: Iterable[Client],
    handshake: Handshake,
    given: tuple[TokenSet, Members],
    callback: Mapping[str, str],
    http: HttpClient,
    *,
    issuers: Issuers,
    issuer: Issuer | None,
    nonce: str | None,
) -> list[Connected]:
    """Return the accounts that an answer holds tokens for; the first is that of the provider that was asked.

    Args:
        client: the provider.
        clients: all providers of the host.
        handshake: the request for authorization.
        given: the tokens, and all members of the answer.
        callback: further parameters of the callback.
        http: the HTTP client.
        issuers: the known issuers.
        issuer: the provider's issuer, or None.
        nonce: the nonce that the id_token must hold, or None.

    Raises:
        IdentityRefusedError, ConnectError: see `check_id_token` and `identify`.
    """
    token_set, answer = given
    claims = None
    if issuer is not None:
        claims = await check_id_token(
            issuers,
            issuer,
            answer.get("id_token"),
            client_id=client.made_of.client_id,
            nonce=nonce,
            access_token=token_set.access_token,
            client=http,
        )
    key = as_extra(token_set.extra).proof_key
    said = Answers(answer, claims, token_set.access_token, handshake.variables, callback, key)
    identity = await identify(client, said, http)
    others = await others_in(client, clients, answer, callback, http, key)
    found = [Connected(client, _completed(token_set, handshake, identity.kept), identity), *others]
    warn_of_rest(client, answer, [each.token_set for each in found])
    return found


async def stored(
    keeper: Keeper, tenant_id: str, connected: list[Connected], state: OpenedState | None, reconnected: str | None
) -> tuple[AccountInfo, ...]:
    """Store the accounts, the first one last; return them.

    Raises:
        OtherAccountError: the first is not the account to connect again; nothing is stored.
    """
    accounts = []
    for number, each in enumerate(connected):
        again = None if number else reconnected
        accounts.append(await account_of(keeper, tenant_id, each.client, each.identity, each.token_set.extra, again))
        if again not in (None, accounts[-1].identifier):
            raise OtherAccountError(account=Account(tenant_id, each.client.name, again))
    infos = [
        await keeper.store(account, each.token_set, each.identity.label, state)
        for account, each in reversed(list(zip(accounts, connected, strict=True)))
    ]
    return tuple(reversed(infos))


def _completed(token_set: TokenSet, handshake: Handshake, kept: Mapping[str, str]) -> TokenSet:
    """Return the tokens with the account's variables, and the texts that the profile keeps.

    If the answer names no scopes, the requested scopes are added.
    """
    if not token_set.scopes:
        token_set = evolve(token_set, scopes=handshake.scopes)
    if not kept and not handshake.variables:
        return token_set
    extra = fitting({**handshake.variables, **token_set.extra, **handshake.variables, **kept})
    return with_key(evolve(token_set, extra=extra), as_extra(token_set.extra).proof_key)
