"""Cases for the rotation of data keys and master keys, for re-encryption, and for erasure."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import (
    ACCESS,
    ACCOUNT,
    CONFIG,
    REFRESH,
    SECRET,
    ContractFixtures,
    changes_of,
    events_of,
    key,
    tokens_of,
    value_of,
)
from vault_adapters.testing.contract.master_keys import activate, replace, retire
from vault_domain.entities.account import TokenKey, TokenKind
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.errors import WrongEncryptionSecretError
from vault_domain.entities.key_records import DataKeyState, DataKeyWrap, MasterKeyState
from vault_domain.entities.token import TokenWrite
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.change import DataKeyInactiveError
from vault_domain.ports.keys import DataKeyQuery, PlacedWrap, Resealed

NEXT_SECRET = SECRET[::-1]
BOTH = evolve(CONFIG, encryption_secret=NEXT_SECRET, previous_encryption_secret=SECRET)
ONLY_NEXT = evolve(CONFIG, encryption_secret=NEXT_SECRET)
OTHER = TokenKey("t2", "google", TokenKind.API_KEY)
DAY = timedelta(days=1)


class DataKeyCases(ContractFixtures):
    """`Keys`: data keys, and the values that they encrypt."""

    async def test_a_rotated_key_opens_and_no_longer_seals(self, vault: TokenVault, store: Store) -> None:
        await vault.store_tokens([(ACCESS, "a"), (OTHER, "o")])
        report = await vault.with_actor("me").keys.rotate_data_key("t1")
        assert (report.rotated, report.tokens_to_reencrypt) == (True, 1)
        [old] = await store.keys.rows_to_reseal(None, None, 10)
        assert old.key == ACCESS
        assert report.data_key_id not in (None, old.sealed.data_key_id.hex())
        with pytest.raises(DataKeyInactiveError):
            await store.accounts.store([TokenWrite(REFRESH, old.sealed)], actor=None)
        with pytest.raises(DataKeyInactiveError):
            await store.accounts.store([TokenWrite(REFRESH, old.sealed), TokenWrite(OTHER, old.sealed)], actor=None)
        with pytest.raises(DataKeyInactiveError):
            await changes_of(store).store_set(ACCOUNT, [TokenWrite(REFRESH, old.sealed)], label="l", actor=None)
        assert await value_of(vault, ACCESS) == "a"
        assert await value_of(vault, REFRESH) is None
        assert (await tokens_of(vault))[ACCESS].generation == 1
        events = [(event.action, event.actor, event.code) for event in (await events_of(vault, "t1"))[-2:]]
        assert events == [
            (AuditAction.DATA_KEY_REPLACED, "me", old.sealed.data_key_id.hex()),
            (AuditAction.DATA_KEY_ROTATED, "me", report.data_key_id),
        ]

    async def test_of_two_rotations_at_once_one_wins(self, vault: TokenVault, store: Store) -> None:
        await vault.store_token(ACCESS, "a")
        before = await store.keys.data_key("t1", None) or pytest.fail("no active data key")
        records = [evolve(before, key_id=bytes([number]) * 16) for number in range(8)]
        changes = await asyncio.gather(*(replace(store.keys, before.key_id, record) for record in records))
        active = await store.keys.data_key("t1", None)
        assert [change.result for change in changes if change.events] == [active]
        assert sorted(len(change.events) for change in changes) == [*[0] * 7, 2]
        stored = [await store.keys.data_key("t1", record.key_id) for record in records]
        assert [record for record in stored if record is not None] == [active]

    async def test_values_are_brought_over_and_nothing_else_changes(
        self, vault: TokenVault, clock: ManualClock
    ) -> None:
        await vault.store_token_set(ACCOUNT, TokenSet("a", "r", expires_in=3600, scopes=("s",)))
        await vault.store_token(OTHER, "o")
        await vault.keys.rotate_data_key("t1")
        before, count = await tokens_of(vault), len(await events_of(vault))
        clock.advance(DAY)
        report = await vault.keys.reencrypt()
        assert (report.reencrypted, report.overtaken, report.emptied, report.incomplete) == (2, 0, 1, False)
        assert await tokens_of(vault) == before
        assert (await value_of(vault, ACCESS), await value_of(vault, REFRESH)) == ("a", "r")
        assert len(await events_of(vault)) == count
        again = await vault.keys.reencrypt()
        assert (again.reencrypted, again.emptied, again.destroyed) == (0, 0, 0)

    async def test_pages_of_values_follow_the_keys(self, vault: TokenVault, store: Store) -> None:
        keys = [key(number or None, kind) for number in range(3) for kind in sorted(TokenKind)]
        await vault.store_tokens([(token_key, "v") for token_key in (*keys, OTHER)])
        await vault.keys.rotate_data_keys()
        first = await store.keys.rows_to_reseal(None, None, 5)
        rest = await store.keys.rows_to_reseal(None, first[-1].key, 100)
        assert [row.key for row in (*first, *rest)] == [*keys, OTHER]
        assert [row.key for row in await store.keys.rows_to_reseal("t2", None, 100)] == [OTHER]

    async def test_a_value_that_is_no_longer_there_is_not_replaced(self, vault: TokenVault, store: Store) -> None:
        await vault.store_tokens([(ACCESS, "a"), (REFRESH, "r")])
        await vault.keys.rotate_data_key("t1")
        access, refresh = await store.keys.rows_to_reseal("t1", None, 10)
        await vault.store_token(ACCESS, "newer")
        await vault.keys.reencrypt()
        assert await store.keys.rows_to_reseal("t1", None, 10) == []
        active = (await store.keys.data_key("t1", None) or pytest.fail("no active data key")).key_id
        stale = [Resealed(row.key, row.sealed, evolve(row.sealed, data_key_id=active)) for row in (access, refresh)]
        assert await store.keys.reseal(stale) == 0
        # Now `before` has the stored value's data key, and differs from the stored value only in its ciphertext.
        rewritten = [evolve(row, before=evolve(row.before, data_key_id=active)) for row in stale]
        assert await store.keys.reseal(rewritten) == 0
        assert (await value_of(vault, ACCESS), await value_of(vault, REFRESH)) == ("newer", "r")

    async def test_nothing_is_sealed_anew_under_a_key_that_is_not_active(self, vault: TokenVault, store: Store) -> None:
        await vault.store_tokens([(ACCESS, "a"), (OTHER, "o")])
        await vault.keys.rotate_data_keys()
        one, other = await store.keys.rows_to_reseal(None, None, 10)
        active = (await store.keys.data_key("t2", None) or pytest.fail("no active data key")).key_id
        good = Resealed(other.key, other.sealed, evolve(other.sealed, data_key_id=active))
        with pytest.raises(DataKeyInactiveError):
            await store.keys.reseal([Resealed(one.key, one.sealed, one.sealed), good])
        assert await store.keys.rows_to_reseal(None, None, 10) == [one, other]

    async def test_an_old_key_is_destroyed_a_day_after_it_was_emptied(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        await vault.store_token(ACCESS, "a")
        old = (await store.keys.data_key("t1", None) or pytest.fail("no active data key")).key_id
        await vault.keys.rotate_data_key("t1")
        clock.advance(3 * DAY)
        assert (await vault.keys.reencrypt()).destroyed == 0
        clock.advance(DAY - timedelta(seconds=1))
        assert (await vault.keys.reencrypt()).destroyed == 0
        clock.advance(timedelta(seconds=1))
        assert (await vault.with_actor("me").keys.reencrypt()).destroyed == 1
        assert (await vault.keys.reencrypt()).destroyed == 0
        record = await store.keys.data_key("t1", old)
        assert (record.state, record.wraps) == ("destroyed", ()) if record else pytest.fail("the tombstone is gone")
        event = (await events_of(vault, "t1"))[-1]
        assert (event.action, event.actor, event.code) == (AuditAction.DATA_KEY_DESTROYED, "me", old.hex())

    async def test_tenants_whose_key_is_old_enough(self, vault: TokenVault, store: Store, clock: ManualClock) -> None:
        for tenant in ("c", "a", "b"):
            await vault.store_token(TokenKey(tenant, "p", TokenKind.API_KEY), "v")
        clock.advance(DAY)
        await vault.keys.rotate_data_key("b")
        assert await tenants_to_rotate(store, DAY, "", 10) == ["a", "c"]
        assert await tenants_to_rotate(store, DAY, "a", 10) == ["c"]
        assert await tenants_to_rotate(store, timedelta(0), "", 2) == ["a", "b"]
        await vault.store_token(TokenKey("c", "p", TokenKind.WEBHOOK_SECRET), "v")
        tenants = (None, "a", "b", "c")
        counts = [
            await store.keys.key_counts(*each) for each in [*((tenant, DAY) for tenant in tenants), (None, 2 * DAY)]
        ]
        found = [(each.to_rotate, each.tokens_to_rotate) for each in counts]
        assert found == [(2, 3), (1, 1), (0, 0), (1, 2), (0, 0)]
        assert (await vault.keys.rotate_data_keys(older_than=DAY)).rotated == 2

    async def test_a_dry_run_counts_what_there_will_be_to_encrypt_again(self, vault: TokenVault) -> None:
        await vault.store_tokens([(ACCESS, "a"), (REFRESH, "r"), (OTHER, "o")])
        await vault.keys.rotate_data_key("t1")
        await vault.store_token(ACCESS, "newer")
        events = len(await events_of(vault))
        one = await vault.keys.rotate_data_key("t1", dry_run=True)
        every = await vault.keys.rotate_data_keys(dry_run=True)
        assert (one.rotated, one.tokens_to_reencrypt, every.rotated, every.due) == (False, 2, 0, 2)
        assert every.tokens_to_reencrypt == 3
        assert len(await events_of(vault)) == events
        done = await vault.keys.rotate_data_key("t1")
        assert (done.tokens_to_reencrypt, done.data_key_id == one.data_key_id) == (2, False)
        assert (await vault.keys.rotate_data_keys()).tokens_to_reencrypt == 3

    async def test_compromised_data_keys_are_destroyed_at_once(self, vault: TokenVault, store: Store) -> None:
        await vault.store_tokens([(ACCESS, "a"), (OTHER, "o")])
        old = [await store.keys.data_key(tenant, None) or pytest.fail("no active data key") for tenant in ("t1", "t2")]
        await vault.keys.rotate_data_keys()
        report = await vault.with_actor("me").keys.reencrypt("t1", compromised=True)
        assert (report.reencrypted, report.emptied, report.destroyed, report.incomplete) == (1, 1, 1, False)
        records = [await store.keys.data_key(key.tenant_id, key.key_id) for key in old]
        assert [record and record.state for record in records] == ["destroyed", "decrypt_only"]
        assert [record and record.confirmed for record in records] == ["destroyed", "decrypt_only"]
        event = (await events_of(vault, "t1"))[-1]
        assert (event.action, event.actor, event.code) == (AuditAction.DATA_KEY_DESTROYED, "me", old[0].key_id.hex())
        assert (await vault.keys.reencrypt(compromised=True)).destroyed == 1
        assert (await value_of(vault, ACCESS), await value_of(vault, OTHER)) == ("a", "o")

    async def test_an_erased_tenant_leaves_tombstones_and_may_come_again(self, vault: TokenVault, store: Store) -> None:
        await vault.store_token_set(ACCOUNT, TokenSet("a", "r"), label="label")
        await vault.store_tokens([(OTHER, "o"), (key("without a state"), "k")])
        keys = {(await store.keys.data_key("t1", None) or pytest.fail("no active data key")).key_id.hex()}
        keys.add((await vault.keys.rotate_data_key("t1")).data_key_id or "")
        count = len(await events_of(vault, "t1"))
        report = await vault.with_actor("me").erase_tenant("t1")
        assert (report.tokens, report.accounts, report.data_keys) == (3, 2, 2)
        assert await tokens_of(vault) == {}
        assert await value_of(vault, OTHER) == "o"
        status = await vault.keys.status(tenant_id="t1")
        assert (status.active, status.decrypt_only, status.destroyed) == (0, 0, 2)
        events = await events_of(vault, "t1")
        assert [event.action for event in events] == [*[AuditAction.DATA_KEY_DESTROYED] * 2, AuditAction.TENANT_ERASED]
        assert {event.actor for event in events} == {"me"}
        assert {event.code for event in events[:2]} == keys
        assert report.audit_events == count
        assert {event.account for event in await events_of(vault) if event.tenant_id != "t2"} == {None}
        again = await vault.erase_tenant("t1")
        assert (again.tokens, again.data_keys, await events_of(vault, "t1")) == (0, 0, events)
        await vault.store_token(ACCESS, "afresh")
        assert await value_of(vault, ACCESS) == "afresh"
        assert (await tokens_of(vault))[ACCESS].generation == 1


class MasterKeyCases(ContractFixtures):
    """`Keys`: master keys and their wraps."""

    async def test_a_rotation_step_by_step(self, store: Store) -> None:
        async with self.vault_over(store) as vault:
            await vault.store_tokens([(ACCESS, "a"), (OTHER, "o")])
        [old] = await store.keys.master_keys()
        async with self.vault_over(store, BOTH) as vault:
            states = {record.key_id: record.state for record in await store.keys.master_keys()}
            assert sorted(states.values()) == [MasterKeyState.ACTIVE, MasterKeyState.UNWRAP_ONLY]
            [new] = set(states) - {old.key_id}
            assert [
                record.tenant_id for record in await store.keys.data_keys(DataKeyQuery(not_wrapped_by=new), None, 9)
            ] == [
                "t1",
                "t2",
            ]
            report = await vault.keys.rotate_master_key()
            assert (report.activated, report.wrapped, report.unwrapped, report.retired) == (True, 2, 2, 1)
            assert await store.keys.data_keys(DataKeyQuery(wrapped_by=old.key_id), None, 9) == []
            assert [
                record.tenant_id for record in await store.keys.data_keys(DataKeyQuery(wrapped_by=new), None, 1)
            ] == ["t1"]
        async with self.vault_over(store, ONLY_NEXT) as vault:
            assert (await value_of(vault, ACCESS), await value_of(vault, OTHER)) == ("a", "o")
            actions = [event.action for event in await events_of(vault)]
        assert [action for action in actions if action.startswith("master_key")] == [
            AuditAction.MASTER_KEY_INTRODUCED,
            AuditAction.MASTER_KEY_ACTIVATED,
            AuditAction.MASTER_KEY_RETIRED,
        ]
        with pytest.raises(WrongEncryptionSecretError):
            async with self.vault_over(store):
                pass

    async def test_a_master_key_in_use_is_not_retired(self, store: Store) -> None:
        async with self.vault_over(store) as vault:
            await vault.store_token(ACCESS, "a")
        async with self.vault_over(store, BOTH):
            old, new = await master_key_ids(store)
            assert tuple((await retire(store.keys, old)).events) == ()
            await activate(store.keys, new, old)
            assert tuple((await retire(store.keys, old)).events) == ()  # it still wraps a data key

    async def test_a_wrap_is_deleted_only_if_the_kept_one_is_stored(self, store: Store) -> None:
        async with self.vault_over(store) as vault:
            await vault.store_token(ACCESS, "a")
        async with self.vault_over(store, BOTH) as vault:
            old, new = await master_key_ids(store)
            await vault.store_token(OTHER, "o")
            theirs = await store.keys.data_key("t2", None) or pytest.fail("no active data key")
            [mine] = theirs.wraps
            swapped = PlacedWrap("t2", theirs.key_id, mine)
            # `change_wraps` gets the wraps to keep, and the master key whose wraps are deleted.
            assert await store.keys.change_wraps([swapped], replaced=new) == 0  # the new master key wraps nothing
            kept = DataKeyWrap(new, mine.wrapped)
            placed = PlacedWrap("t2", theirs.key_id, kept)
            assert await store.keys.change_wraps([placed]) == 0  # the new master key is not active yet
            await activate(store.keys, new, old)
            assert await store.keys.change_wraps([placed]) == 1
            # The wrap to keep is under the old master key, which is not active now.
            assert await store.keys.change_wraps([swapped], replaced=new) == 0
            forged = evolve(placed, wrap=evolve(kept, wrapped=kept.wrapped[:-1] + bytes([kept.wrapped[-1] ^ 1])))
            assert await store.keys.change_wraps([forged], replaced=old) == 0  # the wrap to keep is not stored
            assert await store.keys.change_wraps([placed], replaced=old) == 1
            assert await store.keys.change_wraps([placed]) == 0  # this wrap is stored already
            assert await value_of(vault, OTHER) == "o"


async def master_key_ids(store: Store) -> tuple[bytes, bytes]:
    """Return the id of the active master key, and the id of the other one."""
    records = sorted(await store.keys.master_keys(), key=lambda record: record.state != MasterKeyState.ACTIVE)
    active, other = (record.key_id for record in records)
    return active, other


async def tenants_to_rotate(store: Store, age: timedelta, after: str, limit: int) -> list[str]:
    """Return the tenants whose data key is to be rotated; check that each listed data key is the active one."""
    old = DataKeyQuery(state=DataKeyState.ACTIVE, min_age=age)
    records = await store.keys.data_keys(old, (after, b"\xff" * 16), limit)
    for record in records:
        assert record == await store.keys.data_key(record.tenant_id, None)
    return [record.tenant_id for record in records]
