"""Storing, reading, listing, invalidating and deleting, by the real command on a SQLite file."""

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from tests.adapters.cli.conftest import SECRET

KEY = ("t1", "google", "access_token")
VALUE = "ya29.a-value-that-is-looked-for"


@pytest.fixture
def stored(token_vault):
    done = token_vault("store", *KEY, "--expires-in", "1h", "--scope", "mail", "--scope", "cal", stdin=VALUE + "\n")
    assert (done.code, done.stderr) == (0, "")
    return token_vault


def test_a_value_comes_out_as_it_went_in(stored):
    done = stored("get", *KEY, "--reveal")
    assert (done.code, done.stdout, done.stderr) == (0, VALUE.encode(), "")


def test_a_label_finds_what_was_stored(token_vault):
    assert token_vault("store", "t1", "acme", "api_key", "--label", "Ann's key", stdin=VALUE).code == 0
    [found] = json.loads(token_vault("find", "ann", "--json").stdout)
    assert (found["provider"], found["label"]) == ("acme", "Ann's key")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (b"a\n", b"a"),
        (b"a\n\n", b"a\n"),
        (b"a\r\n", b"a"),
        (b"a", b"a"),
        (b" a ", b" a "),
        ("ключ 🔑\n".encode(), "ключ 🔑".encode()),
        (b"-----BEGIN-----\nabc\n-----END-----\n", b"-----BEGIN-----\nabc\n-----END-----"),
        (b"a\0b", b"a\0b"),
        (b"x" * 65536 + b"\n", b"x" * 65536),
    ],
)
def test_one_line_end_of_standard_input_is_not_part_of_the_value(token_vault, given, kept):
    assert token_vault("store", *KEY, stdin=given).code == 0
    assert token_vault("get", *KEY, "--reveal").stdout == kept


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        (b"", "no value came"),
        (b"\n", "no value came"),
        (b"caf\xe9", "must be UTF-8"),
        (b"x" * 65537, "longer than 64 KiB"),
        (b"x" * 70000, "longer than 64 KiB"),
        (b"x" * 65538 + "é".encode(), "longer than 64 KiB"),
    ],
)
def test_what_cannot_be_a_value_is_refused(token_vault, given, rule):
    done = token_vault("store", *KEY, stdin=given)
    assert (done.code, done.stdout) == (2, b"")
    assert rule in done.stderr
    assert token_vault("get", *KEY).code == 4


def test_get_shows_no_value(stored):
    for arguments in (["get", *KEY], ["get", *KEY, "--json"], ["list", "t1"], ["list", "t1", "--json"]):
        done = stored(*arguments)
        assert done.code == 0
        assert VALUE not in done.out + done.stderr


def test_json_of_a_token(stored):
    found = json.loads(stored("get", *KEY, "--json").out)
    assert list(found) == [
        "tenant_id",
        "provider",
        "kind",
        "identifier",
        "id",
        "status",
        "health",
        "error_code",
        "expires_at",
        "suspect_since",
        "scopes",
        "generation",
        "lifetime_seconds",
        "last_used_at",
        "last_refreshed_at",
        "created_at",
        "updated_at",
    ]
    assert (found["tenant_id"], found["provider"], found["kind"], found["identifier"]) == (*KEY, None)
    assert (found["status"], found["health"], found["generation"]) == ("valid", "fresh", 1)
    assert found["scopes"] == ["mail", "cal"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", found["expires_at"])
    left = datetime.fromisoformat(found["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=58) < left <= timedelta(hours=1)


def test_json_with_the_value_where_it_is_asked_for(stored):
    assert json.loads(stored("get", *KEY, "--reveal", "--json").out)["value"] == VALUE


def test_expiry_as_a_time(token_vault):
    token_vault("store", *KEY, "--expires-at", "2040-01-31T14:00:00+02:00", stdin="v")
    assert json.loads(token_vault("get", *KEY, "--json").out)["expires_at"] == "2040-01-31T12:00:00.000000Z"


def test_identifiers_are_told_apart(token_vault):
    token_vault("store", *KEY, "--identifier", "ana@example.com", stdin="of ana")
    token_vault("store", *KEY, "--identifier", "bob@example.com", stdin="of bob")
    assert token_vault("get", *KEY, "--identifier", "ana@example.com", "--reveal").out == "of ana"
    assert token_vault("get", *KEY).code == 4


def test_a_tenant_may_look_like_an_option(token_vault):
    assert token_vault("store", "--", "--t", "google", "api_key", stdin="v").code == 0
    assert token_vault("get", "--reveal", "--", "--t", "google", "api_key").out == "v"


def test_expected_generation(stored):
    refused = stored("store", *KEY, "--expected-generation", "0", stdin="other")
    assert (refused.code, refused.stderr.count("\n")) == (8, 1)
    assert stored("store", *KEY, "--expected-generation", "1", stdin="other").code == 0
    assert stored("get", *KEY, "--reveal").out == "other"


def test_list_of_a_tenant(stored):
    stored("store", "t1", "clerk", "api_key", stdin="v")
    stored("store", "t2", "clerk", "api_key", stdin="v")
    found = json.loads(stored("list", "t1", "--json").out)
    assert [(token["tenant_id"], token["provider"]) for token in found] == [("t1", "clerk"), ("t1", "google")]
    assert [token["provider"] for token in json.loads(stored("list", "t1", "--provider", "google", "--json").out)] == [
        "google"
    ]
    lines = stored("list", "t1").out.splitlines()
    assert lines[0].split() == ["TENANT", "PROVIDER", "KIND", "IDENTIFIER", "HEALTH", "EXPIRES"]
    assert lines[1].split() == ["t1", "clerk", "api_key", "-", "fresh", "-"]
    assert len(lines) == 3


def test_nothing_to_list(token_vault):
    plain, as_json = token_vault("list", "t1"), token_vault("list", "t1", "--json")
    assert (plain.code, plain.stdout, plain.stderr) == (0, b"", "token-vault: no tokens\n")
    assert (as_json.code, json.loads(as_json.out), as_json.stderr) == (0, [], "")


def test_another_tenant_answers_like_nothing(stored):
    other, missing = stored("get", "t2", "google", "access_token"), stored("get", "t1", "google", "api_key")
    assert (other.code, other.stdout, other.stderr) == (missing.code, missing.stdout, missing.stderr)
    assert other.code == 4


def test_invalidate(stored):
    assert json.loads(stored("invalidate", *KEY, "--json").out) == {"outcome": "applied"}
    assert json.loads(stored("invalidate", *KEY, "--json").out) == {"outcome": "already_invalid"}
    found = json.loads(stored("get", *KEY, "--json").out)
    assert (found["status"], found["health"], found["error_code"]) == ("invalid", "invalid", "invalid_token")
    assert stored("invalidate", "t1", "google", "api_key").code == 4


def test_invalidating_what_is_replaced_meanwhile_is_a_conflict(bare, postgres):
    """The command has read the token and waits for the row's lock; the transaction that holds it replaces the value."""
    url = postgres.create_database("cli_invalidate")
    variables = {"DATABASE_URL": url, "ENCRYPTION_SECRET": SECRET, "TOKEN_VAULT_SCRYPT_LOG2_N": "14"}
    assert bare("init", **variables).code == 0
    assert bare("store", *KEY, stdin=VALUE, **variables).code == 0
    with ThreadPoolExecutor(1) as pool, psycopg.connect(url) as holder:
        holder.execute("UPDATE token_vault.token SET generation = generation + 1, value_id = gen_random_uuid()")
        command = pool.submit(bare, "invalidate", *KEY, **variables)
        _wait_for_a_waiter(url)
        holder.commit()
        done = command.result()
    assert (done.code, done.out) == (8, "")
    assert "nothing was marked" in done.stderr
    assert json.loads(bare("get", *KEY, "--json", **variables).out)["status"] == "valid"


def _wait_for_a_waiter(url):
    with psycopg.connect(url, autocommit=True) as watcher:
        end = time.monotonic() + 60
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        while watcher.execute(waiting).fetchone() is None:
            assert time.monotonic() < end, "nobody waits for the row"
            time.sleep(0.01)


def test_delete(stored):
    assert stored("delete", *KEY).out == "deleted 1 token\n"
    assert stored("delete", *KEY).code == 4


def test_delete_provider(stored):
    stored("store", "t1", "google", "refresh_token", stdin="v")
    stored("store", "t1", "clerk", "api_key", stdin="v")
    assert json.loads(stored("delete-provider", "t1", "google", "--json").out) == {"deleted": 2}
    assert json.loads(stored("delete-provider", "t1", "google", "--json").out) == {"deleted": 0}
    assert len(json.loads(stored("list", "t1", "--json").out)) == 1


def test_accounts(stored):
    [account] = json.loads(stored("accounts", "t1", "--json").out)
    assert (account["provider"], account["state"], account["scopes"]) == ("google", "connected", ["mail", "cal"])
    stored("invalidate", *KEY)
    [account] = json.loads(stored("accounts", "t1", "--state", "reauthorization_required", "--json").out)
    assert (account["state"], account["reason"]) == ("reauthorization_required", "invalid_token")
    assert json.loads(stored("accounts", "t1", "--state", "connected", "--json").out) == []
    assert "reauthorization_required" in stored("accounts", "t1").out


def test_expiring(stored):
    stored("store", "t2", "google", "access_token", "--expires-in", "2d", stdin="v")
    stored("store", "t3", "google", "access_token", stdin="v")

    def found(*arguments):
        return [token["tenant_id"] for token in json.loads(stored("expiring", "--json", *arguments).out)]

    assert found("--within", "59m") == []
    assert found() == ["t1"]
    assert found("--within", "2d") == ["t1", "t2"]
    assert found("--within", "2d", "--limit", "1") == ["t1"]
    assert found("--within", "2d", "--provider", "clerk") == []


def test_audit(stored):
    stored("delete", *KEY)
    events = json.loads(stored("audit", "--tenant", "t1", "--json").out)
    assert [event["action"] for event in events] == ["token_stored", "token_deleted"]
    assert {event["actor"] for event in events} == {"cli"}
    later = json.loads(stored("audit", "--tenant", "t1", "--after", events[0]["cursor"], "--json").out)
    assert [event["action"] for event in later] == ["token_deleted"]
    assert stored("audit", "--after", events[0]["cursor"]).code == 2, "the cursor of another listing was taken"
    assert [event["action"] for event in json.loads(stored("audit", "--tail", "1", "--json").out)] == ["token_deleted"]
    selected = stored("audit", "--account", "t1/google", "--action", "token_stored", "--since", "1h", "--json")
    assert [event["cursor"] for event in json.loads(selected.out)] != [events[0]["cursor"]], "a cursor of all tenants"
    assert [event["action"] for event in json.loads(selected.out)] == ["token_stored"]
    assert json.loads(stored("audit", "--account", "t1/google/ann", "--json").out) == []
    for wrong in (["--account", "t1"], ["--action", "x"], ["--since", "x"], ["--tail", "1", "--after", "x"]):
        assert stored("audit", *wrong).code == 2
    assert json.loads(stored("audit", "prune", "--older-than", "400d", "--json").out) == {"pruned": 0}
    assert stored("audit", "prune", "--older-than", "1h").code == 2
    limited = stored("audit", "--limit", "1")
    assert len(limited.out.splitlines()) == 2
    assert "more events follow these" in limited.stderr
