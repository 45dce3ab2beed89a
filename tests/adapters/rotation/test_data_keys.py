"""Rotating data keys, and re-encrypting the values that the old data keys encrypt."""

import asyncio
from datetime import timedelta

import pytest
from tests.adapters.rotation.place import Place, read_all
from tests.support.databases import both_stores
from tests.support.loose_sqlite import loosen_sqlite

from vault_adapters import AuditAction, DecryptionError, InvalidInputError, TokenKey, TokenKind
from vault_adapters.testing import ManualClock

KEYS = [TokenKey("t1", "acme", TokenKind.API_KEY, f"a{number}") for number in range(5)]
OTHER = TokenKey("t2", "acme", TokenKind.API_KEY)


async def filled(vault):
    await vault.store_tokens([(key, f"value {key.identifier}") for key in KEYS])
    await vault.store_token(OTHER, "another tenant's")


async def test_what_is_stored_then_is_under_the_new_key_and_what_was_is_still_read(place):
    async with place.vault() as vault, place.vault() as another:
        await filled(vault)
        assert await read_all(another, KEYS[:1]) == ["value a0"]
        report = await vault.keys.rotate_data_key("t1")
        assert (report.rotated, report.tokens_to_reencrypt) == (True, 5)
        # The other process still takes the old key for the active one, and must not write under it.
        await another.store_token(KEYS[0], "newer")
        assert await read_all(vault, KEYS[:2]) == ["newer", "value a1"]
        assert place.rows(
            "SELECT count(*) FROM {token} t JOIN {data_key} d USING (tenant_id, data_key_id) WHERE state = 'active'"
        ) == [(2,)]
        status = await vault.keys.status()
        assert (status.active, status.decrypt_only, status.tokens_to_reencrypt) == (2, 1, 4)


async def test_a_tenant_without_a_key_has_nothing_to_rotate(place):
    async with place.vault() as vault:
        report = await vault.keys.rotate_data_key("nobody")
        assert (report.rotated, report.data_key_id) == (False, None)
        assert place.rows("SELECT count(*) FROM {data_key}") == [(0,)]


@both_stores
async def test_reencrypting_changes_nothing_that_can_be_seen(place):
    clock = ManualClock()
    async with place.vault(clock=clock) as vault:
        await filled(vault)
        await vault.mark_token_invalid(await vault.get_token(KEYS[1]), "revoked")
        before = [token async for token in vault.iter_tokens("t1")]
        events = len([event async for event in vault.iter_audit_events()])
        await vault.keys.rotate_data_key("t1")
        clock.advance(timedelta(hours=1))
        seen = []
        report = await vault.keys.reencrypt(progress=lambda done, total: seen.append((done, total)))
        assert (report.reencrypted, report.emptied, report.incomplete) == (5, 1, False)
        assert seen == [(5, 5)]
        assert [token async for token in vault.iter_tokens("t1")] == before
        assert await read_all(vault, KEYS) == [f"value a{number}" for number in range(5)]
        assert len([event async for event in vault.iter_audit_events()]) == events + 2  # the rotation's
    async with place.vault(clock=clock) as vault:
        assert await read_all(vault, [*KEYS, OTHER]) == [*(f"value a{n}" for n in range(5)), "another tenant's"]
        again = await vault.keys.reencrypt()
        assert (again.reencrypted, again.emptied, again.destroyed) == (0, 0, 0)


@both_stores
async def test_an_old_key_is_kept_for_a_day_after_its_last_token_left(place):
    clock = ManualClock()
    async with place.vault(clock=clock) as vault:
        await filled(vault)
        old = place.rows("SELECT data_key_id FROM {data_key} WHERE tenant_id = 't1'")[0][0]
        await vault.keys.rotate_data_key("t1")
        clock.advance(timedelta(days=3))
        assert (await vault.keys.reencrypt()).destroyed == 0  # emptied only now, however old the rotation is
        clock.advance(timedelta(hours=23, minutes=59))
        assert (await vault.keys.reencrypt()).destroyed == 0
        clock.advance(timedelta(minutes=1))
        assert (await vault.keys.reencrypt("t2")).destroyed == 0
        assert (await vault.with_actor("cron").keys.reencrypt("t1")).destroyed == 1
        assert place.rows("SELECT count(*) FROM {data_key_wrap} WHERE data_key_id = ?", old) == [(0,)]
        assert place.rows("SELECT state FROM {data_key} WHERE data_key_id = ?", old) == [("destroyed",)]
        events = [event async for event in vault.iter_audit_events(tenant_id="t1")]
        assert [(event.action, event.actor) for event in events][-2:] == [
            (AuditAction.DATA_KEY_ROTATED, None),
            (AuditAction.DATA_KEY_DESTROYED, "cron"),
        ]
        assert events[-1].code == bytes(old).hex()
        assert await read_all(vault, KEYS[:1]) == ["value a0"]


async def test_one_tenant_only(place):
    async with place.vault() as vault:
        await filled(vault)
        await vault.keys.rotate_data_key("t1")
        await vault.keys.rotate_data_key("t2")
        assert (await vault.keys.reencrypt("t2")).reencrypted == 1
        assert (await vault.keys.status()).tokens_to_reencrypt == 5


async def test_what_cannot_be_opened_is_counted_named_and_left(place):
    async with place.vault() as vault:
        await filled(vault)
        place.rows(
            "UPDATE {token} SET blob = (SELECT blob FROM {token} WHERE identifier = 'a1') WHERE identifier = 'a3'"
        )
        rotated = await vault.keys.rotate_data_key("t1")
        report = await vault.keys.reencrypt()
        assert report.incomplete
        assert (report.reencrypted, report.remaining, report.unreadable_count, report.emptied) == (4, 1, 1, 0)
        [(damaged, blob)] = place.rows("SELECT data_key_id, blob FROM {token} WHERE identifier = 'a3'")
        [named] = report.unreadable
        assert (named.tenant_id, named.data_key_id, named.count) == ("t1", bytes(damaged).hex(), 1)
        assert bytes(damaged).hex() != rotated.data_key_id
        with pytest.raises(DecryptionError):
            await vault.get_token(KEYS[3])
        again = await vault.keys.reencrypt()
        assert (again.reencrypted, again.unreadable) == (0, report.unreadable)
        assert place.rows("SELECT blob FROM {token} WHERE identifier = 'a3'") == [(blob,)]
        await vault.store_token(KEYS[3], "stored anew")
        assert not (await vault.keys.reencrypt()).incomplete


async def test_a_tenant_whose_active_key_is_damaged_does_not_stand_in_the_others_way(place):
    async with place.vault() as vault:
        await filled(vault)
        await vault.keys.rotate_data_key("t1")
        await vault.keys.rotate_data_key("t2")
    flipped = "(SELECT wrapped FROM {data_key_wrap} WHERE tenant_id = 't2' LIMIT 1)"
    place.rows(
        f"UPDATE {{data_key_wrap}} SET wrapped = {flipped} WHERE tenant_id = 't1' AND data_key_id IN "
        "(SELECT data_key_id FROM {data_key} WHERE state = 'active')"
    )
    async with place.vault() as vault:
        report = await vault.keys.reencrypt()
        assert (report.reencrypted, report.unreadable_count, report.remaining) == (1, 5, 5)
        assert await read_all(vault, KEYS[:1]) == ["value a0"]


@both_stores
async def test_a_run_that_ends_early_is_simply_run_again(place):
    keys = [TokenKey("t1", "acme", TokenKind.API_KEY, f"a{number:04d}") for number in range(1100)]

    class EnoughError(Exception):
        pass

    def stop(done, total):
        raise EnoughError

    async with place.vault() as vault:
        await vault.store_tokens([(key, "value") for key in keys])
        await vault.keys.rotate_data_key("t1")
        with pytest.raises(EnoughError):
            await vault.keys.reencrypt(progress=stop)
        assert (await vault.keys.status()).tokens_to_reencrypt == 100
        assert (await vault.keys.reencrypt()).reencrypted == 100
        assert set(await read_all(vault, keys[::50])) == {"value"}


async def test_arguments_are_checked(place):
    async with place.vault() as vault:
        for call in (
            vault.keys.rotate_data_key(""),
            vault.keys.reencrypt(""),
            vault.keys.reencrypt(progress=1),
            vault.keys.rotate_data_keys(older_than=1),
            vault.keys.rotate_data_keys(dry_run=1),
            vault.keys.rotate_data_keys(progress=1),
            vault.keys.rotate_master_key(1),
            vault.erase_tenant(None),
        ):
            with pytest.raises(InvalidInputError):
                await call


async def test_a_key_that_has_tokens_again_is_not_destroyed_but_emptied_again(place):
    clock = ManualClock()
    async with place.vault(clock=clock) as vault:
        await filled(vault)
        where = "WHERE tenant_id = 't1' AND identifier = 'a0'"
        [(old_key, old_blob)] = place.rows(f"SELECT data_key_id, blob FROM {{token}} {where}")
        await vault.keys.rotate_data_key("t1")
        assert (await vault.keys.reencrypt()).emptied == 1
        # Somebody restores one row of a backup.
        place.rows(f"UPDATE {{token}} SET data_key_id = ?, blob = ? {where}", old_key, old_blob)
        clock.advance(timedelta(days=2))
        report = await vault.keys.reencrypt()
        assert (report.destroyed, report.reencrypted, report.emptied, report.incomplete) == (0, 1, 1, False)
        clock.advance(timedelta(days=2))
        assert (await vault.keys.reencrypt()).destroyed == 1
        assert await read_all(vault, KEYS[:1]) == ["value a0"]


async def test_what_cannot_be_opened_is_named_by_its_place(place):
    async with place.vault() as vault:
        await filled(vault)
        place.rows("UPDATE {token} SET blob = ? WHERE identifier IN ('a1', 'a3')", b"\0" * 256)
        await vault.keys.rotate_data_key("t1")
        report = await vault.keys.reencrypt()
        assert report.unreadable_tokens == (KEYS[1], KEYS[3])
        assert report.unreadable_count == 2


async def test_all_tenants_at_once(place):
    clock = ManualClock()
    keys = [TokenKey(f"t{number:03d}", "acme", TokenKind.API_KEY) for number in range(450)]
    async with place.vault(clock=clock) as vault:
        await vault.store_tokens([(key, f"value {key.tenant_id}") for key in keys])
        clock.advance(timedelta(days=365))
        await vault.keys.rotate_data_key("t007")
        await vault.store_token(OTHER, "a tenant that is new")
        due = await vault.keys.rotate_data_keys(older_than=timedelta(days=365), dry_run=True)
        assert (due.due, due.rotated, due.tokens_to_reencrypt) == (449, 0, 450)
        seen = []
        report = await vault.with_actor("cron").keys.rotate_data_keys(
            older_than=timedelta(days=365), progress=lambda done, total: seen.append((done, total))
        )
        assert (report.due, report.rotated, report.overtaken, report.tokens_to_reencrypt) == (449, 449, 0, 450)
        assert seen == [(200, 449), (400, 449), (449, 449)]
        assert place.rows("SELECT count(*) FROM {data_key} WHERE state = 'active'") == [(451,)]
        actors = place.rows("SELECT count(*) FROM {audit_event} WHERE action = 'data_key_rotated' AND actor = 'cron'")
        assert actors == [(449,)]
        assert (await vault.keys.reencrypt()).emptied == 450
        assert await read_all(vault, keys[::100]) == [f"value {key.tenant_id}" for key in keys[::100]]
        assert (await vault.keys.rotate_data_keys()).rotated == 451


@both_stores
async def test_of_stores_at_the_same_moment_those_under_an_old_key_are_sealed_anew(place):
    keys = [TokenKey(f"t{number % 4}", "acme", TokenKind.API_KEY, f"a{number}") for number in range(40)]
    async with place.vault() as vault, place.vault() as another:
        await asyncio.gather(*(vault.store_token(key, "old") for key in keys))
        await another.keys.rotate_data_key("t2")
        infos = await asyncio.gather(*(vault.with_actor("ann").store_token(key, f"new {key}") for key in keys))
        assert [(info.key, info.generation) for info in infos] == [(key, 2) for key in keys]
        assert await read_all(another, keys) == [f"new {key}" for key in keys]
        under = "SELECT DISTINCT state FROM {token} t JOIN {data_key} d USING (tenant_id, data_key_id)"
        assert place.rows(under) == [("active",)]
        assert place.rows("SELECT count(*) FROM {audit_event} WHERE actor = 'ann'") == [(40,)]


@both_stores
async def test_two_who_rotate_all_tenants(place):
    keys = [TokenKey(f"t{number:03d}", "acme", TokenKind.API_KEY) for number in range(60)]
    async with place.vault() as one, place.vault() as another:
        await one.store_tokens([(key, "value") for key in keys])
        first = set(place.rows("SELECT tenant_id, data_key_id FROM {data_key}"))
        reports = await asyncio.gather(one.keys.rotate_data_keys(), another.keys.rotate_data_keys())
        # A key that the other made after this one's clock was read is not due, so that one report may count fewer.
        assert all(report.rotated + report.overtaken <= 60 for report in reports)
        assert place.rows("SELECT count(*) FROM {data_key}") == [(60 + sum(report.rotated for report in reports),)]
        active = place.rows("SELECT tenant_id, data_key_id FROM {data_key} WHERE state = 'active'")
        assert len({tenant_id for tenant_id, _ in active}) == len(active) == 60
        assert not first & set(active)
        await one.keys.reencrypt()
        assert set(await read_all(another, keys)) == {"value"}


@pytest.mark.parametrize("damage", ["CAST(x'ff' AS TEXT)", "5", "x''", "'text'"])
async def test_a_value_of_another_type_is_one_damaged_value(tmp_path, damage):
    place = Place(f"sqlite:///{tmp_path / 'vault.db'}")
    async with place.vault() as vault:
        await filled(vault)
    loosen_sqlite(tmp_path / "vault.db")
    async with place.vault() as vault:
        place.rows(f"UPDATE {{token}} SET blob = {damage} WHERE identifier = 'a1'")
        await vault.keys.rotate_data_key("t1")
        report = await vault.keys.reencrypt()
        assert (report.reencrypted, report.unreadable_tokens) == (4, (KEYS[1],))
        with pytest.raises(DecryptionError):
            await vault.get_token(KEYS[1])


@both_stores
async def test_many_data_keys_are_destroyed_page_by_page(place, monkeypatch):
    """Each page is a transaction. A data key that has tokens again is on a page, but it is not destroyed."""
    for store in "postgres", "sqlite":
        monkeypatch.setattr(f"vault_adapters.stores.{store}.keys.CHANGED_AT_ONCE", 2)
    clock = ManualClock()
    async with place.vault(clock=clock) as vault:
        await filled(vault)
        for number in range(5):
            await vault.store_token(TokenKey(f"m{number}", "acme", TokenKind.API_KEY), "value")
        place.rows("CREATE TABLE kept AS SELECT * FROM {token} WHERE tenant_id = 'm1'")
        await vault.keys.rotate_data_keys()
        await vault.keys.reencrypt()
        place.rows("DELETE FROM {token} WHERE tenant_id = 'm1'")
        place.rows("INSERT INTO {token} SELECT * FROM kept")
        place.rows("DROP TABLE kept")
        clock.advance(timedelta(days=1))
        transactions = []
        if place.is_sqlite:
            database = vault._services.resealing._keys._database
            transact = database.transact
            monkeypatch.setattr(
                database, "transact", lambda work: transactions.append(work.__qualname__) or transact(work)
            )
        report = await vault.keys.reencrypt()
        assert (report.destroyed, report.reencrypted) == (6, 1)
        assert place.states("data_key").count("destroyed") == 6
        if place.is_sqlite:
            assert sum("change_page" in name for name in transactions) == 4 + 1  # the last one notes what was emptied
        else:
            times = place.rows("SELECT DISTINCT xid::text FROM {audit_event} WHERE action = 'data_key_destroyed'")
            assert len(times) == 4
