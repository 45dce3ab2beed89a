"""One damaged row causes errors for its own key only, in a database that was restored without its constraints."""

import asyncio
import logging
import re
import sqlite3
import tracemalloc
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from attrs import evolve
from tests.support.databases import SqliteFile, both_stores
from tests.support.loose_sqlite import loosen_sqlite

from vault_adapters import (
    Account,
    AuditAction,
    ConfigurationError,
    DecryptionError,
    StorageError,
    SweepReport,
    Token,
    TokenKind,
    TokenSet,
    VaultError,
    open_vault,
)
from vault_adapters.crypto import bootstrap, envelope, local_key
from vault_adapters.stores import columns
from vault_adapters.stores.batching import ReadBatcher
from vault_adapters.stores.postgres.store import open_postgres_store
from vault_adapters.stores.sqlite import database as sqlite_database
from vault_adapters.stores.sqlite.store import open_sqlite_store
from vault_adapters.testing import ScriptedRefresher
from vault_domain.entities.account_state import AccountState, Decision
from vault_domain.entities.token import TokenRef
from vault_domain.services.refresh.attempt_ledger import AttemptLedger

BAD, GOOD = Account("bad", "google", "ann"), Account("good", "google", "ann")
SHOWN = "a text that stands in no log"
"""Damaged content; no log and no error may show it."""
TABLES = ("master_key", "data_key", "data_key_wrap", "token", "account", "audit_event")


def loosen(database):
    """Remove all checks from the tables, and on SQLite also the types, as in a dump that was edited by hand."""
    if database.kind == "postgres":
        for name, checked in database.execute(
            "SELECT conname, CASE WHEN contypid = 0 THEN 'TABLE ' || conrelid::regclass"
            " ELSE 'DOMAIN ' || contypid::regtype END"
            " FROM pg_constraint c JOIN pg_namespace n ON n.oid = connamespace WHERE nspname = ? AND contype = 'c'",
            [database.schema],
        ):
            database.execute(f"ALTER {checked} DROP CONSTRAINT {name}")
        return
    loosen_sqlite(database.path)


@pytest.fixture
async def filled(database):
    """Give a database without constraints that holds one account of each of two tenants, both due for a refresh."""
    async with open_vault(database.config()) as vault:
        for account in (BAD, GOOD):
            await vault.store_token_set(
                account, TokenSet("access", "refresh", expires_at=soon(), scopes=("a",)), label="Ann"
            )
    loosen(database)
    return database


DAMAGE = {
    "scopes": ("UPDATE {token} SET scopes = ?", [SHOWN]),
    "scopes_of_numbers": ("UPDATE {token} SET scopes = ?", ["[1]"]),
    "deep_scopes": ("UPDATE {token} SET scopes = ?", ["[" * 100_000]),
    "scopes_without_end": ("UPDATE {token} SET scopes = ?", ['["' + "a" * 2_000_000 + '"]']),
    "status": ("UPDATE {token} SET status = ?", [SHOWN]),
}
SQLITE_DAMAGE = {
    "text_id": ("UPDATE {token} SET id = ?", [SHOWN]),
    "text_time": ("UPDATE {token} SET updated_at = ?", [SHOWN]),
    "late_time": ("UPDATE {token} SET created_at = ?", [2**62]),
    "text_generation": ("UPDATE {token} SET generation = ?", ["1"]),
    "blob_code": ("UPDATE {token} SET error_code = ?", [SHOWN.encode()]),
}
each_damage = pytest.mark.parametrize(
    ("store_kind", "name"),
    [*(("sqlite", name) for name in [*DAMAGE, *SQLITE_DAMAGE]), ("postgres", "scopes"), ("postgres", "status")],
)


def soon():
    """Return an expiry for which an account is due at once."""
    return datetime.now(UTC) + timedelta(minutes=1)


def refresher():
    return {"google": ScriptedRefresher(*[TokenSet("new", "new", expires_in=3600)] * 4)}


@each_damage
async def test_one_damaged_row_hurts_only_itself(filled, name, caplog):
    sql, parameters = (DAMAGE | SQLITE_DAMAGE)[name]
    filled.execute(f"{sql} WHERE tenant_id = 'bad'", parameters)
    keys = [account.key(kind) for account in (BAD, GOOD) for kind in (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN)]
    bad = keys[:2]
    async with open_vault(filled.config(), refreshers=refresher()) as vault:
        with caplog.at_level(logging.ERROR):
            results = await asyncio.gather(*map(vault.get_token, keys), return_exceptions=True)
            assert [type(result) for result in results] == [DecryptionError, DecryptionError, Token, Token]
            assert [result.keys for result in results[:2]] == [(key,) for key in bad]
            assert results[0] is not results[1]
            with pytest.raises(DecryptionError) as caught:
                await vault.get_tokens(keys)
            assert set(caught.value.keys) == set(bad)
            for call in (vault.ensure_access_token(BAD), vault.refresh_account(BAD), vault.get_account(BAD)):
                with pytest.raises(DecryptionError) as caught:
                    await call
                assert caught.value.__context__ is None
            assert (await vault.list_tokens("bad")).items == ()
            assert (await vault.list_accounts("bad")).items == ()
            assert len((await vault.list_tokens("good")).items) == 2
            within = timedelta(hours=1)
            expiring = await vault.find_expiring_tokens(within, limit=1)
            assert [info.key.tenant_id for info in expiring.items] == ["good"]
            report = await vault.refresh_due()
            assert report == SweepReport(claimed=1, refreshed=1, unreadable=1)
            assert (await vault.health()).store_error is None
            # What is damaged can be deleted, or replaced by a new token set.
            assert await vault.delete_token(bad[1]) is True
            assert await vault.delete_provider_tokens("bad", "google") == 1
            await vault.store_token_set(BAD, TokenSet("access", "refresh"))
            assert len(await vault.get_tokens(keys)) == 4
    assert "damaged_row" in caplog.text
    assert SHOWN not in caplog.text


@asynccontextmanager
async def states_of(database):
    """Open the store; give it, and the function that changes an account."""
    opening = (
        open_sqlite_store(str(database.path), migrate=False, clock=lambda: datetime.now(UTC))
        if database.kind == "sqlite"
        else open_postgres_store(database.url, migrate=False, schema=database.schema, pool_size=2)
    )
    async with opening as store:
        yield store, store.accounts.change


@each_damage
async def test_a_damaged_token_stays_beside_another_and_can_be_deleted_and_replaced(filled, name):
    access, refresh = TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN
    sql, parameters = (DAMAGE | SQLITE_DAMAGE)[name]
    async with states_of(filled) as (store, change):

        async def loaded():
            return (await change(BAD, lambda state, now: Decision(state, None))).state

        whole = await loaded()
        filled.execute(f"{sql} WHERE tenant_id = 'bad' AND kind = 'refresh_token'", parameters)
        damaged = {refresh: None if name == "text_generation" else 1}
        marked = whole.tokens[access]
        await change(BAD, lambda state, now: Decision(state.with_token(marked, error_code="x"), None))
        state = await loaded()
        assert (state.damaged, state.tokens[access].info.error_code, state.row) == (damaged, "x", whole.row)
        with pytest.raises(DecryptionError):
            state.holds(TokenRef.of(whole.tokens[refresh].info))
        with pytest.raises(DecryptionError):
            await AttemptLedger(store.accounts).reschedule(BAD, lambda record, now: None)
        await change(BAD, lambda state, now: Decision(state.with_token(whole.tokens[refresh]), None))
        assert (await loaded()).tokens[refresh] == whole.tokens[refresh]
        filled.execute(f"{sql} WHERE tenant_id = 'bad' AND kind = 'refresh_token'", parameters)
        await change(BAD, lambda state, now: Decision(state.without([access]), None))
        state = await loaded()
        assert (state.tokens, state.damaged, state.row.label) == ({}, damaged, "Ann")
        await change(BAD, lambda state, now: Decision(state.without([refresh]), None))
        assert await loaded() == AccountState(BAD)


@pytest.mark.parametrize(
    ("damage", "parameters"),
    [
        ("UPDATE {account} SET label = ?", [SHOWN.encode()]),
        ("INSERT INTO {unread_answer} SELECT 'bad', 'google', 'ann', ?, ?, ?, 0", [SHOWN.encode(), b"k" * 16, b"b"]),
    ],
)
async def test_an_account_whose_own_row_or_answer_is_damaged_can_be_deleted(tmp_path, damage, parameters):
    database = SqliteFile(tmp_path / "vault.db")
    async with open_vault(database.config()) as vault:
        await vault.store_token_set(BAD, TokenSet("access", "refresh"), label="Ann")
    loosen(database)
    database.execute(damage, parameters)
    async with states_of(database) as (_, change):
        damaged = (await change(BAD, lambda state, now: Decision(state, None))).state
        assert (damaged.damaged, damaged.answer, len(damaged.tokens)) == ({None: None}, None, 2)
        with pytest.raises(DecryptionError):
            await change(BAD, lambda state, now: Decision(state.with_row(label="Ben"), None))
        left = (await change(BAD, lambda state, now: Decision(state.without([TokenKind.REFRESH_TOKEN]), None))).state
        assert (left.damaged, left.tokens.keys()) == ({None: None}, {TokenKind.ACCESS_TOKEN})
        await change(BAD, lambda state, now: Decision(state.without(TokenKind), None))
    assert database.execute("SELECT 1 FROM {account} UNION ALL SELECT 1 FROM {unread_answer}") == []


@both_stores
async def test_an_account_that_cannot_be_read_keeps_no_other_from_being_deleted(filled):
    await _stored(filled, evolve(BAD, identifier="ben"))
    filled.execute(
        "UPDATE {token} SET kind = 'new_kind' WHERE tenant_id = 'bad' AND kind = 'refresh_token' AND identifier = 'ann'"
    )
    async with open_vault(filled.config()) as vault:
        with pytest.raises(DecryptionError) as caught:
            await vault.delete_provider_tokens("bad", "google")
        assert caught.value.account == BAD
    assert filled.execute("SELECT identifier FROM {token} WHERE tenant_id = 'bad'") == [("ann",), ("ann",)]


async def _stored(database, account):
    async with open_vault(database.config()) as vault:
        await vault.store_token_set(account, TokenSet("access", "refresh"))


@both_stores
@pytest.mark.parametrize("column", ["data_key_id", "extra"])
async def test_an_account_with_a_damaged_value_is_shown(filled, column):
    filled.execute(f"UPDATE {{token}} SET {column} = ? WHERE tenant_id = 'bad'", [b""])
    async with open_vault(filled.config()) as vault:
        assert (await vault.get_account(BAD)).label == "Ann"


@both_stores
async def test_after_a_restore_a_damaged_value_keeps_no_other_account_from_being_refreshed(filled):
    filled.execute("UPDATE {token} SET data_key_id = ? WHERE tenant_id = 'bad'", [b""])
    filled.execute("UPDATE {account} SET failures = 1, error_code = 'mass_rejection'")
    async with open_vault(filled.config(), refreshers=refresher()) as vault:
        assert (await vault.restored()).swept.refreshed == 1


@both_stores
async def test_an_account_with_a_damaged_answer_is_refreshed(filled):
    class Reader(ScriptedRefresher):
        def read_again(self, answer):
            raise AssertionError("the answer cannot be decrypted")

    filled.execute(
        "INSERT INTO {unread_answer} SELECT tenant_id, provider, identifier, id, ?, ?, created_at FROM {token}"
        " WHERE tenant_id = 'bad' AND kind = 'refresh_token'",
        [b"k", b""],
    )
    reader = Reader(*[TokenSet("new", "new", expires_in=3600)] * 2)
    async with open_vault(filled.config(), refreshers={"google": reader}) as vault:
        assert await vault.refresh_due() == SweepReport(claimed=2, refreshed=2)
        await vault.delete_account(BAD)
    assert filled.execute("SELECT 1 FROM {unread_answer}") == []


@pytest.mark.parametrize("key_id", [b"1", b"", b"1" * 17])
async def test_an_id_of_another_size_fails_only_its_own_value(filled, key_id):
    filled.execute("UPDATE {token} SET data_key_id = ? WHERE tenant_id = 'bad'", [key_id])
    filled.execute("UPDATE {data_key} SET state = 'decrypt_only' WHERE tenant_id = 'good'")
    keys = [account.key(TokenKind.ACCESS_TOKEN) for account in (BAD, GOOD)]
    async with open_vault(filled.config()) as vault:
        results = await asyncio.gather(*map(vault.get_token, keys), return_exceptions=True)
        assert [type(result) for result in results] == [DecryptionError, Token]


@pytest.mark.parametrize("extra", [b"", bytes(17_505), b"\xe7" * 128])
async def test_damaged_extra_members_fail_only_their_own_value(filled, extra):
    filled.execute("UPDATE {token} SET extra = ? WHERE tenant_id = 'bad' AND kind = 'access_token'", [extra])
    keys = [account.key(TokenKind.ACCESS_TOKEN) for account in (BAD, GOOD)] + [BAD.key(TokenKind.REFRESH_TOKEN)]
    async with open_vault(filled.config()) as vault:
        results = await asyncio.gather(*map(vault.get_token, keys), return_exceptions=True)
        assert [type(result) for result in results] == [DecryptionError, Token, Token]
        await vault.keys.rotate_data_key("bad")
        report = await vault.keys.reencrypt("bad")
        assert (report.reencrypted, report.unreadable_tokens) == (1, (keys[0],))


async def test_a_value_beyond_the_format_stays_in_the_database(filled):
    size = 50_000_000
    filled.execute("UPDATE {token} SET blob = ? WHERE tenant_id = 'bad'", [bytes(size)])
    async with open_vault(filled.config()) as vault:
        tracemalloc.start()
        for account in (BAD, GOOD):
            results = await asyncio.gather(
                vault.get_token(account.key(TokenKind.ACCESS_TOKEN)),
                vault.get_tokens([account.key(TokenKind.ACCESS_TOKEN), account.key(TokenKind.API_KEY)]),
                vault.ensure_access_token(account),
                return_exceptions=True,
            )
            assert (account is BAD) == all(isinstance(result, DecryptionError) for result in results)
        await vault.keys.rotate_data_key("bad")
        assert (await vault.keys.reencrypt()).unreadable[0].count == 2
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < size / 2


HUGE = 50_000_000
SHORT = {
    "audit_seal": ("body", "body_digest", "digest"),
    "audit_chain": ("digest", "secret"),
    "audit_event": ("actor", "code", "identifier"),
    "account": ("label", "error_code"),
    "token": ("error_code",),
    "client_refusal": ("marks",),
    "home": ("places", "deployment"),
}
"""Columns whose content is short, besides the sealed values."""


@both_stores
@pytest.mark.parametrize(("table", "column"), [(table, column) for table in SHORT for column in SHORT[table]])
async def test_a_huge_text_in_place_of_a_short_one_stays_in_the_database(filled, table, column):
    async with open_vault(filled.config(), refreshers=refresher()) as vault:
        await vault.audit_head()
    if table == "client_refusal":
        columns_of_it = "provider, client, reason, marks, since, refused_at"
        filled.execute(
            f"INSERT INTO {{client_refusal}} ({columns_of_it})"
            " SELECT 'google', ?, 'invalid_client', ?, created_at, created_at FROM {token} LIMIT 1",
            [b"", b""],
        )
    if (column, filled.kind) == ("label", "postgres"):
        filled.execute("DROP INDEX {account_label}")  # it takes no such row
    is_bytes = "digest" in column or column in ("body", "secret", "marks")
    filled.execute(f"UPDATE {{{table}}} SET {column} = ?", [bytes(HUGE) if is_bytes else "x" * HUGE])
    async with open_vault(filled.config(), refreshers=refresher()) as vault:
        tracemalloc.start()
        for call in (
            vault.refresh_due,
            vault.verify_audit,
            vault.audit_head,
            vault.audit_events,
            vault.list_accounts,
            vault.health,
        ):
            with suppress(VaultError):
                await call()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < HUGE / 2


def test_the_stores_limit_is_that_of_the_format():
    assert columns.MOST_BLOB == envelope._MAX_BLOB


async def test_a_blob_in_place_of_a_tenant_does_not_end_a_sweep(tmp_path):
    database = SqliteFile(tmp_path / "vault.db")
    accounts = [Account(f"t{number}", "google") for number in range(30)]
    async with open_vault(database.config()) as vault:
        for account in accounts:
            await vault.store_token_set(account, TokenSet("access", "refresh", expires_at=soon()))
    loosen(database)
    for table in ("token", "account"):
        database.execute(f"UPDATE {{{table}}} SET tenant_id = CAST(tenant_id AS BLOB) WHERE tenant_id < 't4'")
    # The damaged rows come before all others, and are more than a sweep takes at once.
    database.execute("UPDATE {account} SET due_at = 0 WHERE typeof(tenant_id) = 'blob'")
    refreshers = {"google": ScriptedRefresher(*[TokenSet("new", "new", expires_in=3600)] * 30)}
    async with open_vault(database.config(), refreshers=refreshers) as vault:
        report = await vault.refresh_due()
        assert report.refreshed == sum(account.tenant_id >= "t4" for account in accounts)
        found = [info async for info in vault.iter_expiring_tokens(timedelta(days=1))]
        assert {info.key.tenant_id for info in found} == {account.tenant_id for account in accounts[4:10]}


@both_stores
async def test_lists_go_on_past_damaged_rows(filled):
    async with open_vault(filled.config()) as vault:
        for number in range(20):
            await vault.store_token_set(Account("many", "google", f"{number:02}"), TokenSet("a", "r", expires_in=60))
        for number in (0, 1, 2, 7, 8, 18, 19):
            filled.execute(
                "UPDATE {token} SET scopes = 'x' WHERE tenant_id = 'many' AND identifier = ?", [f"{number:02}"]
            )
        left = [f"{number:02}" for number in range(20) if number not in (0, 1, 2, 7, 8, 18, 19)]
        for size in (1, 2, 3, 50):
            for pages, expected in ((token_pages, 2), (account_pages, 1), (expiring_pages, 1)):
                names = [name async for name in pages(vault, size)]
                assert sorted(names) == sorted(left * expected), (pages, size)


async def token_pages(vault, size):
    async for item in pages_of(lambda after: vault.list_tokens("many", limit=size, after=after)):
        yield item.key.identifier


async def account_pages(vault, size):
    async for item in pages_of(lambda after: vault.list_accounts("many", limit=size, after=after)):
        yield item.account.identifier


async def expiring_pages(vault, size):
    within = timedelta(hours=1)
    async for item in pages_of(lambda after: vault.find_expiring_tokens(within, limit=size, after=after)):
        if item.key.tenant_id == "many":
            yield item.key.identifier


async def pages_of(page):
    after = None
    while True:
        found = await page(after)
        for item in found.items:
            yield item
        if found.next is None:
            return
        after = found.next


async def test_an_event_of_another_release_does_not_end_the_list(filled, caplog):
    filled.execute("UPDATE {audit_event} SET action = 'teleported' WHERE tenant_id = 'bad'")
    async with open_vault(filled.config()) as vault:
        for tenant_id, count in ((None, 2), ("bad", 0), ("good", 2)):
            for size in (1, 2, 50):
                found = [
                    event
                    async for event in pages_of(
                        lambda after, size=size, tenant_id=tenant_id: vault.audit_events(
                            tenant_id=tenant_id, limit=size, after=after
                        )
                    )
                ]
                assert [event.action for event in found] == [AuditAction.TOKEN_STORED] * count
    assert "passed over: reason damaged_row" in caplog.text


@both_stores
async def test_a_damaged_data_key_is_an_error_of_its_own_tenant(filled):
    filled.execute("UPDATE {data_key_wrap} SET wrapped = ? WHERE tenant_id = 'bad'", [bytes(1_000_000)])
    async with open_vault(filled.config()) as vault:
        keys = [account.key(TokenKind.ACCESS_TOKEN) for account in (BAD, GOOD)]
        results = await asyncio.gather(*map(vault.get_token, keys), return_exceptions=True)
        assert [type(result) for result in results] == [DecryptionError, Token]


# What the tables refuse

REFUSED = [
    "UPDATE {token} SET blob = zeroblob(65665)",
    "UPDATE {token} SET extra = zeroblob(17505)",
    "UPDATE {token} SET scopes = 'x'",
    "UPDATE {token} SET scopes = '{}'",
    "UPDATE {token} SET scopes = '\"a\"'",
    "UPDATE {token} SET status = 'x'",
    "UPDATE {token} SET kind = 'x'",
    "UPDATE {token} SET lifetime = -1",
    "UPDATE {token} SET tenant_id = ''",
    "UPDATE {account} SET provider = ''",
    "UPDATE {audit_event} SET kind = 'x'",
    "UPDATE {audit_event} SET action = ''",
    "UPDATE {audit_event} SET code = '" + "x" * 65 + "'",
    "UPDATE {data_key_wrap} SET wrapped = zeroblob(8193)",
    "UPDATE {master_key} SET kdf = '" + "x" * 4097 + "'",
    "UPDATE {master_key} SET state = 'x'",
]
REFUSED_BY_ONE = {
    "sqlite": [
        "UPDATE {token} SET id = 'sixteen letters.'",
        "UPDATE {token} SET tenant_id = x'61'",
        "UPDATE {token} SET generation = 'x'",
        "UPDATE {account} SET due_at = 'x'",
        "UPDATE {token} SET blob = 'x'",
    ],
    "postgres": ["UPDATE {token} SET scopes = '[1]'"],
}


@both_stores
async def test_the_tables_refuse_what_the_vault_never_stores(database):
    async with open_vault(database.config()) as vault:
        await vault.store_token_set(BAD, TokenSet("access", "refresh", expires_at=soon(), scopes=("a",)), label="Ann")
    for statement in REFUSED + REFUSED_BY_ONE[database.kind]:
        sql = re.sub(r"zeroblob\((\d+)\)", r"decode(repeat('00', \1), 'hex')", statement)
        with pytest.raises((sqlite3.Error, psycopg.Error)):
            execute(database, statement if database.kind == "sqlite" else sql)


def execute(database, sql):
    """Run a statement that names tables as ``{token}``; the text ``'{}'`` in it stays as it is."""
    if "'{}'" in sql:
        table = re.search(r"{(\w+)}", sql)[1]
        name = f"token_vault_{table}" if database.kind == "sqlite" else f"{database.schema}.{table}"
        sql = sql.replace(f"{{{table}}}", name)
        with sqlite3.connect(database.path) if database.kind == "sqlite" else psycopg.connect(database.url) as raw:
            raw.execute(sql)
        return
    database.execute(sql)


@both_stores
async def test_the_longest_values_are_accepted(database):
    scopes = tuple(f"{number:04}" + "s" * 1020 for number in range(1000))
    key = Account("t" * 255, "p" * 64, "\U0001f600" * 255).key(TokenKind.ACCESS_TOKEN)
    async with open_vault(database.config()) as vault:
        await vault.with_actor("\U0001f600" * 255).store_token(key, "v" * 65_536, scopes=scopes)
        token = await vault.get_token(key)
        assert (len(token.value.reveal()), token.info.scopes) == (65_536, scopes)
        [event] = (await vault.audit_events()).items
        assert (event.actor, event.account) == ("\U0001f600" * 255, key.account)


async def test_an_old_sqlite_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_database.sqlite3, "sqlite_version_info", (3, 36, 9))
    with pytest.raises(ConfigurationError) as caught:
        async with open_vault(SqliteFile(tmp_path / "vault.db").config()):
            pass
    assert caught.value.code == "sqlite_too_old"
    assert list(tmp_path.iterdir()) == []


# Master keys


async def test_added_records_of_master_keys_do_not_delay_the_start(filled, monkeypatch, caplog):
    [(kdf, check)] = filled.execute("SELECT kdf, check_value FROM {master_key}")
    for number in range(20):
        damaged = kdf if number < 18 else "x"
        later = f"now() + interval '{number} hours'" if filled.kind == "postgres" else str(2**51 + number)
        filled.execute(
            "INSERT INTO {master_key} (master_key_id, provider, kdf, check_value, state, created_at)"
            f" VALUES (?, 'local', ?, ?, 'unwrap_only', {later})",
            [number.to_bytes(16), damaged, check],
        )
    runs = []
    derive = local_key._derive_now
    monkeypatch.setattr(local_key, "_derive_now", lambda *given: runs.append(1) or derive(*given))
    previous = {"previous_encryption_secret": "the previous secret, which is long enough"}
    async with open_vault(filled.config(**previous)) as vault:
        assert (await vault.get_token(GOOD.key(TokenKind.ACCESS_TOKEN))).value.reveal() == "access"
    assert len(runs) <= 1 + 2 * bootstrap._MOST_FURTHER
    shown = [line for line in caplog.messages if "master keys were passed over" in line]
    assert shown == [
        "17 records of master keys were passed over: reason too_many_master_keys",
        "2 records of master keys were passed over: reason damaged_row",
    ]


async def test_a_damaged_record_of_a_master_key_is_passed_over(filled):
    now = "now()" if filled.kind == "postgres" else "0"
    filled.execute(
        "INSERT INTO {master_key} (master_key_id, provider, kdf, state, created_at)"
        f" VALUES (?, 'local', 'x', 'no state', {now})",
        [bytes(16)],
    )
    async with open_vault(filled.config()) as vault:
        assert (await vault.get_token(GOOD.key(TokenKind.ACCESS_TOKEN))).value.reveal() == "access"


# Batched reads


async def test_an_unexpected_error_of_a_batch_is_each_callers_own():
    class Session:
        async def __aenter__(self):
            return self.read

        async def __aexit__(self, *error):
            return None

        async def read(self, keys):
            raise KeyError(SHOWN)

    reads = ReadBatcher(Session)
    results = await asyncio.gather(*map(reads.get, "abc"), return_exceptions=True)
    assert {type(result) for result in results} == {StorageError}
    assert len({id(result) for result in results}) == 3
    assert all(result.code == "read_failed" and SHOWN not in repr(result) for result in results)
    assert all(result.__cause__ is None and result.__context__ is None for result in results)
