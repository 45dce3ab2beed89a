"""Erasure and key rotation of one tenant at the same time, and transactions that once deadlocked."""

import asyncio
from datetime import timedelta

import pytest
from tests.adapters.rotation.place import NEW, OLD
from tests.support.databases import both_stores

from vault_adapters import TokenKey, TokenKind

pytestmark = [pytest.mark.processes, both_stores]


async def test_an_erasure_beside_a_rotation_leaves_no_key(place):
    async with place.vault() as vault, place.vault() as another:
        for number in range(60):
            tenant = f"t{number}"
            await vault.store_token(TokenKey(tenant, "acme", TokenKind.API_KEY), "value")

            async def erase(tenant=tenant, number=number):
                await asyncio.sleep(number % 15 * 0.0006)
                return await another.erase_tenant(tenant)

            await asyncio.gather(vault.keys.rotate_data_key(tenant), erase())
        assert place.rows("SELECT count(*) FROM {token}") == [(0,)]
        assert place.rows("SELECT DISTINCT state FROM {data_key}") == [("destroyed",)]
        assert place.rows("SELECT count(*) FROM {data_key_wrap}") == [(0,)]


async def test_two_who_rotate_all_that_is_old_rotate_each_once(place):
    keys = [TokenKey(f"t{number:03d}", "acme", TokenKind.API_KEY) for number in range(150)]
    async with place.vault() as one, place.vault() as another:
        await one.store_tokens([(key, "value") for key in keys])
        await asyncio.sleep(0.2)
        age = timedelta(seconds=0.2)
        reports = await asyncio.gather(*(vault.keys.rotate_data_keys(older_than=age) for vault in (one, another)))
        assert sum(report.rotated for report in reports) == 150
        assert place.rows("SELECT count(*) FROM {data_key} WHERE state = 'decrypt_only'") == [(150,)]


async def test_wraps_are_deleted_while_tenants_are_erased(place):
    async with place.vault(OLD) as vault:
        await vault.store_tokens([(TokenKey(f"t{n:03d}", "acme", TokenKind.API_KEY), "value") for n in range(120)])
    async with place.vault(NEW, OLD) as rotating, place.vault(NEW, OLD) as erasing:

        async def erase():
            for number in reversed(range(120)):
                await erasing.erase_tenant(f"t{number:03d}")

        report, _ = await asyncio.gather(rotating.keys.rotate_master_key(), erase())
        assert not report.incomplete
        assert place.rows("SELECT count(*) FROM {data_key_wrap}") == [(0,)]
