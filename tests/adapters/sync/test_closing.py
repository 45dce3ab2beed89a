"""Closing refuses new calls at once, and ends soon even from a signal handler that has interrupted a call."""

import asyncio
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

from vault_adapters import (
    Account,
    ConfigurationError,
    ImportedToken,
    TokenKey,
    TokenKind,
    VaultConfig,
    generate_encryption_secret,
    open_sync_vault,
    open_vault,
)
from vault_adapters.sync.vault import sync_vault_over

KEY = TokenKey("t1", "google", TokenKind.ACCESS_TOKEN)
SOON = 2.0


@pytest.fixture
def config(tmp_path):
    return VaultConfig(
        f"sqlite:///{tmp_path / 'vault.db'}", encryption_secret=generate_encryption_secret(), scrypt_log2_n=14
    )


@pytest.fixture
def vault(config):
    with open_sync_vault(config) as vault:
        yield vault


def ends_closed(call):
    with pytest.raises(ConfigurationError) as caught:
        call()
    assert caught.value.code == "vault_closed"
    assert caught.value.__context__ is None


def test_busy_threads_do_not_keep_it_open(vault):
    vault.store_token(KEY, "v")
    closing, begun_later = threading.Event(), []

    def work():
        while True:
            is_late = closing.is_set()
            try:
                vault.get_token(KEY)
            except ConfigurationError as error:
                return error.code
            begun_later.extend([1] * is_late)

    with ThreadPoolExecutor(32) as pool:
        busy = [pool.submit(work) for _ in range(32)]
        time.sleep(0.2)
        closing.set()
        began = time.monotonic()
        vault.close()
        assert time.monotonic() - began < SOON
        assert {each.result(SOON) for each in busy} == {"vault_closed"}
    assert len(begun_later) < 1000  # begun before `close` got the lock


def test_a_new_call_does_not_wait_for_a_closing_vault(config):
    begun, end = threading.Event(), threading.Event()

    @asynccontextmanager
    async def slow_to_close():
        async with open_vault(config) as vault:
            yield vault
            begun.set()
            await asyncio.to_thread(end.wait, 20)

    vault = sync_vault_over(slow_to_close).open()
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(vault.close)
        try:
            assert begun.wait(20)
            ends_closed(lambda: vault.get_token(KEY))
            assert not closing.done()
        finally:
            end.set()
        closing.result(20)


def test_a_thread_that_waits_for_events_does_not_keep_it_open(vault):
    feed = vault.event_feed()
    vault.store_token(KEY, "v")
    next(feed)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, feed)
        time.sleep(0.1)
        vault.close()
        ends_closed(lambda: waiting.result(SOON))


class Interrupted:
    """A signal handler that closes the vault, and the signal, which comes a moment after `soon` is called."""

    def __init__(self, vault):
        self.vault, self.seconds = vault, None

    def __call__(self, *_):
        began = time.monotonic()
        self.vault.close()
        self.seconds = time.monotonic() - began

    def soon(self):
        main = threading.main_thread().ident
        threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGUSR1)).start()


@pytest.fixture
def interrupted(vault):
    handler = Interrupted(vault)
    before = signal.signal(signal.SIGUSR1, handler)
    yield handler
    signal.signal(signal.SIGUSR1, before)


def test_a_signal_handler_closes_it_while_its_thread_waits_for_events(vault, interrupted):
    feed = vault.event_feed()
    interrupted.soon()
    ends_closed(lambda: next(feed))
    assert interrupted.seconds < SOON


def test_a_signal_handler_closes_it_while_its_thread_reads_rows(vault, interrupted):
    """Only the interrupted thread could read the rows that the import waits for."""

    def rows():
        yield ImportedToken(Account("t1", "google").key(TokenKind.ACCESS_TOKEN), "v")
        interrupted.soon()
        time.sleep(0.4)
        yield ImportedToken(Account("t2", "google").key(TokenKind.ACCESS_TOKEN), "v")

    ends_closed(lambda: vault.import_tokens(rows()))
    assert interrupted.seconds < SOON


def test_a_signal_handler_closes_it_while_its_thread_reads(vault, interrupted):
    vault.store_token(KEY, "v")
    interrupted.soon()

    def read_on():
        while True:
            vault.get_token(KEY)

    ends_closed(read_on)
    assert interrupted.seconds < SOON


def test_a_signal_handler_closes_it_while_it_opens(config):
    threads, ended = set(threading.enumerate()), []

    @asynccontextmanager
    async def slow_to_open():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
        await asyncio.sleep(0.3)
        async with open_vault(config) as vault:
            yield vault
        ended.append(vault)

    vault = sync_vault_over(slow_to_open)
    before = signal.signal(signal.SIGUSR1, lambda *_: vault.close())
    try:
        ends_closed(vault.open)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(ended) == 1
    assert set(threading.enumerate()) <= threads
