"""The event feed and an async `on_event`, over real databases."""

import asyncio
import logging
import time
from datetime import timedelta

import pytest
from tests.support.databases import both_stores

from vault_adapters import (
    Account,
    AuditAction,
    InvalidInputError,
    RefreshFailedError,
    TokenKind,
    TokenSet,
    Tuning,
    open_vault,
)
from vault_adapters.testing import ScriptedRefresher

ACCOUNT = Account("acme", "google", "ann")
KEY = ACCOUNT.key(TokenKind.API_KEY)


async def follow(feed, seen, number):
    async with asyncio.timeout(60):
        async for page in feed:
            assert page.items
            seen += page.items
            if len(seen) >= number:
                return


@both_stores
async def test_the_feed_gives_each_event_once_and_goes_on_behind_a_cursor(database):
    async with open_vault(database.config()) as vault, open_vault(database.config()) as writer:
        seen = []
        await writer.store_token(KEY, "v")
        feed = vault.event_feed(tenant_id="acme", limit=2)
        following = asyncio.create_task(follow(feed, seen, 6))
        for _ in range(5):
            await writer.store_token(KEY, "v")
            await writer.store_token(Account("other", "google").key(TokenKind.API_KEY), "v")
        await following
        assert [event.generation for event in seen] == [1, 2, 3, 4, 5, 6]
        assert feed.cursor == seen[-1].cursor
        again = []
        await follow(vault.event_feed(tenant_id="acme", after=seen[3].cursor), again, 2)
        assert again == seen[4:]
        with pytest.raises(InvalidInputError):
            await anext(vault.event_feed(after="x"))


@both_stores
async def test_a_change_of_another_process_wakes_the_feed(database):
    async with open_vault(database.config()) as vault, open_vault(database.config()) as writer:
        await writer.store_token(KEY, "v")
        feed, seen = vault.event_feed(interval=timedelta(seconds=3600)), []
        await follow(feed, seen, 1)
        following = asyncio.create_task(follow(feed, seen, len(seen) + 1))
        begin = time.monotonic()
        while not following.done():
            await asyncio.sleep(0.1)  # until the feed listens, nothing wakes it
            await writer.store_token(KEY, "v")
            assert time.monotonic() - begin < 60
        await following


async def test_a_failed_refresh_is_found_at_the_next_look(database):
    refreshers = {"google": ScriptedRefresher(RefreshFailedError())}
    async with open_vault(database.config()) as vault, open_vault(database.config(), refreshers=refreshers) as writer:
        await writer.store_token_set(ACCOUNT, TokenSet("a", "r"))
        feed, seen = vault.event_feed(interval=timedelta(seconds=0.1)), []
        await follow(feed, seen, 2)
        with pytest.raises(RefreshFailedError):
            await writer.refresh_account(ACCOUNT)
        await follow(feed, seen, len(seen) + 1)
        assert seen[-1].action is AuditAction.REFRESH_FAILING


async def test_an_async_on_event_gets_all_events_in_order(database, caplog):
    got = []

    async def slowly(event):
        await asyncio.sleep(0.01 * (3 - len(got) % 3))
        got.append(event.generation)
        if event.generation == 2:
            raise LookupError("a text that no log shows")

    async with open_vault(database.config(), on_event=slowly) as vault:
        begin = time.monotonic()
        for _ in range(4):
            await vault.store_token(KEY, "v")
        assert len(got) < 4 or time.monotonic() - begin > 0.05
    assert got == [1, 2, 3, 4], "closing waits for the calls"
    assert "on_event raised LookupError for token_stored" in caplog.text
    assert "no log shows" not in caplog.text


async def test_an_async_on_event_that_hangs_does_not_hold_the_vault(database, caplog):
    async def hang(event):
        await asyncio.Event().wait()

    with caplog.at_level(logging.ERROR):
        config = database.config(tuning=Tuning(close_timeout=timedelta(seconds=0.1)))
        async with open_vault(config, on_event=hang) as vault:
            await vault.store_token(KEY, "v")
            await vault.store_token(KEY, "v")
            assert (await vault.get_token(KEY)).info.generation == 2
