"""What somebody with write access to the database could make of sealed values."""

from __future__ import annotations

from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.contract.fixtures import (
    ACCESS,
)
from vault_domain.entities.account import TokenKey
from vault_domain.entities.token import SealedToken, StoredToken, TokenInfo, TokenWrite
from vault_domain.facade.vault import TokenVault


async def extra_of(vault: TokenVault, token_key: TokenKey = ACCESS) -> dict[str, str]:
    """Return the extra members of a stored token."""
    token = await vault.get_token(token_key)
    assert token is not None
    return dict(token.extra)


async def forge(store: Store, sealed: SealedToken) -> TokenInfo:
    """Store a sealed value under `ACCESS`, as somebody with write access to the database could."""
    return (await store.accounts.store([TokenWrite(ACCESS, sealed)], actor=None)).result[0]


def beside(members: StoredToken, value: StoredToken) -> SealedToken:
    """Return a sealed value with the extra members of another one."""
    return evolve(value.sealed, extra=members.sealed.extra)


def forged(attack: str, row: StoredToken, old: StoredToken, other: StoredToken) -> SealedToken:
    """Return what an attack makes of a row, given an older row of its key and one of another account."""
    sealed = row.sealed
    extra = sealed.extra or b""
    return {
        "other_generation": beside(old, row),
        "other_account": beside(other, row),
        "value": evolve(sealed, extra=sealed.blob),
        "as_value": evolve(sealed, blob=extra),
        "changed": evolve(sealed, extra=extra[:-1] + bytes([extra[-1] ^ 1])),
        "cut": evolve(sealed, extra=extra[:96]),
    }[attack]
