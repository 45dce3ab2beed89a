"""What the columns of each format mean, and what is refused."""

import base64
import csv
import io
import json
from datetime import UTC, datetime

import pytest
from cryptography.fernet import Fernet, MultiFernet
from tests.adapters.crypto.vectors import read_vectors

from vault_adapters.crypto.fernet import FernetReader
from vault_adapters.importing.formats import FERNET, ORIGINAL, TOKENS
from vault_adapters.importing.reading import open_plain, read_dump
from vault_domain.entities.account import TokenKey
from vault_domain.entities.errors import ConfigurationError
from vault_domain.entities.imported import ImportFailure
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import TokenStatus

PLAIN = {"tenant_id": "t1", "provider": "google", "kind": "api_key", "value": "v"}
OLD = {"tenant_id": "t1", "provider": "google", "token_type": "api_key", "encrypted_value": "v"}
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


async def read(form, *rows):
    raw = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return [row async for row in read_dump(io.BytesIO(raw), form, open_plain)]


async def read_one(form, row):
    [found] = await read(form, row)
    return found


@pytest.mark.parametrize(
    "text",
    [
        "2024-05-01 12:00:00+00",
        "2024-05-01 12:00:00+00:00",
        "2024-05-01T12:00:00Z",
        "2024-05-01t12:00:00z",
        "2024-05-01 12:00:00.000+00",
        "2024-05-01T12:00:00.000000Z",
        "2024-05-01 12:00:00",
        "2024-05-01 12:00",
        "2024-05-01 14:00:00+02",
        "2024-05-01 17:30:00+05:30",
        "2024-05-01 17:30:00+0530",
        "2024-05-01 04:00:00-08",
    ],
)
async def test_times(text):
    assert (await read_one(TOKENS, {**PLAIN, "expires_at": text})).expires_at == NOON


async def test_fractions_are_kept():
    found = await read_one(TOKENS, {**PLAIN, "updated_at": "2024-05-01 12:00:00.12+00"})
    assert found.updated_at == NOON.replace(microsecond=120_000)


@pytest.mark.parametrize(
    "value",
    [
        *("", "canary", "2024-05-01", "20240501T120000Z", "2024-W18-3T12:00:00Z", "2024-02-30 12:00:00+00"),
        *("2024-05-01 25:00:00+00", "2024-05-01 12:00:00+99", "2024-05-01 12:00:00+00\n", "1969-12-31 12:00:00+00"),
        *("9999-05-01 12:00:00+00", "infinity", "0001-01-01 00:00:00+14", "２０２４-05-01 12:00:00+00"),
        *(1714564800, 1.5, True, [], {}),
    ],
)
async def test_what_is_no_time(value):
    assert await read_one(TOKENS, {**PLAIN, "expires_at": value}) == ImportFailure(1, "invalid_expires_at")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"tenant_id": None}, "missing_tenant_id"),
        ({"tenant_id": ""}, "invalid_tenant_id"),
        ({"tenant_id": "a\0b"}, "invalid_tenant_id"),
        ({"tenant_id": "x" * 256}, "invalid_tenant_id"),
        ({"tenant_id": True}, "invalid_tenant_id"),
        ({"tenant_id": 1.5}, "invalid_tenant_id"),
        ({"tenant_id": "\ud800"}, "invalid_tenant_id"),
        ({"provider": None}, "missing_provider"),
        ({"provider": "Google"}, "invalid_provider"),
        ({"provider": ["google"]}, "invalid_provider"),
        ({"kind": None}, "missing_kind"),
        ({"kind": "password"}, "invalid_kind"),
        ({"identifier": 5}, "invalid_identifier"),
        ({"identifier": "x" * 256}, "invalid_identifier"),
        ({"value": None}, "missing_value"),
        ({"value": 5}, "invalid_value"),
        ({"value": ""}, "empty_value"),
        ({"value": "x" * 65_537}, "unreadable_value"),
        ({"value": "x" * 500_000}, "unreadable_value"),
        ({"value": "\ud800"}, "unreadable_value"),
        ({"status": "fine"}, "invalid_status"),
        ({"status": 1}, "invalid_status"),
        ({"error_code": "no free text", "status": "invalid"}, "invalid_error_code"),
        ({"error_code": "gone"}, "invalid_error_code"),
        ({"scopes": 5}, "invalid_scopes"),
        ({"scopes": ["a b"]}, "invalid_scopes"),
        ({"expires_on": "2024-05-01 12:00:00+00"}, "unknown_column"),
    ],
)
async def test_a_bad_row_is_named_by_a_code(change, code):
    found = await read(TOKENS, PLAIN, {**PLAIN, **change}, PLAIN)
    assert [isinstance(row, ImportFailure) for row in found] == [False, True, False]
    assert found[1] == ImportFailure(2, code)


async def test_a_plain_token_with_everything():
    row = {
        **PLAIN,
        "tenant_id": 7,
        "identifier": "Ånn",
        "status": "invalid",
        "error_code": "gone",
        "scopes": "a b",
        **dict.fromkeys(("expires_at", "last_used_at", "last_refreshed_at", "created_at", "updated_at"), str(NOON)),
    }
    found = await read_one(TOKENS, row)
    assert found.key == TokenKey("7", "google", "api_key", "Ånn")
    assert (found.status, found.error_code, found.scopes) == (TokenStatus.INVALID, "gone", ("a", "b"))
    assert found.expires_at == found.last_used_at == found.last_refreshed_at == found.created_at == NOON
    assert (found.updated_at, found.line) == (NOON, 1)
    assert (await read_one(TOKENS, {**row, "scopes": ["a", "b"]})).scopes == ("a", "b")
    assert (await read_one(TOKENS, {**PLAIN, "value": "a\0b", "status": "unknown"})).value == Secret("a\0b")


@pytest.mark.parametrize("vector", read_vectors("original-validity"), ids=repr)
async def test_the_originals_validity(vector):
    found = await read_one(ORIGINAL, {**OLD, "is_valid": vector["is_valid"], "last_error": vector["last_error"]})
    if vector["status"] is None:
        assert found == ImportFailure(1, "invalid_is_valid")
    else:
        # The free text of `last_error` is dropped; the error code does not repeat it either.
        assert (found.status, found.error_code) == (TokenStatus(vector["status"]), None)


async def test_a_row_without_the_originals_validity():
    assert (await read_one(ORIGINAL, OLD)).status is TokenStatus.UNKNOWN


@pytest.mark.parametrize(
    "vector", [v for v in read_vectors("original-validity") if isinstance(v["is_valid"], str)], ids=repr
)
async def test_the_originals_validity_in_csv(vector):
    text = io.StringIO()
    row = {**OLD, "is_valid": vector["is_valid"], "last_error": vector["last_error"]}
    table = csv.DictWriter(text, list(row))
    table.writeheader()
    table.writerow(row)
    [found] = [row async for row in read_dump(io.BytesIO(text.getvalue().encode()), ORIGINAL, open_plain)]
    status = vector["status"]
    assert (found.code if status is None else found.status) == (status or "invalid_is_valid")


async def test_the_originals_other_columns_and_names():
    row = {**OLD, "id": 5, "provider": "Google", "identifier": None, "anything": {"else": 1}, "created_at": str(NOON)}
    found = await read_one(ORIGINAL, row)
    assert (found.key, found.created_at) == (TokenKey("t1", "google", "api_key"), NOON)
    assert (await read_one(ORIGINAL, {**OLD, "provider": "Green Invoice"})).code == "invalid_provider"
    assert (await read_one(ORIGINAL, {**OLD, "token_type": "x"})).code == "invalid_token_type"


async def test_csv_and_json_mean_the_same():
    columns = "tenant_id,provider,token_type,identifier,encrypted_value,is_valid,last_error,updated_at"
    text = f'{columns}\nt1,google,api_key,,v,f,"Token expired",2024-05-01 12:00:00+00\n'
    [from_csv] = [row async for row in read_dump(io.BytesIO(text.encode()), ORIGINAL, open_plain)]
    row = {**OLD, "is_valid": False, "last_error": "Token expired", "updated_at": "2024-05-01T12:00:00Z"}
    from_json = await read_one(ORIGINAL, row)
    assert (from_csv.key, from_csv.status, from_csv.updated_at) == (from_json.key, from_json.status, NOON)


KEYS = [Fernet.generate_key().decode() for _ in range(3)]


def reader(*keys):
    return FernetReader([Secret(key) for key in keys])


def test_fernet_under_any_of_its_keys():
    for key in KEYS:
        token = Fernet(key).encrypt("naïve".encode()).decode()
        assert reader(*KEYS).read(token).reveal() == "naïve"
        assert reader(key).read("\\x" + token.encode().hex()).reveal() == "naïve"
    rotated = MultiFernet([Fernet(key) for key in KEYS]).encrypt(b"v").decode()
    assert reader(KEYS[1], KEYS[0]).read(rotated).reveal() == "v"
    assert reader(KEYS[1], KEYS[2]).read(rotated) is None


def test_fernet_takes_canonical_texts_only():
    token = Fernet(KEYS[0]).encrypt(b"v" * 20).decode()
    for text in (
        "",
        token + "\n",
        " " + token,
        token[:-1],
        token.rstrip("="),
        token + "=",
        token[:9] + "\n" + token[9:],
    ):
        assert reader(KEYS[0]).read(text) is None, text
    for text in ("é", "\\xzz", "\\x", "\ud800", token.replace("-", "+").replace("_", "/") + "A", "A" * 500_000):
        assert reader(KEYS[0]).read(text) is None
    assert reader(KEYS[0]).read(Fernet(KEYS[0]).encrypt(b"\xff").decode()) is None
    assert reader(KEYS[0]).read(Fernet(KEYS[0]).encrypt(b"x" * 70_000).decode()) is None


@pytest.mark.parametrize(
    "key",
    ["", "canary", KEYS[0] + "=", KEYS[0][:-1], base64.b64encode(b"\xff" * 32).decode(), "é"],
    # The ids are explicit, because each process makes new keys.
    ids=["empty", "no key", "too long", "too short", "other alphabet", "not ascii"],
)
def test_a_bad_fernet_key_is_named_by_its_number(key):
    with pytest.raises(ConfigurationError, match="key 2 ") as caught:
        reader(KEYS[0], key)
    assert "canary" not in str(caught.value)
    assert caught.value.__context__ is None


def test_no_fernet_key():
    with pytest.raises(ConfigurationError):
        reader()


async def test_the_longest_value_of_a_fernet_bytea_in_csv():
    key, value = Fernet.generate_key(), "v" * 65_536
    column = "\\x" + Fernet(key).encrypt(value.encode()).hex()
    raw = f"tenant_id,provider,kind,encrypted_value\nt1,google,api_key,{column}\n".encode()

    async def opener(texts):
        return [FernetReader([Secret(key.decode())]).read(text) for text in texts]

    [found] = [found async for found in read_dump(io.BytesIO(raw), FERNET, opener)]
    assert found.value.reveal() == value


async def test_a_fernet_column():
    token = Fernet(KEYS[0]).encrypt(b"v").decode()
    row = {"tenant_id": 1, "provider": "google", "kind": "refresh_token", "encrypted_value": token}

    async def opener(texts):
        return [reader(KEYS[0]).read(text) for text in texts]

    raw = (json.dumps(row) + "\n" + json.dumps({**row, "encrypted_value": "bad"}) + "\n").encode()
    good, bad = [found async for found in read_dump(io.BytesIO(raw), FERNET, opener)]
    assert (good.value, bad) == (Secret("v"), ImportFailure(2, "unreadable_value"))


@pytest.mark.parametrize(
    ("column", "code"),
    [
        ("expires_on", "unknown_column_expires_on"),
        ("expiresOn", "unknown_column_expiresOn"),
        ("no name", "unknown_column"),
        ("x" * 49, "unknown_column"),
    ],
)
async def test_an_unknown_column_is_named_where_it_is_a_header(column, code):
    raw = f"tenant_id,provider,kind,value,{column}\nt1,google,api_key,v,2024-05-01\n".encode()
    assert [row async for row in read_dump(io.BytesIO(raw), TOKENS, open_plain)] == [ImportFailure(2, code)]
    # In JSON a column's name is part of the row and may hold anything, so the code does not repeat it.
    assert await read(TOKENS, {**PLAIN, column: "2024-05-01"}) == [ImportFailure(1, "unknown_column")]
