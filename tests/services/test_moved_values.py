"""Sealed values and extra members that were moved or changed open nowhere."""

from __future__ import annotations

import pytest
from tests.services.forging import extra_of, forge, forged
from tests.services.over_dict import OverDict

from vault_adapters.composition import Store
from vault_adapters.testing.contract.fixtures import (
    ACCESS,
    ACCOUNT,
    ContractFixtures,
    events_of,
    key,
    rows_of,
    value_of,
)
from vault_domain.entities.account import TokenKey, TokenKind
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.errors import DecryptionError
from vault_domain.entities.token import SealedToken, TokenWrite
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault

EXTRA = {"instance_url": "https://one.example.com", "team": "T1"}


class TestMovedValues(OverDict, ContractFixtures):
    """A value opens only in its own place."""

    @pytest.mark.parametrize(
        "target",
        [
            TokenKey("t1", "github", TokenKind.ACCESS_TOKEN, "ann"),
            TokenKey("t1", "google", TokenKind.REFRESH_TOKEN, "ann"),
            TokenKey("t1", "google", TokenKind.ACCESS_TOKEN, "bob"),
            TokenKey("t1", "google", TokenKind.ACCESS_TOKEN),
        ],
        ids=["provider", "kind", "identifier", "no_identifier"],
    )
    async def test_a_moved_value_does_not_open(
        self, store: Store, vault: TokenVault, happened: list[AuditEvent], target: TokenKey
    ) -> None:
        await vault.store_token(ACCESS, "v")
        await put(store, target, ACCESS)
        stored = await events_of(vault)
        with pytest.raises(DecryptionError) as caught:
            await vault.get_token(target)
        assert caught.value.keys == (target,)
        assert caught.value.account == target.account
        assert caught.value.retryable is False
        assert await value_of(vault, ACCESS) == "v"
        told = happened[-1]
        assert (told.action, told.account, told.kind) == (
            AuditAction.DECRYPTION_FAILED,
            target.account,
            target.kind,
        )
        assert told.code is not None
        assert await events_of(vault) == stored, "a read wrote an event"
        assert (await vault.health()).failed_reads == 1


class TestMovedMembers(OverDict, ContractFixtures):
    """Members open only beside their own value."""

    @pytest.mark.parametrize("attack", ["other_generation", "other_account", "value", "as_value", "changed", "cut"])
    async def test_members_that_were_moved_or_changed_do_not_open(
        self, store: Store, vault: TokenVault, attack: str
    ) -> None:
        other = key("bob")
        await vault.store_token_set(ACCOUNT, TokenSet("old", extra=EXTRA))
        [old] = await rows_of(store, [ACCESS])
        await vault.store_token_set(other.account, TokenSet("b", extra=EXTRA))
        await vault.store_token_set(ACCOUNT, TokenSet("new", extra=EXTRA))
        [row], [bob] = await rows_of(store, [ACCESS]), await rows_of(store, [other])
        await forge(store, forged(attack, row, old, bob))
        with pytest.raises(DecryptionError):
            await vault.get_token(ACCESS)
        with pytest.raises(DecryptionError):
            await vault.get_access_token(ACCOUNT)
        assert await extra_of(vault, other) == EXTRA


async def put(store: Store, target: TokenKey, source: TokenKey, flip: int | None = None) -> None:
    """Store the sealed value of ``source`` under ``target``; change one bit of the byte at index ``flip``, if given."""
    row = (await store.accounts.get(source)).row
    assert row is not None
    blob = bytearray(row.sealed.blob)
    if flip is not None:
        blob[flip] ^= 1
    sealed = SealedToken(row.sealed.data_key_id, bytes(blob))
    await store.accounts.store([TokenWrite(target, sealed)], actor=None)
