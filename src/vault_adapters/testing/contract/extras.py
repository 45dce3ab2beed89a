"""Cases for extra members of an answer: sealed beside their access token, and replaced together with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import (
    ACCESS,
    ACCOUNT,
    ContractFixtures,
    key,
    rows_of,
    value_of,
)
from vault_domain.entities.account import TokenKey
from vault_domain.entities.imported import ImportedToken
from vault_domain.entities.secret import Secret
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault

EXTRA = {"instance_url": "https://one.example.com", "team": "T1"}
DAY = timedelta(days=1)


class ExtraCases(ContractFixtures):
    """`TokenSet.extra` and `Token.extra`."""

    async def test_members_of_the_greatest_size_are_kept(self, vault: TokenVault) -> None:
        extra = {"name": "\U0001f511" * ((16 * 1024 - len('{"name":""}')) // 4)}
        await vault.store_token_set(ACCOUNT, TokenSet("a", extra=extra, token_type='"' * 64))
        token = await vault.get_token(ACCESS)
        assert token is not None
        assert (token.extra, token.token_type) == (extra, '"' * 64)

    async def test_each_value_that_is_stored_replaces_the_members(self, vault: TokenVault) -> None:
        ways: list[Callable[[], Awaitable[object]]] = [
            lambda: vault.store_token(ACCESS, "b"),
            lambda: vault.store_tokens([(ACCESS, "b"), (key("other"), "o")]),
            lambda: vault.import_tokens([ImportedToken(ACCESS, Secret("b"))], overwrite=True),
        ]
        for number, store_another in enumerate(ways):
            await vault.store_token_set(ACCOUNT, TokenSet("a", extra=EXTRA | {"number": str(number)}))
            assert await extra_of(vault) == EXTRA | {"number": str(number)}
            await store_another()
            assert (await extra_of(vault), await value_of(vault, ACCESS)) == ({}, "b")

    async def test_re_encryption_seals_the_members_again(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        await vault.store_token_set(ACCOUNT, TokenSet("a", extra=EXTRA, token_type="DPoP"))
        [before] = await rows_of(store, [ACCESS])
        await vault.keys.rotate_data_key("t1")
        report = await vault.keys.reencrypt("t1")
        assert (report.reencrypted, report.unreadable) == (1, ())
        [after] = await rows_of(store, [ACCESS])
        assert after.sealed.extra not in (None, before.sealed.extra)
        clock.advance(2 * DAY)
        assert (await vault.keys.reencrypt("t1")).destroyed == 1  # the old data key: no value needs it now
        assert await extra_of(vault) == EXTRA
        token = await vault.get_token(ACCESS)
        assert token is not None
        assert token.token_type == "DPoP"


async def extra_of(vault: TokenVault, token_key: TokenKey = ACCESS) -> dict[str, str]:
    """Return the extra members of a stored token."""
    token = await vault.get_token(token_key)
    assert token is not None
    return dict(token.extra)
