"""A value that does not decrypt: every read fails and counts, and the log says so once per value and hour."""

import logging

import pytest
from tests.services.conftest import ACCESS, REFRESH

from vault_adapters import AuditAction, DecryptionError, Secret
from vault_domain.entities.token import TokenDraft, TokenWrite
from vault_domain.services.tokens.auditing import AuditService
from vault_domain.services.tokens.opening import TokenOpener

OPENING = "vault_domain.services.tokens.opening"
HOUR = 3600.0


@pytest.fixture
async def opener(cases):
    """Give an opener whose failures an audit service collects; the values of two keys do not decrypt."""
    auditing = AuditService(cases.store.audit, cases.sink, cases.tasks.monotonic)
    await cases.writing.store([TokenDraft(ACCESS, Secret("v"))], actor=None)
    sealed = (await cases.store.accounts.get(ACCESS)).row.sealed
    others = [ACCESS.account.key("api_key"), REFRESH]
    await cases.store.accounts.store([TokenWrite(key, sealed) for key in others], actor=None)
    cases.sink.events.clear()
    return TokenOpener(cases.cipher, cases.sink, cases.store.accounts, auditing.unreadable), others


async def fail(cases, opener, key):
    reading = await cases.store.accounts.get(key)
    with pytest.raises(DecryptionError):
        await opener.open(key, reading.row, reading.now)


async def test_a_value_is_logged_once_an_hour(cases, opener, caplog):
    caplog.set_level(logging.DEBUG, OPENING)
    opener, (one, other) = opener

    def levels():
        return [record.levelname for record in caplog.records if record.name == OPENING]

    for key in (one, one, other, one):
        await fail(cases, opener, key)
    assert levels() == ["ERROR", "DEBUG", "ERROR", "DEBUG"]
    await cases.tasks.sleep(HOUR - 1)
    await fail(cases, opener, one)
    await cases.tasks.sleep(1)
    await fail(cases, opener, one)
    assert levels()[4:] == ["DEBUG", "ERROR"]
    assert [event.action for event in cases.sink.events] == [AuditAction.DECRYPTION_FAILED] * 6
    assert opener.failed_reads.count() == 6


async def test_a_value_that_was_stored_again_is_logged_again(cases, opener, caplog):
    opener, (key, _) = opener
    await fail(cases, opener, key)
    sealed = (await cases.store.accounts.get(key)).row.sealed
    await cases.store.accounts.store([TokenWrite(key, sealed)], actor=None)
    await fail(cases, opener, key)
    assert caplog.text.count("a stored value could not be decrypted") == 2
