"""Reports of rejected tokens that the database does not take at once."""

from datetime import timedelta

import pytest
from attrs import evolve
from tests.services.conftest import ACCESS, ACCOUNT, answer
from tests.services.fakes import Failing

from vault_adapters import RefreshFailedError, StorageError, TokenStatus
from vault_adapters.runtime.tasks import AsyncioTasks
from vault_domain.services.refresh import rejections
from vault_domain.services.refresh.rejections import YOUNG

AWAY = StorageError("away", retryable=True)


@pytest.fixture
async def served(cases, refresher):
    """Give the use cases with an account whose access token is valid, and no longer young."""
    cases = cases.over(refreshers={"google": refresher})
    await cases.connect()
    cases.clock.advance(YOUNG)
    return cases


def cut(cases, name, method):
    """Return the use cases over a store of which one method fails, and the fake that makes it fail."""
    failing = Failing(getattr(cases.store, name), method, AWAY)
    return cases.over(store=evolve(cases.store, **{name: failing})), failing


async def ensure(cases, timeout=None):
    return await cases.rejections.ensure(ACCOUNT, timeout, actor=None)


async def fail_to_report(cases, failing):
    """Report the stored token while the database does not answer, which it does again afterwards."""
    token = await ensure(cases)
    failing.left = 1
    with pytest.raises(StorageError):
        await cases.rejections.report(token.info, actor=None)
    return token


@pytest.mark.parametrize(("name", "method"), [("refreshes", "read"), ("changes", "mark_invalid")])
async def test_a_token_whose_report_failed_is_reported_again_before_it_is_returned(served, refresher, name, method):
    cases, failing = cut(served, name, method)
    failing.left = 0
    await fail_to_report(cases, failing)
    refresher.then(answer(1))
    assert (await ensure(cases)).value.reveal() == "access-1"
    assert "token_invalidated" in cases.sink.actions
    cases.clock.advance(YOUNG)
    assert (await ensure(cases)).value.reveal() == "access-1"
    assert len(refresher.calls) == 1


async def test_while_the_database_takes_no_report_the_token_is_not_returned(served):
    cases, _ = cut(served, "changes", "mark_invalid")
    token = await ensure(cases)
    for call in (cases.rejections.report(token.info, actor=None), ensure(cases), ensure(cases, 1.0)):
        with pytest.raises(StorageError):
            await call


async def test_a_token_that_was_replaced_meanwhile_is_not_reported_again(served):
    cases, failing = cut(served, "refreshes", "read")
    failing.left = 0
    await fail_to_report(cases, failing)
    await served.connect(number=2)
    cases.clock.advance(YOUNG)
    assert (await ensure(cases)).value.reveal() == "access-2"
    [row] = (await served.store.accounts.get_many([ACCESS]))[0]
    assert row.info.status is TokenStatus.VALID


async def test_a_report_of_an_older_token_does_not_end_the_report_of_the_present_one(served, refresher):
    cases, failing = cut(served, "refreshes", "read")
    failing.left = 0
    older = await ensure(cases)
    await served.connect(number=2)
    cases.clock.advance(YOUNG)
    await fail_to_report(cases, failing)
    refresher.then(answer(3))
    assert (await cases.rejections.report(older.info, actor=None)).value.reveal() == "access-3"


async def test_a_report_that_the_database_took_is_made_once(served):
    """Another one would make a suspect token invalid."""
    cases = served.over(refreshers={})
    token = await ensure(cases)
    await cases.rejections.report(token.info, actor=None)
    cases.clock.advance(timedelta(minutes=1))
    assert (await ensure(cases)).value == token.value
    assert cases.sink.actions.count("token_suspected") == 1
    assert "token_invalidated" not in cases.sink.actions


async def test_a_caller_waits_for_a_report_no_longer_than_its_timeout(served):
    tasks = AsyncioTasks()
    cases, failing = cut(served.over(tasks=tasks), "changes", "mark_invalid")
    failing.left = 0
    await fail_to_report(cases, failing)

    async def hang():
        await tasks.sleep(600)

    failing.obstruct = hang
    with pytest.raises(RefreshFailedError):
        await ensure(cases, 0.2)
    await tasks.drain(0)


async def test_of_many_failed_reports_the_oldest_is_forgotten(served, monkeypatch):
    monkeypatch.setattr(rejections, "_MOST_OPEN", 0)
    cases, failing = cut(served, "refreshes", "read")
    failing.left = 0
    token = await fail_to_report(cases, failing)
    assert await ensure(cases) == token
