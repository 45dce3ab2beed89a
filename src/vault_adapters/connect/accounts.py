"""Finds the vault's account of an identity, and what is stored with an account that is connected again."""

from __future__ import annotations

from collections.abc import Mapping

from vault_adapters.connect.client import Client
from vault_adapters.connect.identity import Identity
from vault_adapters.connect.vaults import Keeper
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.errors import DecryptionError


async def kept_variables(keeper: Keeper, account: Account, client: Client) -> dict[str, str]:
    """Return the values of the profile's variables that are stored with an account.

    Raises:
        KeyUnavailableError, StorageError: they cannot be read now.
    """
    return client.own(await _kept(keeper, account) or {}) if client.profile.variables else {}


async def account_of(
    keeper: Keeper, tenant_id: str, client: Client, own: Mapping[str, str], identity: Identity
) -> Account:
    """Return the account of an identity.

    An account that was stored before identifiers began with instance and group keeps the identifier that the provider
    states. What is stored with its tokens shows that it is of this instance and group.

    Args:
        keeper: reads what is stored with an account.
        tenant_id: the account's tenant.
        client: the provider.
        own: the values of the account's own variables.
        identity: the identity that the provider proves.

    Raises:
        KeyUnavailableError, StorageError: an earlier account cannot be read now.
    """
    if identity.identifier != identity.stated:
        earlier = Account(tenant_id, client.name, identity.stated)
        kept = await _kept(keeper, earlier)
        is_of_group = kept is not None and (identity.group is None or identity.group in kept.values())
        if kept is not None and is_of_group and client.instance(client.own(kept)) == client.instance(own):
            return earlier
    return Account(tenant_id, client.name, identity.identifier)


async def _kept(keeper: Keeper, account: Account) -> Mapping[str, str] | None:
    """Return the extra members of an account's access token; None if there is no token that can be read."""
    try:
        token = await keeper.token(account.key(TokenKind.ACCESS_TOKEN))
    except DecryptionError:
        return None
    return None if token is None else token.extra
