"""`SyncVault`: the same surface as `TokenVault`, from any thread, with clear refusals where it cannot work."""

import asyncio
import inspect
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from tests.support.processes import Script, start_processes

from vault_adapters import (
    Account,
    ConfigurationError,
    HostTransaction,
    InvalidInputError,
    StorageError,
    SyncHostTransaction,
    SyncVault,
    TokenKey,
    TokenKind,
    TokenVault,
    VaultConfig,
    generate_encryption_secret,
    open_sync_vault,
    open_vault,
)
from vault_adapters.sync.vault import sync_vault_over
from vault_adapters.sync.views import View
from vault_adapters.testing import ManualClock

KEY = TokenKey("t1", "google", TokenKind.ACCESS_TOKEN)


@pytest.fixture
def config(tmp_path):
    return VaultConfig(
        f"sqlite:///{tmp_path / 'vault.db'}", encryption_secret=generate_encryption_secret(), scrypt_log2_n=14
    )


@pytest.fixture
def vault(config):
    with open_sync_vault(config) as vault:
        yield vault


def public(cls):
    return {name: member for name, member in inspect.getmembers(cls) if not name.startswith("_")}


def without_await(signature):
    """Return a signature's parameters and return type, with async types replaced by sync ones."""
    returned = str(signature.return_annotation).replace("AsyncIterator", "Iterator")
    returned = returned.replace("TokenVault", "SyncVault").replace("EventFeed", "Iterator[Page[AuditEvent]]")
    returned = "SyncHostTransaction" if returned == "HostTransaction" else returned
    return [(p.name, p.kind, p.default, p.annotation) for p in signature.parameters.values()], returned


def test_the_methods_and_signatures_are_those_of_the_async_vault():
    expected, found = public(TokenVault), public(SyncVault)
    assert set(found) - {"open", "close"} == set(expected)
    for name, member in expected.items():
        if inspect.isfunction(member):
            sync = found[name]
            assert not inspect.iscoroutinefunction(sync), name
            assert without_await(inspect.signature(sync)) == without_await(inspect.signature(member)), name
            assert sync.__doc__ == member.__doc__, name
        else:
            assert isinstance(found[name], property | View), name


def test_a_host_s_transaction_has_the_same_calls():
    for name, member in public(HostTransaction).items():
        sync = getattr(SyncHostTransaction, name)
        assert without_await(inspect.signature(sync)) == without_await(inspect.signature(member)), name


def test_the_event_feed_waits_for_events(vault):
    vault.store_token(KEY, "v")
    feed = vault.event_feed(tenant_id="t1", interval=timedelta(seconds=0.05))
    assert [event.generation for event in next(feed).items] == [1]
    later = threading.Timer(0.1, lambda: vault.store_token(KEY, "w"))
    later.start()
    assert [event.generation for event in next(feed).items] == [2]
    later.join()


def test_opening_takes_the_same_arguments():
    sync, asynchronous = inspect.signature(open_sync_vault), inspect.signature(open_vault)
    assert str(sync.parameters) == str(asynchronous.parameters)
    assert sync.return_annotation == "SyncVault"


def test_nothing_is_opened_before_the_first_call(config, tmp_path):
    threads = threading.active_count()
    vault = open_sync_vault(config)
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == threads
    try:
        assert vault.get_token(KEY) is None
        assert (tmp_path / "vault.db").exists()
    finally:
        vault.close()


def test_a_wrong_configuration_shows_on_open_and_the_next_try_is_free(config, tmp_path):
    vault = open_sync_vault(VaultConfig(f"sqlite:///{tmp_path / 'missing' / 'vault.db'}", config.encryption_secret))
    threads = threading.active_count()
    with pytest.raises(StorageError):
        vault.open()
    assert threading.active_count() == threads
    (tmp_path / "missing").mkdir()
    with vault:
        assert vault.get_token(KEY) is None


@pytest.fixture
def interruptible():
    """Let SIGINT raise KeyboardInterrupt, even if a shell started the tests in the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_while_it_opens_leaves_no_thread(config):
    """The thread must not go on to open a vault that nobody uses or closes."""
    threads, ends = set(threading.enumerate()), []

    @asynccontextmanager
    async def interrupted_once():
        async with open_vault(config) as vault:
            if not ends:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
                try:
                    await asyncio.sleep(20)
                finally:
                    ends.append("cancelled")
            yield vault

    vault = sync_vault_over(interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        vault.get_token(KEY)
    assert (ends, set(threading.enumerate())) == (["cancelled"], threads)
    with vault:
        assert vault.get_token(KEY) is None


def test_values_errors_and_views(vault):
    assert vault.store_token(KEY, "v1").generation == 1
    assert vault.get_token(KEY).value.reveal() == "v1"
    with pytest.raises(InvalidInputError):
        vault.get_token("t1")
    view = vault.with_actor("user:42")
    view.store_token(KEY, "v2")
    assert [event.actor for event in vault.iter_audit_events()] == [None, "user:42"]
    with pytest.raises(InvalidInputError):
        vault.with_actor("")


def test_iterators_walk_all_pages_and_ask_for_the_next_when_it_is_needed(vault):
    keys = [TokenKey("t1", "google", TokenKind.ACCESS_TOKEN, f"a{number:04d}") for number in range(1500)]
    items = [(key, "v") for key in keys]
    vault.store_tokens(items)
    assert [info.key for info in vault.iter_tokens("t1")] == keys
    assert [info.account for info in vault.iter_accounts("t1")] == [key.account for key in keys]
    assert len(list(vault.iter_audit_events(tenant_id="t1"))) == 1500
    assert list(vault.iter_expiring_tokens(timedelta(days=1))) == []
    walk = vault.iter_tokens("t1")
    next(walk)
    vault.delete_account(Account("t1", "google", "a1499"))
    assert sum(1 for _ in walk) == 1498


def test_many_threads_share_it_and_open_it_once(config):
    vault = open_sync_vault(config)
    barrier = threading.Barrier(16)

    def work(number):
        barrier.wait()
        return vault.store_token(KEY, str(number)).generation

    with vault, ThreadPoolExecutor(16) as pool:
        assert sorted(pool.map(work, range(16))) == list(range(1, 17))


def test_closing_leaves_no_thread_and_waits_for_calls(config):
    threads = set(threading.enumerate())
    vault = open_sync_vault(config)
    with ThreadPoolExecutor(4) as pool:
        stored = [pool.submit(vault.store_token, TokenKey("t1", "google", "api_key", str(n)), "v") for n in range(50)]
        stored[0].result()
        vault.close()
        outcomes = [future.exception() for future in stored]
    assert {type(error) for error in outcomes if error} <= {ConfigurationError}
    assert set(threading.enumerate()) == threads
    with open_sync_vault(config) as again:
        assert len(again.list_tokens("t1").items) == sum(error is None for error in outcomes)


def test_a_closed_one_stays_closed(vault):
    view = vault.with_actor("x")
    vault.close()
    vault.close()
    for use in (vault.open, lambda: view.get_token(KEY), lambda: list(vault.iter_tokens("t1"))):
        with pytest.raises(ConfigurationError, match="closed") as caught:
            use()
        assert caught.value.code == "vault_closed"


def test_on_a_running_loop_it_names_the_async_method(vault):
    async def use():
        with pytest.raises(ConfigurationError, match=r"await vault\.get_token\(") as caught:
            vault.get_token(KEY)
        assert caught.value.code == "running_event_loop"
        with pytest.raises(ConfigurationError, match=r"async for item in vault\.iter_tokens\("):
            next(vault.iter_tokens("t1"))
        with pytest.raises(ConfigurationError, match=r"async with open_vault"):
            vault.open()
        return await asyncio.to_thread(vault.get_token, KEY)

    assert asyncio.run(use()) is None


def test_on_a_running_loop_it_names_public_methods_only(vault):
    feed = vault.event_feed()
    walks = {
        "iter_tokens": vault.iter_tokens("t1"),
        "iter_tenants": vault.iter_tenants(),
        "iter_accounts": vault.iter_accounts("t1"),
        "iter_expiring_tokens": vault.iter_expiring_tokens(timedelta(hours=1)),
        "iter_audit_events": vault.iter_audit_events(),
    }

    async def use():
        for call, method, instead in (
            (vault.keys.status, "keys.status", "await vault.keys.status(...)"),
            (lambda: vault.states.seal(b"", "x"), "states.seal", "await vault.states.seal(...)"),
            (vault.measures.census, "measures.census", "await vault.measures.census(...)"),
            (vault.measures.counts, "measures.counts", "vault.measures.counts()"),
            (vault.event_feed, "event_feed", "async for page in vault.event_feed(...)"),
            (lambda: next(feed), "event_feed", "async for page in vault.event_feed(...)"),
            (vault.ready, "ready", "await vault.ready(...)"),
            *[
                (lambda items=items: next(items), name, f"async for item in vault.{name}(...)")
                for name, items in walks.items()
            ],
        ):
            with pytest.raises(ConfigurationError) as caught:
                call()
            assert f"SyncVault.{method} would" in str(caught.value)
            assert f"`{instead}`" in str(caught.value)

    asyncio.run(use())


def test_on_event_cannot_hang_the_vault_by_calling_it(config):
    refusals = []

    def on_event(event):
        try:
            vault.get_token(KEY)
        except ConfigurationError as error:
            refusals.append(error.code)

    with open_sync_vault(config, on_event=on_event) as vault:
        vault.store_token(KEY, "v")
    assert refusals == ["running_event_loop"]


def test_a_clock_given_is_used(config):
    clock = ManualClock()
    with open_sync_vault(config, clock=clock) as vault:
        assert vault.store_token(KEY, "v").created_at == clock.now()


def value_of(vault):
    return vault.get_token(KEY).value.reveal()


def in_a_fork(work):
    """Return what ``work`` gives in a forked child, as text."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            text = str(work())
        except BaseException as error:
            text = f"{getattr(error, 'code', type(error).__name__)}: {error}"
        os.write(write_end, text.encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_first_use_after_a_fork_works_and_use_before_it_is_refused(config):
    vault = open_sync_vault(config)

    def use_and_close():
        vault.store_token(KEY, "from the child")
        value = vault.get_token(KEY).value.reveal()
        vault.close()
        return value

    assert in_a_fork(use_and_close) == "from the child"
    assert in_a_fork(lambda: [vault.get_token(KEY).info.generation, vault.close()][0]) == "1"
    with vault:
        assert vault.get_token(KEY).value.reveal() == "from the child"
        refusal = in_a_fork(lambda: vault.get_token(KEY))
        assert refusal.startswith("used_across_fork:")
        assert "first call after the fork" in refusal
        assert in_a_fork(vault.close) == "None"
        assert in_a_fork(lambda: value_of(open_sync_vault(config))) == "from the child"
        assert vault.get_token(KEY).info.generation == 1


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_an_observer_is_refused_after_a_fork_and_after_closing(config):
    """After a fork, a hook could wait for a thread of the parent. After closing, a hook would never be called."""
    vault = open_sync_vault(config)
    called = []
    vault.measures.when_open(called.append)
    assert in_a_fork(lambda: [vault.open(), len(called), vault.close()][1]) == "1"
    with vault:
        assert in_a_fork(lambda: vault.measures.when_open(called.append)).startswith("used_across_fork:")
        vault.measures.when_open(called.append)
        assert len(called) == 2
    with pytest.raises(ConfigurationError) as caught:
        vault.measures.when_open(called.append)
    assert (caught.value.code, len(called)) == ("vault_closed", 2)


def test_an_error_of_one_hook_does_not_keep_the_others_from_running(config):
    vault = open_sync_vault(config)
    called = []
    vault.measures.when_open(lambda measures: 1 / 0)
    vault.measures.when_open(called.append)
    with pytest.raises(ZeroDivisionError):
        vault.open()
    assert len(called) == 1
    vault.close()


@pytest.mark.parametrize("fork_first", [False, True])
def test_the_end_of_the_process_closes_it(config, tmp_path, fork_first):
    secret = config.encryption_secret.reveal()
    script = f"""
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from vault_adapters import *
vault = open_sync_vault(VaultConfig({config.database_url.reveal()!r}, encryption_secret={secret!r}, scrypt_log2_n=14))
key = TokenKey("t1", "google", "access_token")
vault.store_token(key, "v")
vault.get_token(key)
if {fork_first}:
    child = os.fork()
    if child == 0:
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
del vault
"""
    with start_processes([Script(script)]) as group:
        group.go()
        (ended,) = group.wait(20)
    assert (ended.returncode, ended.stderr) == (0, "")
    with open_sync_vault(config) as vault:
        # Until the process ended, only memory held the time of the last use, so the closing of the vault wrote it.
        assert vault.list_tokens("t1").items[0].last_used_at is not None
