"""Rows that somebody moved or changed by SQL do not open, and with an edited master key row the vault does not open."""

import json

import pytest
from tests.support.databases import both_stores

from vault_adapters import (
    Account,
    AuditAction,
    ConfigurationError,
    DecryptionError,
    TokenKey,
    TokenKind,
    TokenSet,
    WrongEncryptionSecretError,
    open_vault,
)
from vault_adapters.testing import ManualClock

HOME = TokenKey("t1", "google", TokenKind.ACCESS_TOKEN, "ann")
PLACES = {
    "tenant": TokenKey("t2", "google", TokenKind.ACCESS_TOKEN, "ann"),
    "provider": TokenKey("t1", "github", TokenKind.ACCESS_TOKEN, "ann"),
    "kind": TokenKey("t1", "google", TokenKind.REFRESH_TOKEN, "ann"),
    "identifier": TokenKey("t1", "google", TokenKind.ACCESS_TOKEN, "bob"),
    "no_identifier": TokenKey("t1", "google", TokenKind.ACCESS_TOKEN),
}
WHERE = "tenant_id = ? AND provider = ? AND kind = ? AND identifier = ?"


def place(key):
    return [key.tenant_id, key.provider, key.kind.value, key.identifier or ""]


def sealed(database, key):
    [row] = database.execute(f"SELECT data_key_id, blob FROM {{token}} WHERE {WHERE}", place(key))
    return row


def put(database, key, row):
    database.execute(f"UPDATE {{token}} SET data_key_id = ?, blob = ? WHERE {WHERE}", [*row, *place(key)])


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
async def test_swapped_values_open_in_neither_place(database, name, warm):
    other, happened = PLACES[name], []
    async with open_vault(database.config()) as vault:
        await vault.store_tokens([(HOME, "mine"), (other, "theirs")])
        mine, theirs = sealed(database, HOME), sealed(database, other)
        if warm:
            await vault.get_tokens([HOME, other])
        put(database, HOME, theirs)
        put(database, other, mine)
        if warm:
            await refuse(vault, HOME, other)
    async with open_vault(database.config(), on_event=happened.append) as vault:
        await refuse(vault, HOME, other)
        assert (await vault.health()).failed_reads == 4
        assert {event.action for event in happened} == {AuditAction.DECRYPTION_FAILED}
        put(database, HOME, mine)
        put(database, other, theirs)
        found = await vault.get_tokens([HOME, other])
        assert [found[key].value.reveal() for key in (HOME, other)] == ["mine", "theirs"]


async def refuse(vault, *keys):
    for key in keys:
        with pytest.raises(DecryptionError) as caught:
            await vault.get_token(key)
        assert caught.value.keys == (key,)
    with pytest.raises(DecryptionError) as caught:
        await vault.get_tokens(keys)
    assert set(caught.value.keys) == set(keys)


@both_stores
async def test_a_whole_row_under_another_tenant_does_not_open(database):
    async with open_vault(database.config()) as vault:
        await vault.store_token(HOME, "v")
        await vault.store_token(TokenKey("t2", "google", TokenKind.API_KEY), "their own")
        database.execute("DELETE FROM {token_use}")
        database.execute("UPDATE {token} SET tenant_id = 't2' WHERE tenant_id = 't1'")
        with pytest.raises(DecryptionError):
            await vault.get_token(PLACES["tenant"])
        assert await vault.get_token(HOME) is None
        assert len((await vault.list_tokens("t2")).items) == 2


async def test_a_data_key_moved_to_another_tenant_opens_nothing(database):
    async with open_vault(database.config()) as vault:
        await vault.store_token(HOME, "v")
        await vault.store_token(PLACES["tenant"], "w")
        for table in ("data_key_wrap", "token", "data_key"):
            database.execute(f"DELETE FROM {{{table}}} WHERE tenant_id = 't2'")
        if database.kind == "postgres":
            columns = "tenant_id, data_key_id, state, created_at, emptied_at"
            database.execute(
                f"INSERT INTO {{data_key}} ({columns})"
                " SELECT 't2', data_key_id, state, created_at, emptied_at FROM {data_key}"
            )
        else:
            database.execute(
                "INSERT INTO {data_key} SELECT 't2', data_key_id, state, created_at, emptied_at FROM {data_key}"
            )
        database.execute(
            "INSERT INTO {data_key_wrap} SELECT 't2', data_key_id, master_key_id, wrapped FROM {data_key_wrap}"
        )
    async with open_vault(database.config()) as vault:
        with pytest.raises(DecryptionError):
            await vault.store_token(PLACES["tenant"], "x")
        assert (await vault.get_token(HOME)).value.reveal() == "v"


async def test_a_value_in_the_original_format_is_not_guessed_at(database):
    async with open_vault(database.config()) as vault:
        await vault.store_token(HOME, "v")
        key_id, _ = sealed(database, HOME)
        for blob in (b"AAECAwQFBgc=", bytes(60), b"", b"\xe7", b"v", b"\xe7\x01\x01\x01" + bytes(200)):
            put(database, HOME, (key_id, blob))
            with pytest.raises(DecryptionError):
                await vault.get_token(HOME)


async def test_a_row_that_names_a_key_which_is_not_there(database):
    async with open_vault(database.config()) as vault:
        await vault.store_token(HOME, "v")
        _, blob = sealed(database, HOME)
        put(database, HOME, (bytes(16), blob))
        with pytest.raises(DecryptionError):
            await vault.get_token(HOME)


# What is refused when a vault is opened


def contents(database):
    tables = ["master_key", "data_key", "data_key_wrap", "token", "account", "audit_event"]
    return {table: sorted(map(repr, database.execute(f"SELECT * FROM {{{table}}}"))) for table in tables}


async def fill(database):
    async with open_vault(database.config(), clock=ManualClock()) as vault:
        await vault.store_token_set(Account("t1", "google"), TokenSet("a", "r"))
    return contents(database)


async def assert_refused(database, error, code=None, **settings):
    before = contents(database)
    with pytest.raises(error) as caught:
        async with open_vault(database.config(**settings)):
            pass
    assert code in (None, caught.value.code)
    assert contents(database) == before


@pytest.mark.parametrize(
    ("secret", "error", "code"),
    [
        ("another secret, which is long enough", WrongEncryptionSecretError, "wrong_encryption_secret"),
        ("too short", ConfigurationError, "encryption_secret_short"),
        (None, ConfigurationError, "encryption_secret_missing"),
    ],
    ids=["wrong", "short", "missing"],
)
async def test_a_secret_that_is_not_the_right_one(database, secret, error, code):
    await fill(database)
    await assert_refused(database, error, code, encryption_secret=secret)


@pytest.mark.parametrize("secret", ["too short", None])
async def test_a_new_database_is_not_even_made_without_a_secret(tmp_path, secret):
    from tests.support.databases import SqliteFile

    with pytest.raises(ConfigurationError):
        async with open_vault(SqliteFile(tmp_path / "vault.db").config(encryption_secret=secret)):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [{"log2_n": 13}, {"log2_n": 15}, {"log2_n": 30}, {"r": 1}, {"p": 2}, {"salt": "AAAA"}],
    ids=lambda change: "-".join(map(str, change)),
)
async def test_an_edited_parameter(database, change):
    await fill(database)
    [(kdf,)] = database.execute("SELECT kdf FROM {master_key}")
    parameters = json.loads(kdf)
    assert set(change) <= set(parameters), parameters
    database.execute("UPDATE {master_key} SET kdf = ?", [json.dumps({**parameters, **change})])
    await assert_refused(database, ConfigurationError)


@pytest.mark.parametrize("kdf", ["", "{}", "null", "[]", "x", '{"log2_n": 14}'])
async def test_parameters_that_cannot_be_read(database, kdf):
    await fill(database)
    database.execute("UPDATE {master_key} SET kdf = ?", [kdf])
    await assert_refused(database, ConfigurationError)


@pytest.mark.parametrize("left", ["tokens", "data_keys"])
async def test_data_without_a_master_key(database, left):
    await fill(database)
    database.execute("DELETE FROM {data_key_wrap}")
    database.execute("DELETE FROM {master_key}")
    if left == "data_keys":
        database.execute("DELETE FROM {token}")
    else:
        database.execute("DELETE FROM {data_key}")
    await assert_refused(database, ConfigurationError, "master_key_missing")
