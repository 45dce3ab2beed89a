"""Use cases for tokens and accounts, and how they treat a store's answers."""

from datetime import timedelta

import pytest
from attrs import evolve
from tests.services.conftest import ACCESS, ACCOUNT, REFRESH
from tests.services.fakes import Failing

from vault_adapters import AuditAction, DecryptionError, MarkOutcome, Secret, StorageError, TokenSet
from vault_adapters.testing import ScriptedRefresher
from vault_adapters.testing.contract.master_keys import replace
from vault_domain.entities.audit import AuditEvent
from vault_domain.entities.token import TokenDraft, TokenWrite
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.services.tokens import auditing
from vault_domain.services.tokens.auditing import AuditService

MINUTE = timedelta(minutes=1)


async def stored(cases, key=ACCESS, value="v", **fields):
    [info] = await cases.writing.store([TokenDraft(key, Secret(value), **fields)], actor="me")
    return info


async def test_a_stored_value_comes_back_and_publishes_an_event(cases):
    info = await stored(cases)
    token = await cases.tokens.get(ACCESS)
    assert (token.info, token.value.reveal()) == (info, "v")
    assert [(event.action, event.actor) for event in cases.sink.events] == [(AuditAction.TOKEN_STORED, "me")]


async def test_nothing_stored_is_nothing_read(cases):
    assert await cases.writing.store([], actor=None) == []
    assert await cases.tokens.get(ACCESS) is None
    assert await cases.tokens.get_many([ACCESS]) == {}
    assert await cases.tokens.get_access(ACCOUNT, None) is None
    assert await cases.writing.delete(ACCESS, actor=None) is False
    assert cases.sink.events == []


async def test_a_value_is_sealed_anew_where_the_data_key_was_rotated_meanwhile(cases):
    await stored(cases)
    active = await cases.store.keys.data_key("t1", None)
    await replace(cases.store.keys, active.key_id, await cases.cipher.make_data_key("t1"))
    await stored(cases, REFRESH, "r")  # the cipher still has the old data key
    row = (await cases.store.accounts.get(REFRESH)).row
    assert row.sealed.data_key_id == (await cases.store.keys.data_key("t1", None)).key_id
    assert (await cases.tokens.get(REFRESH)).value.reveal() == "r"


async def test_a_data_key_that_keeps_changing_is_given_up(cases):
    cases = cases.over(
        store=evolve(cases.store, accounts=Failing(cases.store.accounts, "store", DataKeyInactiveError()))
    )
    with pytest.raises(StorageError) as caught:
        await stored(cases)
    assert caught.value.retryable


async def test_the_buffer_tells_whether_a_token_needs_a_refresh(cases):
    await stored(cases, expires_at=cases.clock.now() + 6 * MINUTE)
    assert (await cases.tokens.get_access(ACCOUNT, None)).needs_refresh is False
    assert (await cases.tokens.get_access(ACCOUNT, 7 * MINUTE)).needs_refresh is True
    cases.clock.advance(MINUTE)
    assert (await cases.tokens.get_access(ACCOUNT, None)).needs_refresh is True
    cases.clock.advance(5 * MINUTE)
    assert await cases.tokens.get_access(ACCOUNT, None) is None


async def test_an_unreadable_value_is_one_error_an_event_and_a_count(cases):
    await stored(cases)
    sealed = (await cases.store.accounts.get(ACCESS)).row.sealed
    await cases.store.accounts.store([TokenWrite(REFRESH, sealed)], actor=None)
    for call in cases.tokens.get(REFRESH), cases.tokens.get_many([ACCESS, REFRESH]):
        with pytest.raises(DecryptionError) as caught:
            await call
        assert caught.value.keys == (REFRESH,)
    assert cases.sink.events[-1].action is AuditAction.DECRYPTION_FAILED
    assert cases.opener.failed_reads.count() == 2


async def test_uses_are_collected_and_flushed(cases):
    await stored(cases)
    for _ in range(3):
        await cases.tokens.get(ACCESS)
    assert (await cases.store.accounts.get(ACCESS)).row.info.last_used_at is None
    await cases.uses.flush()
    assert (await cases.store.accounts.get(ACCESS)).row.info.last_used_at == cases.clock.now()


async def test_marking_tells_whether_the_value_was_still_stored(cases):
    old = await stored(cases)
    new = await stored(cases, value="w")
    assert await cases.writing.mark_invalid(old, "x", actor=None) is MarkOutcome.STALE
    assert await cases.writing.mark_invalid(new, "x", actor=None) is MarkOutcome.APPLIED
    assert cases.sink.actions == [AuditAction.TOKEN_STORED] * 2 + [AuditAction.TOKEN_INVALIDATED]


class Revoker(ScriptedRefresher):
    """A refresher whose `revoke` returns or raises ``result``."""

    def __init__(self, result):
        super().__init__()
        self.result, self.revoked = result, []

    async def revoke(self, request):
        self.revoked.append(request.credential.reveal())
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.mark.parametrize(("result", "said"), [(True, True), (None, None), (OSError(), False)])
async def test_an_account_is_deleted_whatever_the_provider_says(cases, result, said):
    revoker = Revoker(result)
    cases = cases.over(refreshers={"google": revoker})
    await cases.accounts.store_set(ACCOUNT, TokenSet("a", "r"), label="Ann", actor=None)
    deletion = await cases.accounts.delete(ACCOUNT, revoke=True, actor=None)
    assert (deletion.deleted, deletion.revoked, revoker.revoked) == (2, said, ["r"])
    assert await cases.accounts.get(ACCOUNT) is None


class Log:
    """An audit log that refuses events of reads, or all events, as long as it is told to."""

    def __init__(self, refuses="reads"):
        self.actions, self.refuses = [], refuses

    async def append(self, noticed, *, apart):
        assert {each.event.action is AuditAction.DECRYPTION_FAILED for each in noticed} == {apart is not None}
        if self.refuses == "all" or (self.refuses == "reads" and apart is None):
            raise StorageError("away", retryable=True)
        self.actions += [each.event.action for each in noticed]
        return Change(None, tuple(each.event for each in noticed))


async def test_events_that_were_stored_are_not_stored_again_if_others_fail(cases):
    info, log = await stored(cases), Log()
    audit = AuditService(log, cases.sink, cases.tasks.monotonic, reads="all")
    audit.read([info], None, None)
    audit.unreadable(AuditEvent(AuditAction.DECRYPTION_FAILED, cases.clock.now(), tenant_id="t1"))
    await audit.flush()
    log.refuses = None
    await audit.flush()
    assert log.actions == [AuditAction.DECRYPTION_FAILED, AuditAction.TOKEN_READ]


async def test_the_log_tells_which_events_wait_or_were_dropped(cases, caplog, monkeypatch):
    monkeypatch.setattr(auditing, "_MOST_PENDING", 1)
    audit = AuditService(Log("all"), cases.sink, cases.tasks.monotonic)
    for code in ("tag", "commitment"):
        audit.unreadable(AuditEvent(AuditAction.DECRYPTION_FAILED, cases.clock.now(), tenant_id="t1", code=code))
    await audit.flush()
    assert caplog.messages == [
        "1 audit events of reads and failed decryptions were dropped, because too many were waiting",
        "audit events of reads and failed decryptions wait for the database (storage)",
    ]
