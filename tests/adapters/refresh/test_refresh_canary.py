"""A provider repeats tokens wherever it can, and no file, log or traceback contains them."""

import logging
import traceback

import pytest
from tests.adapters.refresh.refresh_kit import ACCOUNT, HOUR, MINUTE, make_config
from tests.support.scripted_provider import Answer, error_answer, redirect_answer, token_answer

from vault_adapters import Account, TokenSet, VaultError, open_vault
from vault_adapters.providers import OAuth2Refresher

SPENT, ACCESS, FRESH, SECRET = (f"CANARY-{name}-5f1e9c7ab3d2" for name in ("spent", "access", "fresh", "client"))
ECHO = f"{SPENT} {ACCESS} {FRESH} {SECRET}"
MARK = "5f1e9c7ab3d2"


def echoing():
    headers = {"X-Echo": ECHO, "WWW-Authenticate": f'Bearer error_description="{ECHO}"'}
    yield error_answer("invalid_grant", description=ECHO).with_headers(X_Echo=ECHO)
    yield error_answer("invalid_client", status=401, description=ECHO)
    yield error_answer(ECHO)
    yield error_answer(f"invalid_grant_{SPENT.lower()}")
    yield redirect_answer(f"https://elsewhere.example/?refresh_token={SPENT}")
    yield Answer(status=429, body=ECHO.encode(), headers={**headers, "Retry-After": ECHO})
    yield Answer(status=500, body=ECHO.encode(), headers=headers)
    yield Answer(body=f"<html>{ECHO}".encode(), headers=headers)
    yield Answer(json={"refresh_token": FRESH, "error": ECHO, "error_description": ECHO})
    yield Answer(json={"access_token": ["not", "a", "text", FRESH]})
    yield token_answer(FRESH, FRESH, expires_in=FRESH, token_type=FRESH, id_token=FRESH)


def traceback_with_locals(error):
    """Return what a host's error reporting would show, without the frames of this module."""
    parts = []
    while error is not None:
        walk = traceback.walk_tb(error.__traceback__)
        theirs = [(frame, line) for frame, line in walk if frame.f_code.co_filename != __file__]
        stack = traceback.StackSummary.extract(iter(theirs), capture_locals=True)
        parts += [*stack.format(), str(error), repr(error.args), repr(vars(error))]
        error = error.__cause__ or error.__context__
    return "\n".join(parts)


@pytest.mark.parametrize("journaled", [False, True])
async def test_nothing_that_a_provider_repeats_stays(provider, tmp_path, clock, caplog, journaled):
    caplog.set_level(logging.DEBUG)
    config = make_config(f"sqlite:///{tmp_path}/vault.db", journal_dir=tmp_path / "journal" if journaled else None)
    shown, events = [], []
    for number, answer in enumerate(echoing()):
        account = Account("t1", "acme", f"user-{number}")
        # A new vault for each answer, because a rejected client stops a vault's calls to the provider for a while.
        refresher = OAuth2Refresher(provider.token_url, "client", SECRET)
        provider.answer(answer)
        async with open_vault(config, refreshers={"acme": refresher}, clock=clock, on_event=events.append) as vault:
            await vault.store_token_set(account, TokenSet(ACCESS, SPENT, expires_in=MINUTE))
            clock.advance(HOUR)
            try:
                token = await vault.ensure_access_token(account)
                shown.append(repr(token))
            except VaultError as error:
                shown.append(traceback_with_locals(error))
            shown.append(repr(await vault.get_account(account)))
            shown += [repr(info) async for info in vault.iter_tokens("t1")]
    assert provider.unused == 0
    assert not [text for text in shown if MARK in text]
    assert MARK not in repr(events)
    assert MARK not in caplog.text
    assert len(caplog.records) > 20
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert MARK.encode() not in path.read_bytes(), path.name
            assert MARK.upper().encode() not in path.read_bytes(), path.name


async def test_a_sweep_says_nothing_either(provider, tmp_path, clock, caplog):
    caplog.set_level(logging.DEBUG)
    config = make_config(f"sqlite:///{tmp_path}/vault.db")
    refresher = OAuth2Refresher(provider.token_url, "client", SECRET)
    async with open_vault(config, refreshers={"acme": refresher}, clock=clock) as vault:
        for answer in (Answer(status=500, body=ECHO.encode()), error_answer("invalid_grant", description=ECHO)):
            provider.answer(answer)
            await vault.store_token_set(ACCOUNT, TokenSet(ACCESS, SPENT, expires_in=MINUTE))
            clock.advance(HOUR)
            assert (await vault.refresh_due()).refreshed == 0
    assert MARK not in caplog.text
