"""After a fault in the middle of a transaction, all of its changes are stored or none."""

import asyncio

import pytest
from tests.support.databases import both_stores

from vault_adapters import Account, StorageError, TokenKey, TokenKind, TokenSet, open_vault
from vault_adapters.testing import ManualClock
from vault_domain.services.tokens import token_writer

pytestmark = both_stores

ACCOUNT = Account("t1", "google", "ann")
ACCESS, REFRESH = ACCOUNT.key(TokenKind.ACCESS_TOKEN), ACCOUNT.key(TokenKind.REFRESH_TOKEN)


class Fault:
    """A trigger that refuses to insert or update rows of a table."""

    def __init__(self, database, table, condition="1 = 1"):
        self._database = database
        self._table = table
        self._condition = condition

    def __enter__(self):
        table, when = self._table, self._condition
        if self._database.kind == "sqlite":
            for event in ("INSERT", "UPDATE"):
                self._database.execute(
                    f"CREATE TRIGGER fault_{event} BEFORE {event} ON {{{table}}} WHEN {when} "
                    "BEGIN SELECT raise(ABORT, 'fault'); END"
                )
            return
        schema = self._database.schema
        self._database.execute(
            f"CREATE FUNCTION {schema}.fault() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN RAISE EXCEPTION USING MESSAGE = ''fault''; END'"
        )
        self._database.execute(
            f"CREATE TRIGGER fault BEFORE INSERT OR UPDATE ON {{{table}}} FOR EACH ROW WHEN ({when}) "
            f"EXECUTE FUNCTION {schema}.fault()"
        )

    def __exit__(self, *error):
        if self._database.kind == "sqlite":
            self._database.execute("DROP TRIGGER fault_INSERT")
            self._database.execute("DROP TRIGGER fault_UPDATE")
        else:
            self._database.execute(f"DROP TRIGGER fault ON {{{self._table}}}")
            self._database.execute(f"DROP FUNCTION {self._database.schema}.fault()")


def contents(database):
    tables = ["data_key", "data_key_wrap", "token", "account", "audit_event"]
    return {table: sorted(map(repr, database.execute(f"SELECT * FROM {{{table}}}"))) for table in tables}


MUTATIONS = {
    "store_token": lambda vault, info: vault.store_token(ACCESS, "new"),
    "store_token_expected": lambda vault, info: vault.store_token(ACCESS, "new", expected_generation=1),
    "store_tokens": lambda vault, info: vault.store_tokens([(ACCESS, "new"), (TokenKey("t1", "x", "api_key"), "new")]),
    "store_token_set": lambda vault, info: vault.store_token_set(ACCOUNT, TokenSet("new", "new"), label="new"),
    "mark_token_invalid": lambda vault, info: vault.mark_token_invalid(info, "invalid_token"),
    "delete_token": lambda vault, info: vault.delete_token(ACCESS),
    "delete_account": lambda vault, info: vault.delete_account(ACCOUNT),
    "delete_provider_tokens": lambda vault, info: vault.delete_provider_tokens("t1", "google"),
}


@pytest.mark.parametrize("name", MUTATIONS)
async def test_where_the_event_cannot_be_written_nothing_happens(database, name):
    happened = []
    async with open_vault(database.config(), clock=ManualClock(), on_event=happened.append) as vault:
        await vault.store_token_set(ACCOUNT, TokenSet("old", "old"), label="old")
        info = (await vault.get_token(ACCESS)).info
        before, told = contents(database), list(happened)
        with Fault(database, "audit_event"), pytest.raises(StorageError) as caught:
            await MUTATIONS[name](vault, info)
        assert "fault" not in str(caught.value)
        assert contents(database) == before
        assert happened == told
        await MUTATIONS[name](vault, info)
        assert contents(database) != before
        assert len(happened) > len(told)


@pytest.mark.parametrize(
    ("table", "condition"),
    [("token", "NEW.kind = 'refresh_token'"), ("token", "NEW.kind = 'access_token'"), ("account", "1 = 1")],
    ids=["refresh_token", "access_token", "label"],
)
async def test_a_token_set_is_written_whole(database, table, condition):
    async with open_vault(database.config(), clock=ManualClock()) as vault:
        await vault.store_token_set(ACCOUNT, TokenSet("old", "old"), label="old")
        before = contents(database)
        with Fault(database, table, condition), pytest.raises(StorageError):
            await vault.store_token_set(ACCOUNT, TokenSet("new", "new"), label="new")
        assert contents(database) == before
        found = await vault.get_tokens([ACCESS, REFRESH])
        assert {token.value.reveal() for token in found.values()} == {"old"}


async def test_many_accounts_are_deleted_one_by_one(database, monkeypatch):
    monkeypatch.setattr(token_writer, "_PAGE", 2)
    happened = []
    async with open_vault(database.config(), on_event=happened.append) as vault:
        await vault.store_tokens([(TokenKey("t1", "google", "api_key", name), "v") for name in "abcde"])
        happened.clear()
        with Fault(database, "audit_event", "NEW.identifier = 'd'"), pytest.raises(StorageError):
            await vault.delete_provider_tokens("t1", "google")
        assert sorted(event.account.identifier for event in happened) == list("abc")
        assert await vault.delete_provider_tokens("t1", "google") == 2
        assert (await vault.list_tokens("t1")).items == ()
        assert sorted(event.account.identifier for event in happened) == list("abcde")


async def test_after_a_cancellation_no_further_account_is_deleted(database):
    happened, begun = [], asyncio.Event()

    def note(event):
        happened.append(event)
        begun.set()

    async with open_vault(database.config(), on_event=note) as vault:
        await vault.store_tokens([(TokenKey("t1", "google", "api_key", str(name)), "v") for name in range(100)])
        happened.clear()
        begun.clear()
        deletion = asyncio.create_task(vault.delete_provider_tokens("t1", "google"))
        await begun.wait()
        deletion.cancel()
        with pytest.raises(asyncio.CancelledError):
            await deletion
    [(left,)] = database.execute("SELECT count(*) FROM {token}")
    assert 50 < left < 100
    assert len(happened) == 100 - left


async def test_many_tokens_are_written_whole(database):
    keys = [TokenKey("t1", "google", TokenKind.API_KEY, str(number)) for number in range(50)]
    async with open_vault(database.config(), clock=ManualClock()) as vault:
        await vault.store_tokens([(key, "old") for key in keys[::2]])
        before = contents(database)
        with Fault(database, "token", "NEW.identifier = '31'"), pytest.raises(StorageError):
            await vault.store_tokens([(key, "new") for key in keys])
        assert contents(database) == before


async def test_a_lost_use_is_logged_and_hurts_nobody(database, caplog):
    async with open_vault(database.config(), clock=ManualClock()) as vault:
        await vault.store_token(ACCESS, "v")
        await vault.get_token(ACCESS)
        fault = Fault(database, "token_use")
        fault.__enter__()
    fault.__exit__()
    assert [record.levelname for record in caplog.records if "last use" in record.getMessage()] == ["WARNING"]
    async with open_vault(database.config()) as vault:
        assert (await vault.get_token(ACCESS)).info.last_used_at is None
