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


async def granted_scopes(keeper: Keeper, account: Account | None) -> tuple[str, ...]:
    """Return the scopes of an account's access token; none if it has no token that can be read.

    Raises:
        KeyUnavailableError, StorageError: they cannot be read now.
    """
    if account is None:
        return ()
    try:
        token = await keeper.token(account.key(TokenKind.ACCESS_TOKEN))
    except DecryptionError:
        return ()
    return () if token is None else token.info.scopes


async def account_of(
    keeper: Keeper,
    tenant_id: str,
    client: Client,
    identity: Identity,
    extra: Mapping[str, str],
    reconnected: str | None,
) -> Account:
    """Return the account of an identity.

    An account that was stored before identifiers began with instance and group keeps the identifier that the provider
    states. What is stored with its tokens shows that it is of this instance and group.

    Args:
        keeper: reads what is stored with an account.
        tenant_id: the account's tenant.
        client: the provider.
        identity: the identity that the provider proves.
        extra: the extra members of the new access token, the account's own variables among them.
        reconnected: the identifier of the account that the user connects again, or None.

    Raises:
        KeyUnavailableError, StorageError: an earlier account cannot be read now.
    """
    if identity.identifier != identity.stated:
        earlier = Account(tenant_id, client.name, identity.stated)
        kept = await _kept(keeper, earlier)
        is_chosen = reconnected == identity.stated
        is_of_group = kept is not None and _is_of_group(identity.group, kept, extra, is_chosen=is_chosen)
        if kept is not None and is_of_group and client.instance(client.own(kept)) == client.instance(client.own(extra)):
            return earlier
    return Account(tenant_id, client.name, identity.identifier)


def _is_of_group(group: str | None, kept: Mapping[str, str], extra: Mapping[str, str], *, is_chosen: bool) -> bool:
    """Return whether an earlier account is of a group; one of an unknown group is, if the user connects it again."""
    names = [name for name, text in extra.items() if text == group]
    stored = [kept[name] for name in names if name in kept]
    return group is None or group in stored or (is_chosen and not stored)


async def _kept(keeper: Keeper, account: Account) -> Mapping[str, str] | None:
    """Return the extra members of an account's access token; None if there is no token that can be read."""
    try:
        token = await keeper.token(account.key(TokenKind.ACCESS_TOKEN))
    except DecryptionError:
        return None
    return None if token is None else token.extra
