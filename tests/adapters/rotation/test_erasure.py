"""After a tenant is erased, rows and files hold no value of the tenant, and only a new value brings the tenant back."""

import json
import sqlite3
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from attrs import evolve
from tests.adapters.rotation.place import OLD, TABLES, read_all
from tests.support.databases import both_stores

from vault_adapters import (
    Account,
    AuditAction,
    DecryptionError,
    Rotation,
    StorageError,
    TokenKey,
    TokenKind,
    TokenNotFoundError,
    TokenSet,
    open_vault,
)
from vault_adapters.composition import open_vault_over
from vault_adapters.stores.sqlite.store import open_sqlite_store
from vault_adapters.testing import ScriptedRefresher

ACCOUNT = Account("doomed", "acme", "somebody@example.com")
KEYS = [ACCOUNT.key(TokenKind.ACCESS_TOKEN), ACCOUNT.key(TokenKind.REFRESH_TOKEN)]
OTHER = TokenKey("other", "acme", TokenKind.API_KEY, "somebody@example.com")


async def fill(vault):
    await vault.store_token_set(ACCOUNT, TokenSet("access", "refresh", expires_in=3600), label="A label")
    await vault.get_token(KEYS[0])
    await vault.store_token(OTHER, "another tenant's")


def sealed_values(place):
    """Return the tenant's envelopes: values and wrapped data keys."""
    values = place.rows("SELECT blob FROM {token} WHERE tenant_id = 'doomed'")
    wraps = place.rows("SELECT wrapped FROM {data_key_wrap} WHERE tenant_id = 'doomed'")
    return [bytes(blob) for (blob,) in values + wraps]


def dump(place):
    """Return everything that is in any table."""
    rows = [row for table in TABLES for row in place.rows(f"SELECT * FROM {{{table}}}")]
    return [bytes(cell) if isinstance(cell, memoryview) else cell for row in rows for cell in row]


def envelopes(cells):
    return [cell for cell in cells if isinstance(cell, bytes) and cell[:3] == b"\xe7\x01\x01"]


@both_stores
async def test_nothing_of_the_tenant_is_left_and_the_others_are_untouched(place):
    async with place.vault() as vault, place.vault() as another:
        await fill(vault)
        await vault.keys.rotate_data_key("doomed")
        assert await read_all(another, KEYS) == ["access", "refresh"]
        held = sealed_values(place)
        assert len(held) == 4
        report = await vault.with_actor("dpo").erase_tenant("doomed")
        assert (report.tokens, report.data_keys, report.wraps) == (2, 2, 2)
        assert report.accounts == 1
        assert report.checkpointed is (True if place.is_sqlite else None)
        cells = dump(place)
        assert not set(cells) & {*held, "A label"}
        for reader in (vault, another):
            assert await read_all(reader, KEYS) == [None, None]
            assert await reader.get_account(ACCOUNT) is None
            assert await read_all(reader, [OTHER]) == ["another tenant's"]
    # Even with the master key, nothing but the values of other tenants can be opened from the dump.
    async with place.vault() as vault:
        keyring = vault._services.cipher._keyring
        left = place.rows("SELECT tenant_id FROM {data_key_wrap}")
        assert left == [("other",)]
        assert len(envelopes(cells)) == 2
        for (data_key_id,) in place.rows("SELECT data_key_id FROM {data_key} WHERE tenant_id = 'doomed'"):
            record = await keyring._repository.data_key("doomed", bytes(data_key_id))
            assert (record.state, record.wraps) == ("destroyed", ())


async def test_a_value_that_comes_back_from_a_backup_does_not_open_where_it_was_erased(place):
    """Not even the erasing process opens the value, though it held the tenant's data key until then."""
    async with place.vault() as vault:
        await fill(vault)
        assert await read_all(vault, KEYS) == ["access", "refresh"]
        place.rows("CREATE TABLE kept AS SELECT * FROM {token} WHERE tenant_id = 'doomed'")
        await vault.erase_tenant("doomed")
        place.rows("INSERT INTO {token} SELECT * FROM kept")
        place.rows("DROP TABLE kept")
        for key in KEYS:
            with pytest.raises(DecryptionError):
                await vault.get_token(key)
        assert await read_all(vault, [OTHER]) == ["another tenant's"]


@both_stores
async def test_the_audit_log_keeps_what_happened_and_forgets_to_whom(place):
    seen = []
    async with open_vault(place.config(), on_event=seen.append) as vault:
        await fill(vault)
        before = [event async for event in vault.iter_audit_events()]
        await vault.with_actor("dpo").erase_tenant("doomed")
        after = [event async for event in vault.iter_audit_events()]
        assert [(e.action, e.occurred_at, e.cursor) for e in before] == [
            (e.action, e.occurred_at, e.cursor) for e in after[:-2]
        ]
        assert [(e.tenant_id, e.account) for e in after[:2]] == [(None, None)] * 2
        assert after[2] == before[2]  # another tenant's
        assert [(e.action, e.tenant_id, e.actor) for e in after[-2:]] == [
            (AuditAction.DATA_KEY_DESTROYED, "doomed", "dpo"),
            (AuditAction.TENANT_ERASED, "doomed", "dpo"),
        ]
        assert [e.code for e in after[-2:]] == [e.code for e in seen[-2:]]
        assert seen[-1].action is AuditAction.TENANT_ERASED
        identifiers = [identifier for (identifier,) in place.rows("SELECT identifier FROM {audit_event}")]
        assert identifiers.count("somebody@example.com") == 1
        own = [event async for event in vault.iter_audit_events(tenant_id="doomed")]
        # Cursors differ, because each belongs to its own listing.
        assert [evolve(event, cursor=None) for event in own] == [evolve(event, cursor=None) for event in after[-2:]]


async def test_erasing_nobody_and_erasing_again(place):
    async with place.vault() as vault:
        await fill(vault)
        assert (await vault.erase_tenant("nobody")).tokens == 0
        events = len([event async for event in vault.iter_audit_events()])
        await vault.erase_tenant("doomed")
        again = await vault.erase_tenant("doomed")
        assert (again.tokens, again.data_keys, again.wraps, again.audit_events) == (0, 0, 0, 0)
        assert len([event async for event in vault.iter_audit_events()]) == events + 2


async def test_files_that_cannot_be_cleaned_do_not_make_it_a_failure(place, caplog, monkeypatch):
    async def fail():
        raise StorageError("the disk is full")

    async with open_sqlite_store(place.url.removeprefix("sqlite:///"), migrate=True, clock=None) as store:
        monkeypatch.setattr(store.accounts._database, "checkpoint", fail)
        async with open_vault_over(store, place.config()) as vault:
            await fill(vault)
            report = await vault.erase_tenant("doomed")
            assert (report.tokens, report.checkpointed) == (2, False)
            assert await read_all(vault, KEYS) == [None, None]
    assert [record.levelname for record in caplog.records if "cleaned" in record.getMessage()] == ["WARNING"]


@both_stores
@pytest.mark.parametrize("wait", [False, True])
async def test_an_erasure_waits_if_it_is_told_to(place, wait):
    key, second = TokenKey("t1", "acme", TokenKind.API_KEY), timedelta(seconds=1)
    async with place.vault(serve_stale=second, read_cache=3 * second, storage_timeout=second) as vault:
        await vault.store_token(key, "value")
        began = time.monotonic()
        assert (await vault.erase_tenant("t1", wait=wait)).tokens == 1
        assert (time.monotonic() - began >= 4.0) is wait


async def test_a_later_store_starts_afresh(place):
    async with place.vault() as vault, place.vault() as another:
        await fill(vault)
        await another.store_token(KEYS[0], "warms the other process")
        ids = {bytes(data_key_id) for (data_key_id,) in place.rows("SELECT data_key_id FROM {data_key}")}
        await vault.erase_tenant("doomed")
        # The other process still holds the destroyed key, and must not write under it.
        info = await another.store_token(KEYS[0], "afresh")
        assert info.generation == 1
        [(data_key_id,)] = place.rows("SELECT data_key_id FROM {token} WHERE tenant_id = 'doomed'")
        assert bytes(data_key_id) not in ids
        assert await read_all(vault, KEYS) == ["afresh", None]
        assert (await vault.erase_tenant("doomed")).tokens == 1


@both_stores
@pytest.mark.parametrize("journal", [False, True], ids=["in memory", "in the journal"])
async def test_a_refresh_under_way_does_not_bring_it_back(place, journal, tmp_path):
    async with place.vault() as beside:

        async def answer_late(request):
            await beside.erase_tenant("doomed")
            return TokenSet("too late", "rotated", expires_in=3600)

        refresher = ScriptedRefresher(answer_late, rotation=Rotation.strict())
        directory = tmp_path / "journal" if journal else None
        async with place.vault(refreshers={"acme": refresher}, journal_dir=directory) as vault:
            await fill(vault)
            with pytest.raises(TokenNotFoundError):
                await vault.refresh_account(ACCOUNT)
            assert await read_all(vault, KEYS) == [None, None]
            assert place.states("data_key").count("destroyed") == 1
            assert place.rows("SELECT count(*) FROM {account} WHERE tenant_id = 'doomed'") == [(0,)]


async def test_an_answer_left_in_a_journal_does_not_bring_it_back(place, tmp_path):
    """A process died between the provider's answer and the database; the tenant is erased before the next start."""
    directory = tmp_path / "journal"
    async with place.vault(journal_dir=directory) as vault:
        await fill(vault)
        rows = place.rows(
            "SELECT kind, id, value_id, data_key_id, blob FROM {token} WHERE tenant_id = 'doomed' ORDER BY kind"
        )
        ids = [[UUID(bytes=i).hex if isinstance(i, bytes) else i.hex for i in row[1:3]] for row in rows]
        entry = {
            "version": 1,
            "account": ["doomed", "acme", ACCOUNT.identifier],
            "attempt_id": "0" * 31 + "1",
            "credential": ["refresh_token", ids[1][0], 1, ids[1][1]],
            "access": ["access_token", ids[0][0], 1, ids[0][1]],
            "claimed_at": "2030-01-01T00:00:00+00:00",
            "lease": 30.0,
            "actor": None,
            "problem": None,
            "seal": {"data_key_id": bytes(rows[0][3]).hex(), "blob": bytes(rows[0][4]).hex()},
            "writes": [
                {
                    "kind": kind,
                    "value_id": None,
                    "client": None,
                    "data_key_id": bytes(data_key_id).hex(),
                    "blob": bytes(blob).hex(),
                    "expires_at": None,
                    "lifetime": None,
                    "scopes": None,
                }
                for kind, *_, data_key_id, blob in rows
            ],
        }
        await vault.erase_tenant("doomed")
    (directory / f"{entry['attempt_id']}.refresh.json").write_text(json.dumps(entry))
    async with place.vault(journal_dir=directory) as vault:
        assert await read_all(vault, KEYS) == [None, None]
        assert list(directory.iterdir()) == []
        assert place.rows("SELECT count(*) FROM {token} WHERE tenant_id = 'doomed'") == [(0,)]


class TestFilesOfSqlite:
    def contents(self, place):
        path = Path(place.url.removeprefix("sqlite:///"))
        return b"".join(file.read_bytes() for file in path.parent.glob(path.name + "*") if file.suffix != ".db-shm")

    async def test_a_copy_made_afterwards_holds_nothing(self, place):
        async with place.vault() as vault:
            await fill(vault)
            await vault.store_token(KEYS[0], "a second value")
            held = sealed_values(place)
            assert all(envelope in self.contents(place) for envelope in held)
            assert (await vault.erase_tenant("doomed")).checkpointed is True
            contents = self.contents(place)
            assert not [envelope for envelope in held if envelope in contents]
            assert b"A label" not in contents

    async def test_an_open_reader_is_told_of(self, place):
        async with place.vault() as vault:
            await fill(vault)
            held = sealed_values(place)
            with closing(sqlite3.connect(place.url.removeprefix("sqlite:///"), isolation_level=None)) as reader:
                reader.execute("BEGIN")
                reader.execute("SELECT * FROM token_vault_token").fetchall()
                report = await vault.erase_tenant("doomed")
                assert (report.tokens, report.checkpointed) == (2, False)
                assert any(envelope in self.contents(place) for envelope in held)
            assert (await vault.erase_tenant("doomed")).checkpointed is True
            contents = self.contents(place)
            assert not [envelope for envelope in held if envelope in contents]

    async def test_other_writers_go_on(self, place):
        async with place.vault(OLD) as vault, place.vault(OLD) as another:
            await fill(vault)
            await vault.erase_tenant("doomed")
            await another.store_token(OTHER, "newer")
            await vault.store_token(OTHER, "newest")
            assert await read_all(another, [OTHER]) == ["newest"]
