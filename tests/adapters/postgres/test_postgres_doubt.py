"""The error of a write says whether the write may have taken effect."""

import asyncio
from datetime import timedelta

import pytest
from attrs import evolve
from tests.adapters.refresh.refresh_kit import make_config
from tests.support.fault_proxy import fault_proxy

from vault_adapters import StorageError, TokenKey, TokenKind, open_vault

KEY = TokenKey("t1", "acme", TokenKind.ACCESS_TOKEN)
OTHER = TokenKey("t1", "acme", TokenKind.ACCESS_TOKEN, "another")
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
LIMIT = 2.0


@pytest.fixture
async def vault(url):
    """Give a vault whose connections go through a proxy, and the proxy."""
    with fault_proxy(url) as proxy:
        config = make_config(proxy.url, storage_timeout=timedelta(seconds=LIMIT))
        async with open_vault(config) as opened:
            await opened.store_token(KEY, "first")
            yield opened, proxy


async def lock(raw):
    await raw.execute("BEGIN")
    await raw.execute("SELECT FROM token_vault.token FOR UPDATE")


async def until_blocked(raw):
    async with asyncio.timeout(20):
        while (await (await raw.execute(BLOCKED)).fetchone())[0] == 0:  # noqa: ASYNC110 - the server has no event
            await asyncio.sleep(0.01)


def store_one(vault):
    return vault.store_token(KEY, "second")


def store_in_a_transaction(vault):
    return vault.store_tokens([(KEY, "second"), (OTHER, "second")])


def delete(vault):
    return vault.delete_token(KEY)


async def error_of(task):
    with pytest.raises(StorageError) as caught:
        await task
    return caught.value


async def test_a_statement_whose_answer_is_lost_may_have_taken_effect(vault, raw):
    """The server goes on with the statement, because it does not notice the lost connection while it waits."""
    opened, proxy = vault
    await lock(raw)
    writing = asyncio.create_task(store_one(opened))
    await until_blocked(raw)
    proxy.reset()
    error = await error_of(writing)
    assert (error.in_doubt, error.reason, error.retryable) == (True, "connection_lost", True)
    assert str(error).endswith("it may have taken effect")
    await raw.execute("COMMIT")

    async with asyncio.timeout(20):
        while (await opened.get_token(KEY, fresh=True)).value.reveal() != "second":  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("call", [store_one, store_in_a_transaction, delete])
async def test_a_write_that_was_refused_has_changed_nothing(vault, raw, call):
    opened, _ = vault
    await lock(raw)
    error = await error_of(call(opened))
    assert (error.in_doubt, error.reason) == (False, "locked")
    await raw.execute("COMMIT")
    assert (await opened.get_token(KEY, fresh=True)).value.reveal() == "first"


@pytest.mark.parametrize("call", [store_one, store_in_a_transaction, delete])
async def test_a_write_that_was_not_sent_has_changed_nothing(vault, call):
    opened, proxy = vault
    proxy.refuse()
    await asyncio.sleep(0.3)  # the pool notices that its connections are gone
    await error_of(opened.get_token(KEY, fresh=True))
    error = await error_of(call(opened))
    assert error.in_doubt is False
    proxy.heal()
    assert (await opened.get_token(KEY, fresh=True)).value.reveal() == "first"


async def test_a_commit_whose_answer_is_lost_may_have_taken_effect(vault, raw, execute):
    """A deferred trigger makes the commit wait, and the connection is lost meanwhile."""
    opened, proxy = vault
    execute(
        "CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END'"
    )
    execute(
        "CREATE CONSTRAINT TRIGGER wait AFTER UPDATE ON token_vault.token DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION public.wait()"
    )
    await raw.execute("SELECT pg_advisory_lock(7)")
    writing = asyncio.create_task(store_in_a_transaction(opened))
    await until_blocked(raw)
    proxy.reset()
    assert (await error_of(writing)).in_doubt is True
    await raw.execute("SELECT pg_advisory_unlock(7)")


async def test_a_read_is_never_in_doubt(vault):
    opened, proxy = vault
    proxy.freeze()
    assert (await error_of(opened.list_tokens("t1"))).in_doubt is False
    proxy.heal()


async def test_on_sqlite_a_locked_file_leaves_no_doubt(tmp_path):
    import sqlite3

    config = make_config(f"sqlite:///{tmp_path}/vault.db")
    async with open_vault(evolve(config, storage_timeout=timedelta(seconds=1))) as opened:
        await opened.store_token(KEY, "first")
        holder = sqlite3.connect(tmp_path / "vault.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        assert (await error_of(store_one(opened))).in_doubt is False
        holder.close()
