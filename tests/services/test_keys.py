"""Data keys, re-encryption and erasure."""

from datetime import timedelta

import pytest
from attrs import evolve
from tests.services.conftest import ACCESS, ACCOUNT, REFRESH
from tests.services.fakes import Failing, Obstructed

from vault_adapters import Account, AuditAction, StorageError
from vault_domain.entities.token import TokenWrite
from vault_domain.ports.change import DataKeyInactiveError

DAY = timedelta(days=1)


async def test_a_tenant_without_a_data_key_has_nothing_to_rotate(cases):
    report = await cases.rotating.rotate("t1", actor=None)
    assert (report.rotated, report.data_key_id, report.tokens_to_reencrypt) == (False, None, 0)


async def test_rotating_makes_a_new_key_and_reencrypting_empties_the_old_one(cases):
    await cases.connect()
    report = await cases.rotating.rotate("t1", actor="me")
    assert (report.rotated, report.tokens_to_reencrypt) == (True, 2)
    assert cases.sink.events[-1].action is AuditAction.DATA_KEY_ROTATED
    report = await cases.resealing.reencrypt(None, None, actor=None)
    assert (report.reencrypted, report.emptied, report.remaining) == (2, 1, 0)
    assert (await cases.tokens.get(REFRESH)).value.reveal() == "refresh-0"


async def test_of_two_rotations_one_wins(cases):
    await cases.connect()
    active = await cases.store.keys.data_key("t1", None)
    [keys] = [Stale(cases.store.keys, active)]
    assert (await cases.rotating.rotate("t1", actor=None)).rotated is True
    assert (await cases.over(store=evolve(cases.store, keys=keys)).rotating.rotate("t1", actor=None)).rotated is False


class Stale:
    """A key repository that still returns the active data key from before a key rotation."""

    def __init__(self, right, active):
        self._right, self._active = right, active

    def __getattr__(self, name):
        return getattr(self._right, name)

    async def data_key(self, tenant_id, key_id):
        return self._active


async def test_rotate_all_rotates_every_data_key_that_is_old_enough(cases):
    for number in range(7):
        await cases.connect(Account(f"t{number}", "google"))
    cases.clock.advance(DAY)
    await cases.rotating.rotate("t3", actor=None)
    told = []
    report = await cases.rotating.rotate_all(
        DAY, lambda done, total: told.append((done, total)), dry_run=False, actor=None
    )
    assert (report.due, report.rotated, report.overtaken, told) == (6, 6, 0, [(6, 6)])
    assert (await cases.rotating.rotate_all(DAY, None, dry_run=True, actor=None)).due == 0


async def test_a_value_that_does_not_open_is_reported_and_left(cases):
    await cases.connect()
    moved = (await cases.store.accounts.get(ACCESS)).row.sealed
    await cases.store.accounts.store([TokenWrite(REFRESH, moved)], actor=None)
    await cases.rotating.rotate("t1", actor=None)
    report = await cases.resealing.reencrypt("t1", None, actor=None)
    assert (report.reencrypted, report.remaining, report.emptied) == (1, 1, 0)
    assert report.unreadable_tokens == (REFRESH,)


async def test_a_page_is_sealed_anew_where_the_key_changes_meanwhile(cases):
    await cases.connect()
    await cases.rotating.rotate("t1", actor=None)
    rotation = Failing(cases.store.keys, "reseal", DataKeyInactiveError(), times=3)
    cases = cases.over(store=evolve(cases.store, keys=rotation))
    assert (await cases.resealing.reencrypt(None, None, actor=None)).reencrypted == 2
    rotation.left = 10**9
    await cases.rotating.rotate("t1", actor=None)
    with pytest.raises(StorageError):
        await cases.resealing.reencrypt(None, None, actor=None)


class Erased(Obstructed):
    """A repository that reads a page of values, whose tenant is erased just after."""

    def __init__(self, right, cases):
        super().__init__(right, "")
        self._cases = cases

    async def rows_to_reseal(self, *args):
        rows = await self._right.rows_to_reseal(*args)
        if rows:
            await self._cases.erasing.erase("t1", actor=None)
        return rows


async def test_values_whose_tenant_was_erased_meanwhile_are_counted_as_overtaken(cases):
    await cases.connect()
    await cases.rotating.rotate("t1", actor=None)
    rotation, told = Erased(cases.store.keys, cases), []
    resealing = cases.over(store=evolve(cases.store, keys=rotation)).resealing
    report = await resealing.reencrypt(None, lambda *counts: told.append(counts), actor=None)
    assert (report.reencrypted, report.overtaken, report.remaining, report.unreadable) == (0, 2, 0, ())
    assert told[-1] == (2, 2)


async def test_an_emptied_key_is_destroyed_a_day_later(cases):
    await cases.connect()
    await cases.rotating.rotate("t1", actor=None)
    await cases.resealing.reencrypt(None, None, actor=None)
    cases.clock.advance(DAY)
    assert (await cases.resealing.reencrypt(None, None, actor="me")).destroyed == 1
    assert cases.sink.events[-1].action is AuditAction.DATA_KEY_DESTROYED


async def test_erasing_forgets_the_keys_and_publishes_an_event(cases):
    await cases.connect()
    report = await cases.erasing.erase("t1", actor="me")
    assert (report.tokens, report.accounts, report.data_keys, report.wraps) == (2, 1, 1, 1)
    assert report.checkpointed is None
    assert cases.cipher.forgotten == ["t1"]
    assert (cases.sink.events[-1].action, cases.sink.events[-1].actor) == (AuditAction.TENANT_ERASED, "me")
    await cases.connect(number=1)
    assert (await cases.tokens.get(ACCESS)).value.reveal() == "access-1"
    assert (await cases.accounts.get(ACCOUNT)).label is None
