"""If a store answers with the row of another account, the use cases refuse the row, whatever the store is."""

import logging
from datetime import timedelta

import pytest
from attrs import evolve
from tests.services.conftest import ACCESS, ACCOUNT, REFRESH
from tests.services.test_tokens import stored

from vault_adapters import Account, AuditAction, DecryptionError, Secret, TokenKind, TokenSet
from vault_adapters.testing import ScriptedRefresher
from vault_domain.entities.token import DAMAGED_ROW, DamagedToken
from vault_domain.ports.accounts import Reading

OTHER = Account("T1", "google", "ann")


class Swapped:
    """A repository that answers every question about one account with what is stored for another."""

    def __init__(self, right, asked=OTHER, given=ACCOUNT):
        self._right, self._asked, self._given = right, asked, given

    def _swap(self, question):
        if isinstance(question, Account):
            return self._given if question == self._asked else question
        return self._given.key(question.kind) if question.account == self._asked else question

    async def get(self, question):
        return await self._right.get(self._swap(question))

    async def read(self, account, *, with_values=True):
        return await self._right.read(self._swap(account))

    async def get_many(self, keys):
        return await self._right.get_many([self._swap(key) for key in keys])

    def __getattr__(self, name):
        return getattr(self._right, name)


@pytest.fixture
async def swapped(cases):
    """Give two things: the use cases over a store that takes one account for another, and their refresher."""
    refresher = ScriptedRefresher(*[TokenSet("new", "new", expires_in=3600)] * 4)
    await cases.connect()
    store = cases.store
    wrong = evolve(
        store,
        accounts=Swapped(store.accounts),
        refreshes=Swapped(store.refreshes),
    )
    cases.sink.events.clear()
    return cases.over(store=wrong, refreshers={"google": refresher}), refresher


async def test_nothing_of_another_account_is_handed_out(swapped, caplog):
    cases, refresher = swapped
    calls = [
        cases.tokens.get(OTHER.key(TokenKind.ACCESS_TOKEN)),
        cases.tokens.get_many([OTHER.key(TokenKind.ACCESS_TOKEN)]),
        cases.tokens.get_access(OTHER, None),
        cases.tokens.get_refresh(OTHER),
        cases.accounts.get(OTHER),
        cases.refreshing.ensure(OTHER, None, actor=None),
        cases.refreshing.refresh(OTHER, actor=None),
    ]
    for call in calls:
        with pytest.raises(DecryptionError) as caught:
            await call
        assert caught.value.account == OTHER
        assert {key.tenant_id for key in caught.value.keys} == {"T1"}
    assert refresher.calls == []
    assert caplog.text.count("wrong_row") == len(calls)
    assert {(event.action, event.tenant_id, event.code) for event in cases.sink.events} == {
        (AuditAction.DECRYPTION_FAILED, "T1", "wrong_row")
    }
    assert cases.opener.failed_reads.count() == 5


async def test_the_answer_for_one_key_is_never_that_for_another(cases):
    await stored(cases, ACCESS, "access")
    await stored(cases, REFRESH, "refresh")
    keys = [ACCESS, OTHER.key(TokenKind.REFRESH_TOKEN)]
    cases = cases.over(store=evolve(cases.store, accounts=Swapped(cases.store.accounts)))
    with pytest.raises(DecryptionError) as caught:
        await cases.tokens.get_many(keys)
    assert caught.value.keys == (OTHER.key(TokenKind.REFRESH_TOKEN),)
    # The store gives the same row for the first two keys, although the row belongs to the first key only.
    with pytest.raises(DecryptionError):
        await cases.tokens.get_many([ACCESS, OTHER.key(TokenKind.ACCESS_TOKEN), OTHER.key(TokenKind.REFRESH_TOKEN)])


async def test_a_sweep_counts_a_wrong_account_and_goes_on(swapped):
    cases, refresher = swapped
    await cases.connect(Account("t2", "google"), 2, lifetime=60)
    await cases.store.refreshes._right.reschedule(ACCOUNT, lambda record, now: now)
    cases.clock.advance(timedelta(seconds=40))
    # When the sweep reads the account that it reserved, the store answers with another one.
    cases.store.refreshes._asked, cases.store.refreshes._given = ACCOUNT, Account("t2", "google")
    report = await cases.sweeping.sweep(None, None, actor=None)
    assert (report.unreadable, report.refreshed) == (1, 1)
    assert [call.account for call in refresher.calls] == [Account("t2", "google")]


async def test_a_revocation_sends_nothing_of_another_account(swapped):
    cases, refresher = swapped

    revoked = []
    refresher.revoke = revoked.append
    with pytest.raises(DecryptionError):
        await cases.accounts.delete(OTHER, revoke=True, actor=None)
    assert revoked == []


async def test_a_damaged_row_is_an_error_of_its_own_key(cases, caplog):
    await stored(cases, REFRESH, "r")

    class Damaged(Swapped):
        async def get(self, key):
            return Reading.of(DamagedToken(key, DAMAGED_ROW), cases.clock.now())

        async def get_many(self, keys):
            rows, now = await self._right.get_many(keys[1:])
            return [DamagedToken(keys[0], DAMAGED_ROW), *rows], now

    cases = cases.over(store=evolve(cases.store, accounts=Damaged(cases.store.accounts)))
    calls = [
        lambda: cases.tokens.get(ACCESS),
        lambda: cases.tokens.get_access(ACCOUNT, timedelta(0)),
        lambda: cases.tokens.get_many([ACCESS, REFRESH]),
    ]
    with caplog.at_level(logging.ERROR):
        for call in calls:
            with pytest.raises(DecryptionError) as caught:
                await call()
            assert caught.value.keys == (ACCESS,)
    assert caplog.text.count("reason damaged_row") == cases.opener.failed_reads.count() == 3


class Open:
    """A cipher that opens every value without waiting."""

    def open_at_hand(self, key, sealed):
        return Secret("of somebody")


async def test_a_wrong_row_is_not_opened_without_waiting_either(cases):
    """`open_at_hand` only returns None for a wrong row; the method `open`, which may wait, reports the row."""
    await stored(cases, ACCESS, "v")
    row = (await cases.store.accounts.get(ACCESS)).row
    opener = cases.over(cipher=Open()).opener
    assert opener.open_at_hand(ACCESS, row).value.reveal() == "of somebody"
    assert opener.open_at_hand(REFRESH, row) is None
    assert opener.open_at_hand(ACCESS, DamagedToken(ACCESS, DAMAGED_ROW)) is None
    assert opener.open_at_hand(ACCESS, evolve(row, sealed=evolve(row.sealed, extra=b"sealed"))) is None
