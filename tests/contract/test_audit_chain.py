"""The chain of the audit log: each change behind a head is found, and what the vault itself does is no finding."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.databases import PostgresSchema, both_stores

from vault_adapters import (
    Account,
    AuditAction,
    AuditFault,
    AuditFinding,
    AuditHead,
    ImportedToken,
    InvalidInputError,
    ReauthorizationRequiredError,
    StorageError,
    TokenKey,
    TokenKind,
    TokenNotFoundError,
    TokenSet,
    as_json,
    open_vault,
)
from vault_adapters.stores.postgres.tenants import tenants_trigger_sql
from vault_adapters.testing import ManualClock, ScriptedRefresher
from vault_domain.rules.audit_chain import ChainKey
from vault_domain.services.tokens import chaining, comparing, verifying

DAY = timedelta(days=1)
KEY = TokenKey("t1", "google", TokenKind.API_KEY)
EVENT = ["tenant_id", "xid", "seq", "action", "occurred_at", "provider", "identifier", "kind", "generation", "actor"]
EVENT += ["code", "credential_generation"]
COLUMNS = {
    "audit_event": EVENT,
    "audit_seal": ["number", "until", "body", "body_digest", "digest"],
    "audit_chain": ["tenant_id", "secret", "events", "digest"],
}
FREED = {
    "sqlite": [
        "DROP TRIGGER {keep_lasting_event_update}",
        "DROP TRIGGER {keep_lasting_event_delete}",
    ],
    "postgres": ["ALTER TABLE {audit_event} DISABLE TRIGGER USER"],
}
"""Statements with which an owner of the tables gets rid of the triggers that keep lasting events."""


def columns_of(database, table):
    return [name for name in COLUMNS[table] if not (database.kind == "sqlite" and name == "xid")]


def taken(database):
    """Return the rows of the log and its chain as lists, in order."""
    tables = {}
    for table in COLUMNS:
        names = columns_of(database, table)
        shown = ", ".join("xid::text" if name == "xid" else name for name in names)
        order = {"audit_event": "seq", "audit_seal": "number", "audit_chain": "tenant_id"}[table]
        rows = database.execute(f"SELECT {shown} FROM {{{table}}} ORDER BY {order}")
        tables[table] = [[bytes(part) if isinstance(part, memoryview) else part for part in row] for row in rows]
    return tables


def put(database, tables):
    """Make these rows the rows of the log and its chain, as somebody may who owns the tables."""
    for table, rows in tables.items():
        names = columns_of(database, table)
        marks = ", ".join("?::xid8" if name == "xid" else "?" for name in names)
        way = "OVERRIDING SYSTEM VALUE " if database.kind == "postgres" and table == "audit_event" else ""
        database.execute(f"DELETE FROM {{{table}}}")
        for row in rows:
            database.execute(f"INSERT INTO {{{table}}} ({', '.join(names)}) {way}VALUES ({marks})", row)


async def some_events(vault, clock):
    for number in range(4):
        account = Account(f"t{number % 2}", "google", f"user{number}")
        await vault.with_actor("host").store_token_set(account, TokenSet(f"a{number}", "r"))
        clock.advance(DAY)
    info = (await vault.list_tokens("t1")).items[0]
    await vault.mark_token_invalid(info, "revoked")
    await vault.keys.rotate_data_key("t0")


@pytest.fixture
async def sealed(database):
    """Give a database with a sealed log, and two heads of it: one from the middle, one from the end."""
    clock = ManualClock()
    async with open_vault(database.config(), clock=clock) as vault:
        await some_events(vault, clock)
        heads = [await vault.audit_head(), await vault.audit_head(tenant_id="t1")]
        await some_events(vault, clock)
        heads.append(await vault.audit_head())
    for statement in FREED[database.kind]:
        database.execute(statement)
    return database, clock, heads


async def verified(database, heads=(), clock=None):
    async with open_vault(database.config(), clock=clock or ManualClock()) as vault:
        return await vault.verify_audit(heads)


def faults(found):
    return {finding.fault for finding in found.findings}


@both_stores
async def test_a_log_without_a_chain_says_so_and_its_first_head_covers_what_was_there(database):
    clock = ManualClock()
    async with open_vault(database.config(), clock=clock) as vault:
        await some_events(vault, clock)
        found = await vault.verify_audit()
        assert (found.ok, found.seals, found.events) == (False, 0, 0)
        assert found.findings == (AuditFinding(AuditFault.SEAL_MISSING, 0),)
        head = await vault.audit_head()
        events = (await vault.audit_events()).items
        assert head.events == len(events)
        assert head.latest == max(event.occurred_at for event in events)
        found = await vault.verify_audit([head])
        assert (found.ok, found.heads, found.events) == (True, 1, len(events))
        with pytest.raises(TokenNotFoundError):
            await vault.audit_head(tenant_id="nobody")


@pytest.mark.parametrize("again", [False, True], ids=["process that knew the chain", "new process"])
async def test_a_chain_that_was_deleted_as_a_whole_does_not_pass(sealed, again):
    database, clock, heads = sealed
    async with open_vault(database.config(), clock=clock) as vault:
        assert (await vault.verify_audit()).ok
        for table in ("audit_seal", "audit_chain"):
            database.execute(f"DELETE FROM {{{table}}}")
        found = await verified(database, (), clock) if again else await vault.verify_audit()
        assert found.findings == (AuditFinding(AuditFault.SEAL_MISSING, 0),)
        found = await verified(database, heads, clock) if again else await vault.verify_audit(heads)
        assert faults(found) == {AuditFault.SEAL_MISSING, AuditFault.HEAD_DIFFERS}


async def test_a_head_over_a_chain_whose_last_seal_was_deleted_does_not_hide_it(sealed):
    database, clock, _ = sealed
    database.execute("DELETE FROM {audit_seal} WHERE number = (SELECT max(number) FROM {audit_seal})")
    async with open_vault(database.config(), clock=clock) as vault:
        head = await vault.audit_head()
        assert faults(await vault.verify_audit()) == {AuditFault.SEAL_CHANGED}
        assert faults(await vault.verify_audit([head])) == {AuditFault.SEAL_CHANGED}


async def test_heads_survive_their_form_and_name_no_tenant(sealed):
    database, _, heads = sealed
    forms = [as_json(head) for head in heads]
    assert [AuditHead.of_json(form) for form in forms] == heads
    assert "t1" not in str(forms).replace("latest", "")
    assert (await verified(database, heads)).heads == 3
    forged = AuditHead.of_json(forms[0] | {"events": forms[0]["events"] + 1})
    assert faults(await verified(database, [forged])) == {AuditFault.HEAD_FORGED}
    for wrong in (None, [], {}, forms[0] | {"seal": -1}, forms[0] | {"digest": "x"}, forms[0] | {"latest": "1"}):
        with pytest.raises(InvalidInputError):
            AuditHead.of_json(wrong)


TAMPERING = {
    "an actor": (AuditFault.EVENT_CHANGED, "UPDATE {audit_event} SET actor = 'x' WHERE action = 'token_invalidated'"),
    "a tenant": (AuditFault.EVENT_CHANGED, "UPDATE {audit_event} SET tenant_id = 't0' WHERE tenant_id = 't1'"),
    "an identifier": (AuditFault.EVENT_CHANGED, "UPDATE {audit_event} SET identifier = 'x' WHERE identifier = 'user1'"),
    "a lasting event": (AuditFault.EVENT_MISSING, "DELETE FROM {audit_event} WHERE action = 'data_key_replaced'"),
    "one tenant": (AuditFault.EVENT_MISSING, "DELETE FROM {audit_event} WHERE tenant_id = 't1'"),
    "all events": (AuditFault.EVENT_MISSING, "DELETE FROM {audit_event}"),
    "a seal": (AuditFault.SEAL_MISSING, "DELETE FROM {audit_seal} WHERE number = 1"),
    "a body": (AuditFault.SEAL_MISSING, "UPDATE {audit_seal} SET body = NULL WHERE number = 1"),
    "the digest of an empty seal": (
        AuditFault.SEAL_CHANGED,
        "UPDATE {audit_seal} SET body = NULL, digest = body_digest WHERE number = 1",
    ),
    "a digest": (AuditFault.SEAL_CHANGED, "UPDATE {audit_seal} SET digest = body_digest WHERE number = 1"),
    "a gap before a seal that is none": (
        AuditFault.SEAL_MISSING,
        "UPDATE {audit_seal} SET number = 7, body = digest WHERE number = 2",
    ),
    "the first seal": (AuditFault.SEAL_CHANGED, "DELETE FROM {audit_seal} WHERE number = 0"),
    "the chain": (AuditFault.HEAD_DIFFERS, "DELETE FROM {audit_seal}"),
    "the end": (AuditFault.HEAD_DIFFERS, "DELETE FROM {audit_seal} WHERE number > 1"),
    "an erasure that was none": (
        AuditFault.EVENT_CHANGED,
        "UPDATE {audit_event} SET tenant_id = " + "{none}, identifier = NULL WHERE tenant_id = 't1'",
    ),
}


@pytest.mark.parametrize("name", TAMPERING)
async def test_a_change_behind_a_head_is_found(sealed, name):
    database, _, heads = sealed
    fault, sql = TAMPERING[name]
    database.execute(sql.replace("{none}", "''" if database.kind == "postgres" else "NULL"))
    found = await verified(database, heads)
    assert fault in faults(found)
    assert not found.ok
    assert found.faults >= len(found.findings) > 0


@pytest.mark.parametrize("number", [0, -5, -(2**63)])
async def test_an_event_before_all_others_is_found(sealed, number):
    database, _, heads = sealed
    others = ", ".join(name for name in columns_of(database, "audit_event") if name not in {"seq", "xid"})
    is_sqlite = database.kind == "sqlite"
    names, way = (f"seq, {others}", "") if is_sqlite else (f"seq, xid, {others}", "OVERRIDING SYSTEM VALUE ")
    values = f"{number}, {others}" if is_sqlite else f"{number}, '3'::xid8, {others}"
    one = "FROM {audit_event} WHERE action = 'token_invalidated' ORDER BY seq LIMIT 1"
    database.execute(f"INSERT INTO {{audit_event}} ({names}) {way}SELECT {values} {one}")
    assert faults(await verified(database, heads)) == {AuditFault.EVENT_INSERTED}


async def test_an_erased_tenants_events_given_to_another_tenant_are_found(sealed):
    database, clock, heads = sealed
    async with open_vault(database.config(), clock=clock) as vault:
        await vault.erase_tenant("t1")
        assert (await vault.verify_audit(heads)).ok
        nobody = "tenant_id = ''" if database.kind == "postgres" else "tenant_id IS NULL"
        given = "UPDATE {audit_event} SET tenant_id = 't0', identifier = 'eve'"
        database.execute(f"{given} WHERE {nobody} AND action = 'token_invalidated'")
        assert faults(await vault.verify_audit(heads)) == {AuditFault.EVENT_CHANGED}


async def test_an_event_that_another_tenants_erasure_has_missed_is_no_finding(sealed):
    """A transaction that began before an erasure may add an event of the tenant that the erasure does not see."""
    database, clock, heads = sealed
    none = "''" if database.kind == "postgres" else "NULL"
    nobody = "tenant_id = ''" if database.kind == "postgres" else "tenant_id IS NULL"
    async with open_vault(database.config(), clock=clock) as vault:
        [(seq,)] = database.execute("SELECT min(seq) FROM {audit_event} WHERE action = 'token_invalidated'")
        await vault.erase_tenant("t1")
        database.execute(f"UPDATE {{audit_event}} SET tenant_id = 't1' WHERE seq = ? AND {nobody}", (seq,))
        await vault.store_token(TokenKey("t1", "google", TokenKind.API_KEY), "created anew")
        found = await vault.verify_audit(heads)
        assert (found.ok, found.heads) == (True, 3)
        database.execute(f"UPDATE {{audit_event}} SET actor = 'x', tenant_id = {none} WHERE seq = ?", (seq,))
        assert faults(await vault.verify_audit(heads)) == {AuditFault.EVENT_CHANGED}


async def test_a_cut_log_with_a_cut_chain_is_found_by_its_head_only(sealed):
    database, clock, heads = sealed
    tables = taken(database)
    cut = heads[0].events
    put(database, tables | {"audit_event": tables["audit_event"][:cut], "audit_seal": tables["audit_seal"][:2]})
    async with open_vault(database.config(), clock=clock) as vault:
        assert faults(await vault.verify_audit(heads[:2])) == {AuditFault.TOKEN_CHANGED}, "the tokens are newer"
        assert faults(await vault.verify_audit(heads[2:])) == {AuditFault.HEAD_DIFFERS, AuditFault.TOKEN_CHANGED}
        await some_events(vault, clock)  # the ends of the chains are newer than the seals
        assert AuditFault.SEAL_CHANGED in faults(await vault.verify_audit(heads[:2]))


@st.composite
def changes(draw):
    """Draw a function that changes the rows of the log or of its chain."""
    table = draw(st.sampled_from(["audit_event", "audit_event", "audit_event", "audit_seal"]))
    kind = draw(st.sampled_from(["edit", "delete", "copy", "swap", "cut"]))
    first, second, column = draw(st.integers(0, 99)), draw(st.integers(1, 98)), draw(st.integers(0, 99))

    def change(tables, names):
        rows = [list(row) for row in tables[table]]
        at = first % len(rows)
        other = (at + 1 + second % (len(rows) - 1)) % len(rows)
        if kind == "delete":
            del rows[at]
        elif kind == "cut":
            del rows[max(at, 1) :]
        elif kind == "copy":
            new = list(rows[at])
            number = names[table].index("seq" if table == "audit_event" else "number")
            new[number] = rows[-1][number] + 1 if table == "audit_seal" else -1 - second
            rows.append(new)
        elif kind == "swap":
            number = names[table].index("seq" if table == "audit_event" else "number")
            rows[at][number], rows[other][number] = rows[other][number], rows[at][number]
        else:
            editable = [i for i, name in enumerate(names[table]) if name not in ("seq", "xid", "number")]
            edited = editable[column % len(editable)]
            rows[at][edited] = rows[other][edited]
        return tables | {table: rows}

    return change


@both_stores
@pytest.mark.exhaustive
async def test_any_change_of_any_row_is_found(sealed):
    database, clock, heads = sealed
    tables = taken(database)
    names = {table: columns_of(database, table) for table in COLUMNS}

    def looked_for(change):
        changed = change(tables, names)
        if (
            sorted(map(repr, changed["audit_event"])) == sorted(map(repr, tables["audit_event"]))
            and changed["audit_seal"] == tables["audit_seal"]
        ):
            return
        put(database, changed)
        found = asyncio.run(verified(database, heads, clock))
        assert not found.ok, changed

    @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(changes())
    def search(change):
        looked_for(change)

    await asyncio.to_thread(search)
    put(database, tables)
    assert (await verified(database, heads, clock)).ok


TOKEN = ["tenant_id", "provider", "kind", "identifier", "id", "value_id", "data_key_id", "blob", "extra", "status"]
TOKEN += [
    "error_code",
    "expires_at",
    "lifetime",
    "scopes",
    "generation",
    "last_refreshed_at",
    "created_at",
    "updated_at",
]
TOKEN += ["client", "suspect_since", "rejected_at", "noted_value_id"]
DECIDING = ["id", "value_id", "status", "error_code", "expires_at", "lifetime", "scopes", "generation", "rejected_at"]


def tokens_of(database):
    rows = database.execute(f"SELECT {', '.join(TOKEN)} FROM {{token}} ORDER BY {', '.join(TOKEN[:4])}")
    return [[bytes(part) if isinstance(part, memoryview) else part for part in row] for row in rows]


def put_tokens(database, rows):
    database.execute("DELETE FROM {token}")
    for row in rows:
        marks = ", ".join("?" * len(TOKEN))
        database.execute(f"INSERT INTO {{token}} ({', '.join(TOKEN)}) VALUES ({marks})", row)


@both_stores
@pytest.mark.exhaustive
async def test_any_change_of_what_a_token_is_judged_by_is_found(database, monkeypatch):
    monkeypatch.setattr(comparing, "PAUSES", (0.0,))
    clock = ManualClock()
    async with open_vault(database.config(), clock=clock) as vault:
        await some_events(vault, clock)
        older = tokens_of(database)
        for number in range(4):
            later = TokenSet("b", "s", expires_in=timedelta(hours=number + 1), scopes=["a"] * (number % 2))
            await vault.store_token_set(Account(f"t{number % 2}", "google", f"user{number}"), later)
        head = await vault.audit_head()
    newer = tokens_of(database)

    @settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(["edit", "delete", "put back"]), *[st.integers(0, 99)] * 3)
    def search(kind, first, second, column):
        rows, at = [list(row) for row in newer], first % len(newer)
        if kind == "delete":
            del rows[at]
        elif kind == "put back":
            rows[at] = older[at]
        else:
            place = TOKEN.index(DECIDING[column % len(DECIDING)])
            rows[at][place] = rows[second % len(newer)][place]
        put_tokens(database, rows)
        found = asyncio.run(verified(database, [head], clock))
        expected = (
            set() if rows == newer else {AuditFault.TOKEN_MISSING if kind == "delete" else AuditFault.TOKEN_CHANGED}
        )
        assert faults(found) == expected

    await asyncio.to_thread(search)
    put_tokens(database, newer)
    assert (await verified(database, [head], clock)).ok


CHANGED_TOKENS = {
    "an expiry": "UPDATE {token} SET expires_at = created_at WHERE tenant_id = 't1' AND kind = 'access_token'",
    "a status": "UPDATE {token} SET status = 'valid', error_code = NULL WHERE status = 'invalid'",
    "a generation": "UPDATE {token} SET generation = generation + 1 WHERE identifier = 'user1'",
    "an id": "UPDATE {token} SET value_id = id WHERE identifier = 'user3' AND kind = 'access_token'",
    "extra members": "UPDATE {token} SET extra = blob WHERE identifier = 'user3' AND kind = 'access_token'",
}


@pytest.mark.parametrize("name", CHANGED_TOKENS)
async def test_changed_metadata_of_a_token_is_found(sealed, name):
    database, clock, heads = sealed
    before = await verified(database, heads, clock)
    assert (before.ok, before.tokens, before.unrecorded) == (True, 8, 0)
    database.execute(CHANGED_TOKENS[name])
    found = await verified(database, heads, clock)
    assert faults(found) == {AuditFault.TOKEN_CHANGED}
    assert {finding.tenant_id for finding in found.findings} == {"t1"}
    assert found.tokens + found.faults == 8


ROW = "provider, kind, identifier, id, value_id, data_key_id, blob, status, generation, created_at, updated_at"


@pytest.mark.parametrize("rotated", [False, True], ids=["same data key", "older data key"])
async def test_an_old_value_that_is_put_back_alone_is_found(database, rotated):
    clock, old_columns = ManualClock(), "data_key_id, blob"
    async with open_vault(database.config(), clock=clock) as vault:
        await vault.store_token(KEY, "old")
        heads = [await vault.audit_head()]
        [old] = database.execute(f"SELECT {old_columns} FROM {{token}}")
        if rotated:
            await vault.keys.rotate_data_key("t1")
        await vault.store_token(KEY, "new")
        heads.append(await vault.audit_head())
        [new] = database.execute(f"SELECT {old_columns} FROM {{token}}")
        assert (await vault.verify_audit(heads)).ok
        database.execute("UPDATE {token} SET data_key_id = ?, blob = ?", old)
        assert (await vault.get_token(KEY)).value.reveal() == "old", "it opens"
        assert faults(await vault.verify_audit(heads)) == {AuditFault.TOKEN_CHANGED}
        database.execute("UPDATE {token} SET data_key_id = ?, blob = ?", new)
        await vault.keys.rotate_data_key("t1")
        await vault.keys.reencrypt()
        found = await vault.verify_audit(heads)
        assert (found.ok, found.tokens) == (True, 1)


async def test_an_old_row_that_is_put_back_is_found_and_so_is_a_row_that_is_gone(sealed):
    database, clock, heads = sealed
    where = "WHERE tenant_id = 't1' AND identifier = 'user1' AND kind = 'refresh_token'"
    [old] = database.execute(f"SELECT tenant_id, {ROW} FROM {{token}} {where}")
    scopes = ("scopes", "'[]'") if database.kind == "sqlite" else ("extra", "NULL")

    def put_back():
        database.execute(f"DELETE FROM {{token}} {where}")
        marks = ", ".join("?" * len(old))
        sql = f"INSERT INTO {{token}} (tenant_id, {ROW}, {scopes[0]}) VALUES ({marks}, {scopes[1]})"
        database.execute(sql, old)

    async with open_vault(database.config(), clock=clock) as vault:
        put_back()
        assert (await vault.verify_audit(heads)).ok, "it is the same row"
        await vault.store_token_set(Account("t1", "google", "user1"), TokenSet("newer", "newer"))
        heads.append(await vault.audit_head())
        put_back()
        token = await vault.get_token(TokenKey("t1", "google", TokenKind.REFRESH_TOKEN, "user1"))
        assert token.value.reveal() == "r", "it opens"
        assert faults(await vault.verify_audit(heads)) == {AuditFault.TOKEN_CHANGED}
        database.execute(f"DELETE FROM {{token}} {where}")
        assert faults(await vault.verify_audit(heads)) == {AuditFault.TOKEN_MISSING}
        await vault.delete_account(Account("t1", "google", "user1"))
        database.execute("DELETE FROM {audit_event} WHERE action = 'nothing'")
        assert faults(await vault.verify_audit(heads)) == {AuditFault.TOKEN_MISSING}, "its deletion has no event"
        await vault.store_token_set(Account("t1", "google", "user1"), TokenSet("a", "r"))
        assert (await vault.verify_audit(heads)).ok
        await vault.delete_account(Account("t1", "google", "user1"))
        assert (await vault.verify_audit(heads)).ok
        put_back()
        assert faults(await vault.verify_audit(heads)) == {AuditFault.TOKEN_CHANGED}, "it was deleted"


@both_stores
async def test_all_that_changes_tokens_is_recorded(database):
    clock = ManualClock()
    refused = ReauthorizationRequiredError(code="invalid_grant")
    refresher = ScriptedRefresher(TokenSet("new", "new", expires_in=timedelta(hours=1)), refused)
    async with open_vault(database.config(), clock=clock, refreshers={"google": refresher}) as vault:
        head = await vault.audit_head()
        expiring = TokenSet("a", "r", expires_in=timedelta(hours=1))
        accounts = [Account("t1", "google", f"user{number}") for number in range(5)]
        for account in accounts:
            await vault.store_token_set(account, expiring)
            clock.advance(timedelta(seconds=1))
        await vault.refresh_account(accounts[0])
        with pytest.raises(ReauthorizationRequiredError):
            await vault.refresh_account(accounts[1])
        assert (await vault.verify_audit([head])).ok
        await vault.report_rejected(await vault.get_token(accounts[2].key(TokenKind.ACCESS_TOKEN)))
        await vault.delete_token(accounts[3].key(TokenKind.REFRESH_TOKEN))
        rows = [
            ImportedToken(accounts[4].key(TokenKind.API_KEY), "v"),
            ImportedToken(accounts[4].key("access_token"), "w"),
        ]
        await vault.import_tokens(rows, overwrite=True)
        since = clock.now() - DAY
        await vault.revive_accounts(provider="google", since=since)
        await vault.store_tokens([(TokenKey(f"t{number}", "acme", "api_key"), "v") for number in range(30)])
        await vault.keys.rotate_data_keys()
        await vault.keys.reencrypt()
        found = await vault.verify_audit([head])
        assert (found.ok, found.findings, found.unrecorded) == (True, (), 0)
        stored = sum([len((await vault.list_tokens(tenant)).items) async for tenant in vault.iter_tenants()])
        assert found.tokens == stored
        await vault.delete_provider_tokens("t1", "google")
        found = await vault.verify_audit([head])
        assert (found.ok, found.tokens) == (True, 30)


@both_stores
async def test_an_erasure_keeps_the_log_verifiable_and_leaves_nothing_that_names_the_tenant(sealed):
    database, clock, heads = sealed
    async with open_vault(database.config(), clock=clock) as vault:
        await vault.erase_tenant("t1")
        assert [row[0] for row in taken(database)["audit_chain"]] == ["", "t0"]
        found = await vault.verify_audit(heads)
        assert (found.ok, found.heads) == (True, 3)
        await vault.store_token(TokenKey("t1", "google", TokenKind.API_KEY), "again")
        assert (await vault.audit_head(tenant_id="t1")).chain != heads[1].chain
        assert (await vault.verify_audit(heads)).ok
        none = "''" if database.kind == "postgres" else "NULL"
        database.execute("UPDATE {audit_event} SET code = 'x' WHERE action = 'token_invalidated'")
        database.execute(f"UPDATE {{audit_event}} SET tenant_id = {none}, identifier = NULL WHERE tenant_id = 't0'")
        found = await vault.verify_audit(heads)
        assert faults(found) == {AuditFault.EVENT_CHANGED}


@both_stores
async def test_events_that_were_not_sealed_before_an_erasure_are_sealed_without_their_tenant(database):
    clock = ManualClock()
    async with open_vault(database.config(), clock=clock) as vault:
        await vault.audit_head()
        await some_events(vault, clock)
        await vault.erase_tenant("t1")
        head = await vault.audit_head()
        assert head.events == len((await vault.audit_events()).items)
        assert (await vault.verify_audit([head])).ok


@both_stores
async def test_a_pruning_keeps_the_log_verifiable_and_explains_no_other_deletion(sealed):
    database, clock, heads = sealed
    async with open_vault(database.config(), clock=clock) as vault:
        await vault.store_token(TokenKey("t0", "google", TokenKind.API_KEY), "v")
        await vault.audit_head()
        clock.advance(2 * DAY)
        before = len(taken(database)["audit_event"])
        pruned = await vault.prune_audit(older_than=4 * DAY)
        assert 0 < pruned < before
        found = await vault.verify_audit(heads)
        assert (found.ok, found.heads) == (True, 3)
        assert found.events == before - pruned + 1
        await vault.prune_audit(older_than=DAY)
        await some_events(vault, clock)
        heads.append(await vault.audit_head())
        found = await vault.verify_audit(heads)
        assert (found.ok, found.heads) == (True, 4)
        bodies = [row[2] is None for row in taken(database)["audit_seal"]]
        assert True in bodies
        database.execute("DELETE FROM {audit_event} WHERE action = 'audit_pruned'")
        assert AuditFault.EVENT_MISSING in faults(await vault.verify_audit(heads))


async def test_tokens_whose_newest_records_were_pruned_are_no_findings(database):
    clock = ManualClock()
    async with open_vault(database.config(), clock=clock) as vault:
        await vault.store_token(KEY, "v")
        await vault.keys.rotate_data_key("t1")  # its event lasts, so this seal keeps its body
        await vault.audit_head()
        await vault.store_token(KEY, "newer")
        await vault.audit_head()
        clock.advance(10 * DAY)
        await vault.store_token(TokenKey("t2", "google", TokenKind.API_KEY), "v")
        head = await vault.audit_head()
        await vault.prune_audit(older_than=5 * DAY)
        found = await vault.verify_audit([head])
        assert (found.ok, found.tokens, found.unrecorded) == (True, 1, 1)


async def test_a_pruning_that_was_interrupted_is_no_finding(sealed):
    database, clock, heads = sealed
    clock.advance(30 * DAY)
    async with open_vault(database.config(), clock=clock) as vault:
        chain = vault._services.chain
        await chain.announce(clock.now() - 20 * DAY)
        database.execute("DELETE FROM {audit_event} WHERE action = 'token_stored' AND tenant_id = 't0'")
        assert (await vault.verify_audit(heads)).ok


async def test_the_chain_survives_all_rotations_of_keys(sealed):
    database, clock, heads = sealed
    new = {"encryption_secret": "another encryption secret for tests, long enough"}
    old = {"previous_encryption_secret": database.config().encryption_secret}
    async with open_vault(database.config(**new, **old), clock=clock) as vault:
        await vault.keys.rotate_data_keys()
        await vault.keys.reencrypt()
        clock.advance(2 * DAY)
        report = await vault.keys.reencrypt()
        assert report.destroyed > 0
        await vault.keys.rotate_master_key()
    async with open_vault(database.config(**new), clock=clock) as vault:
        found = await vault.verify_audit(heads)
        assert (found.ok, found.heads) == (True, 3)
        await some_events(vault, clock)
        assert (await vault.verify_audit([*heads, await vault.audit_head()])).heads == 4


@both_stores
async def test_processes_that_seal_at_once_seal_each_event_once(database):
    async with open_vault(database.config()) as one, open_vault(database.config()) as other:
        for number in range(20):
            await one.store_token(TokenKey(f"t{number}", "google", TokenKind.API_KEY), "v")
        heads = await asyncio.gather(*(vault.audit_head() for vault in (one, other) * 4))
        found = await one.verify_audit(heads)
        assert (found.ok, found.heads) == (True, 8)
        assert {head.events for head in heads} >= {20}


async def test_a_head_does_not_wait_for_the_end_of_a_busy_log(database, monkeypatch):
    monkeypatch.setattr(chaining, "EVENTS_AT_ONCE", 5)
    async with open_vault(database.config()) as vault:
        for number in range(12):
            await vault.store_token(TokenKey(f"t{number}", "google", TokenKind.API_KEY), "v")
        page, pages = vault._services.chain._audit.page, []

        async def busy_page(*args, **kwargs):
            found = await page(*args, **kwargs)
            pages.append(len(found))
            assert len(pages) < 50, "it never ends"
            await vault.store_token(KEY, "more")
            return found

        monkeypatch.setattr(vault._services.chain._audit, "page", busy_page)
        head = await vault.audit_head()
        assert head.events >= 12
        monkeypatch.undo()
        assert (await vault.verify_audit([head])).ok


async def test_sweeps_seal_once_a_minute_after_the_chain_was_begun(database):
    async with open_vault(database.config()) as vault:
        await vault.refresh_due()
        assert taken(database)["audit_seal"] == []
        await vault.audit_head()
    async with open_vault(database.config()) as vault:
        await vault.store_token(TokenKey("t1", "google", TokenKind.API_KEY), "v")
        before = len(taken(database)["audit_seal"])
        await vault.refresh_due()
        assert len(taken(database)["audit_seal"]) == before + 1


async def test_no_host_may_name_the_tenant_of_the_chain():
    with pytest.raises(InvalidInputError):
        Account("token-vault:audit", "google")


@pytest.fixture
def schema(prepared_schemas):
    """Give an empty schema of a Postgres database."""
    with prepared_schemas.lend() as name:
        yield PostgresSchema(prepared_schemas.url, name)


async def test_an_event_that_is_committed_late_is_sealed_too(schema):
    columns = "(tenant_id, action, occurred_at)"
    event = f"INSERT INTO {schema.schema}.audit_event {columns} VALUES ('t1', 'token_suspected', now())"
    async with open_vault(schema.config()) as vault:
        before = await vault.audit_head()
        with psycopg.connect(schema.url) as late:
            late.execute(event)
            await vault.store_token(KEY, "v")
            head = await vault.audit_head()
            assert head.events == before.events, "the open transaction may add an earlier event"
            late.commit()
        await vault.store_token(KEY, "w")
        last = await vault.audit_head()
        assert last.events == before.events + 3
        found = await vault.verify_audit([before, head, last])
        assert (found.ok, found.heads, found.events) == (True, 3, last.events)


@pytest.mark.parametrize("place", ["2", "9000000000"], ids=["adopted", "of another server"])
async def test_a_log_whose_places_have_changed_is_sealed_on_and_each_event_once(schema, place, monkeypatch):
    monkeypatch.setattr(chaining, "EVENTS_AT_ONCE", 7)
    monkeypatch.setattr(verifying, "EVENTS_AT_ONCE", 7)
    clock = ManualClock()
    async with open_vault(schema.config(), clock=clock) as vault:
        await some_events(vault, clock)
        heads = [await vault.audit_head()]
        await some_events(vault, clock)
        schema.execute(f"UPDATE {{audit_event}} SET xid = '{place}'::xid8")
    async with open_vault(schema.config(), clock=clock) as vault:  # it renumbers the events of another server
        await some_events(vault, clock)
        heads.append(await vault.audit_head())
        await some_events(vault, clock)
        heads.append(await vault.audit_head())
        stored = len((await vault.audit_events(limit=10_000)).items)
        found = await vault.verify_audit(heads)
        assert (found.ok, found.findings, found.heads, found.events) == (True, (), 3, stored)
        assert heads[-1].events == stored
        schema.execute("DELETE FROM {audit_event} WHERE action = 'token_invalidated'")
        found = await vault.verify_audit(heads)
        assert faults(found) == {AuditFault.EVENT_MISSING}


OTHERS = "tenant_id, action, occurred_at, provider, identifier, kind, generation, actor, code, credential_generation"
"""The columns of an event on Postgres beside its place, which no constraint keeps as it was."""


@pytest.fixture
async def long_log(schema, monkeypatch):
    """Give a log of many pages, whose lasting events are free, and its head."""
    for module in (chaining, verifying):
        monkeypatch.setattr(module, "EVENTS_AT_ONCE", 5)
    clock = ManualClock()
    async with open_vault(schema.config(), clock=clock) as vault:
        for _ in range(3):
            await some_events(vault, clock)
        head = await vault.audit_head()
    for statement in FREED["postgres"]:
        schema.execute(statement)
    return schema, clock, head


FIRST = "(SELECT min(seq) FROM {audit_event} WHERE action = 'token_invalidated')"


@pytest.mark.parametrize("shift", [-1, 0, 1, 10_000], ids=["before", "beside", "after", "later than all"])
async def test_an_event_with_the_number_of_another_one_is_found(long_log, shift):
    schema, clock, head = long_log
    place = f"least((xid::text::bigint + {shift})::text::xid8, pg_snapshot_xmin(pg_current_snapshot()))"
    other = OTHERS.replace("occurred_at", "occurred_at + interval '1 microsecond'", 1)
    schema.execute(
        f"INSERT INTO {{audit_event}} (xid, seq, {OTHERS}) OVERRIDING SYSTEM VALUE "
        f"SELECT {place}, seq, {other} FROM {{audit_event}} WHERE seq = {FIRST}"
    )
    assert AuditFault.EVENT_INSERTED in faults(await verified(schema, [head], clock))


async def test_an_event_in_the_place_of_another_one_is_found_wherever_a_page_ends(long_log):
    schema, clock, head = long_log
    numbers = [seq for (seq,) in schema.execute("SELECT seq FROM {audit_event} ORDER BY xid, seq LIMIT 7")]
    for seq, many in [*((seq, 1) for seq in numbers), (numbers[3], 12)]:
        schema.execute(
            f"INSERT INTO {{audit_event}} (xid, seq, {OTHERS}) OVERRIDING SYSTEM VALUE "
            f"SELECT xid, seq, {OTHERS.replace('tenant_id', 'n::text', 1)} "
            f"FROM {{audit_event}}, generate_series(100, 99 + {many}) n WHERE seq = {seq}"
        )
        found = await verified(schema, [head], clock)
        assert AuditFault.EVENT_INSERTED in faults(found), (seq, many)
        schema.execute("DELETE FROM {audit_event} WHERE tenant_id LIKE '1__'")
    assert (await verified(schema, [head], clock)).ok


@pytest.mark.parametrize("edit", ["", ", actor = 'x'"], ids=["moved", "moved and changed"])
async def test_an_event_that_is_moved_to_the_end_of_the_log_and_sealed_again_is_found(long_log, edit):
    schema, clock, head = long_log
    async with open_vault(schema.config(), clock=clock) as vault:
        await some_events(vault, clock)
        await vault.audit_head()
        await some_events(vault, clock)
    schema.execute(f"UPDATE {{audit_event}} SET xid = pg_current_xact_id(){edit} WHERE seq = {FIRST}")
    found = await verified(schema, [head], clock)
    assert faults(found) >= {AuditFault.EVENT_INSERTED}
    assert (AuditFault.EVENT_CHANGED in faults(found)) == bool(edit)


async def test_an_event_that_leads_back_to_the_beginning_of_the_log_is_found(long_log):
    """Transaction 2 is that of restored events, which a reader with an older cursor gets in the order of numbers."""
    schema, clock, head = long_log
    schema.execute(
        f"INSERT INTO {{audit_event}} (xid, seq, {OTHERS}) OVERRIDING SYSTEM VALUE "
        f"SELECT '2'::xid8, 1000000, {OTHERS} FROM {{audit_event}} WHERE seq = {FIRST}"
    )
    async with open_vault(schema.config(), clock=clock) as vault, asyncio.timeout(60):
        assert AuditFault.EVENT_INSERTED in faults(await vault.verify_audit([head]))
        assert not await vault._services.chain.try_to_seal()
        schema.execute("DELETE FROM {audit_event} WHERE seq = 1000000")
        assert faults(await vault.verify_audit([head])) <= {AuditFault.EVENT_MISSING}, "it was sealed once"


async def test_an_event_that_an_older_release_could_not_read_is_no_finding(database, monkeypatch):
    clock, newest = ManualClock(), list(AuditAction)[-1].value
    event = "INSERT INTO {audit_event} (action, occurred_at) VALUES (?, ?)"
    with monkeypatch.context() as older:
        older.setattr(chaining, "_ACTIONS", len(AuditAction) - 1)
        async with open_vault(database.config(), clock=clock) as vault:
            await some_events(vault, clock)
            await vault.audit_head()
            [(latest,)] = database.execute("SELECT max(occurred_at) FROM {audit_event}")
            database.execute(event, ("unknown", latest))
            await some_events(vault, clock)
            heads = [await vault.audit_head()]
    database.execute("UPDATE {audit_event} SET action = ? WHERE action = 'unknown'", (newest,))
    database.execute(event, ("gone", latest))
    [(gap,)] = database.execute("SELECT seq FROM {audit_event} WHERE action = 'gone'")
    database.execute("DELETE FROM {audit_event} WHERE action = 'gone'")
    async with open_vault(database.config(), clock=clock) as vault:
        await some_events(vault, clock)
        heads.append(await vault.audit_head())
        found = await vault.verify_audit(heads)
        assert (found.ok, found.findings, found.heads) == (True, (), 2)
        place = "" if database.kind == "sqlite" else ", xid"
        way = "OVERRIDING SYSTEM VALUE " if place else ""
        database.execute(
            f"INSERT INTO {{audit_event}} (seq, action, occurred_at{place}) {way}"
            f"SELECT seq - 1, ?, occurred_at{place} FROM {{audit_event}} WHERE seq = ?",
            (newest, gap + 1),
        )
        assert faults(await vault.verify_audit(heads)) == {AuditFault.EVENT_INSERTED}, "this release sealed there"


async def test_a_chain_that_another_process_has_begun_anew_is_continued(database):
    clock = ManualClock()
    async with open_vault(database.config(), clock=clock) as vault:
        await some_events(vault, clock)
        await vault.audit_head()
        for table in ("audit_seal", "audit_chain"):
            database.execute(f"DELETE FROM {{{table}}}")
        async with open_vault(database.config(), clock=clock) as other:
            head = await other.audit_head()
        await some_events(vault, clock)
        found = await vault.verify_audit([head, await vault.audit_head()])
        assert (found.ok, found.heads) == (True, 2)
        assert await vault.prune_audit(older_than=DAY) > 0


@both_stores
async def test_a_verification_finds_nothing_while_the_vault_is_in_use(database, monkeypatch):
    monkeypatch.setattr(chaining, "EVENTS_AT_ONCE", 20)
    monkeypatch.setattr(verifying, "EVENTS_AT_ONCE", 20)
    clock = ManualClock()

    async def use(vault, number):
        account = Account(f"t{number}", "google", "ann")
        for turn in range(12):
            with suppress(StorageError):  # a writer that waits for too long may be asked to try again
                await vault.store_token_set(account, TokenSet(f"a{turn}", f"r{turn}"))
                await vault.mark_token_invalid(await vault.get_token(account.key(TokenKind.ACCESS_TOKEN)), "revoked")
                if turn % 4 == 1:
                    await vault.delete_account(account)
                if turn % 6 == number:
                    await vault.erase_tenant(account.tenant_id)
            clock.advance(timedelta(hours=7))

    async def prune(vault):
        for _ in range(4):
            await vault.prune_audit(older_than=DAY)
            await asyncio.sleep(0.02)

    async with open_vault(database.config(), clock=clock) as one, open_vault(database.config(), clock=clock) as other:
        heads = [await one.audit_head()]
        users = [use(vault, number) for number, vault in enumerate((one, other, one))]
        working = asyncio.gather(*users, prune(other))
        while not working.done():
            found = await one.verify_audit(heads)
            assert (found.ok, found.findings) == (True, ())
            heads.append(await other.audit_head())
        await working
        found = await one.verify_audit(heads)
        assert (found.ok, found.heads) == (True, len(heads))
        assert min(found.seals, len(heads)) > 1  # while a writer waits for a lock, several heads end with one seal


async def test_a_verification_lets_others_go_first_after_each_seal(database, monkeypatch):
    """A full seal takes some 15 ms of the processor, and 50 seals are read at once."""
    monkeypatch.setattr(chaining, "EVENTS_AT_ONCE", 1)
    is_genuine, seen, longest = ChainKey.is_genuine, [], []

    def counted(self, seal, before):
        seen.append(seal)
        return is_genuine(self, seal, before)

    async def others():
        while True:
            longest.append(len(seen))
            seen.clear()
            await asyncio.sleep(0)

    async with open_vault(database.config()) as vault:
        await vault.store_tokens([(TokenKey("t1", "acme", TokenKind.API_KEY, f"{n}"), "v") for n in range(30)])
        head = await vault.audit_head()
        monkeypatch.setattr(ChainKey, "is_genuine", counted)
        task = asyncio.create_task(others())
        assert (await vault.verify_audit([head])).seals > 30
        task.cancel()
    assert sum(longest) > 60
    assert max(longest) <= 2


async def test_an_erasure_by_the_trigger_of_a_host_keeps_the_log_verifiable(schema):
    execute = schema.execute
    clock = ManualClock()
    async with open_vault(schema.config(), clock=clock) as vault:
        execute("CREATE TABLE {customer} (id text PRIMARY KEY)")
        execute("INSERT INTO {customer} VALUES ('t0'), ('t1')")
        with psycopg.connect(schema.url, autocommit=True) as owner:
            owner.execute(tenants_trigger_sql(schema.schema, f"{schema.schema}.customer", "id"))
        await some_events(vault, clock)
        head = await vault.audit_head()
        await some_events(vault, clock)
        execute("DELETE FROM {customer} WHERE id = 't1'")
        found = await vault.verify_audit([head])
        assert (found.ok, found.findings, found.heads) == (True, (), 1)
        assert [row[0] for row in taken(schema)["audit_chain"]] == ["", "t0"]


async def test_an_erasure_behind_an_open_transaction_is_waited_for(schema):
    """The erasure's changes of older events are seen at once, but its own event only after the older transaction."""
    clock = ManualClock()
    async with open_vault(schema.config(), clock=clock) as vault:
        await some_events(vault, clock)
        head = await vault.audit_head()
        async with await psycopg.AsyncConnection.connect(schema.url) as late:
            await late.execute("SELECT pg_current_xact_id()")
            await vault.erase_tenant("t1")
            verifying = asyncio.create_task(vault.verify_audit([head]))
            await asyncio.sleep(0.2)
            await late.commit()
            found = await verifying
        assert (found.ok, found.findings, found.heads) == (True, (), 1)
        schema.execute("UPDATE {audit_event} SET tenant_id = '', identifier = NULL WHERE tenant_id = 't0'")
        assert faults(await vault.verify_audit([head])) == {AuditFault.EVENT_CHANGED}


async def test_the_chain_works_where_citus_distributes_the_tables(citus_schemas):
    clock = ManualClock()
    with citus_schemas.lend() as name:
        database = PostgresSchema(citus_schemas.url, name)
        async with open_vault(database.config(), clock=clock) as vault:
            await some_events(vault, clock)
            heads = [await vault.audit_head(), await vault.audit_head(tenant_id="t1")]
            await vault.erase_tenant("t1")
            clock.advance(9 * DAY)
            await vault.prune_audit(older_than=8 * DAY)
            await vault.store_token(KEY, "v")
            heads.append(await vault.audit_head())
            found = await vault.verify_audit(heads)
            assert (found.ok, found.findings, found.heads) == (True, (), 3)
            database.execute("UPDATE {audit_event} SET actor = 'x' WHERE tenant_id = 't1' AND provider = 'google'")
            assert faults(await vault.verify_audit(heads)) == {AuditFault.EVENT_CHANGED}
