"""Key operations and the erasure of a tenant from the command line."""

import json
import sqlite3
from contextlib import closing

import pytest
from attrs import evolve
from tests.support.transit_server import running

KEY = ("t1", "acme", "api_key")
NEW_SECRET = "another-secret-that-only-these-tests-use-0123"


@pytest.fixture
def filled(token_vault):
    for name in ("a", "b"):
        assert token_vault("store", *KEY, "--identifier", name, stdin=name).code == 0
    return token_vault


@pytest.fixture
def kms_uri(monkeypatch):
    """Run moto's server on loopback and give the name of a key."""
    from moto.server import ThreadedMotoServer
    from tests.adapters.crypto.kms_service import REGION, client_for, new_key

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    values = {"AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": REGION}
    for name, value in {**values, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}.items():
        monkeypatch.setenv(name, value)
    client = client_for(endpoint)
    yield f"aws-kms:{new_key(client)}"
    client.close()
    server.stop()


def read(result):
    return json.loads(result.out)


def damage(command_line, where):
    """Overwrite the values of the matching rows with zeros."""
    with closing(sqlite3.connect(command_line.folder / "vault.db", isolation_level=None)) as connection:
        connection.execute(f"UPDATE token_vault_token SET blob = zeroblob(256) WHERE {where}")


def test_the_life_of_a_data_key(filled):
    before = read(filled("keys", "rotate-data", "t1", "--dry-run", "--json"))
    assert (before["dry_run"], before["rotated"], before["tokens_to_reencrypt"]) == (True, False, 2)
    assert read(filled("keys", "status", "--json"))["decrypt_only"] == 0
    rotated = read(filled("keys", "rotate-data", "t1", "--json"))
    assert (rotated["rotated"], rotated["tokens_to_reencrypt"]) == (True, 2)
    assert read(filled("reencrypt", "--tenant", "t1", "--dry-run", "--json"))["tokens_to_reencrypt"] == 2
    assert read(filled("reencrypt", "--tenant", "t2", "--dry-run", "--json"))["tokens_to_reencrypt"] == 0
    done = filled("reencrypt", "--json")
    assert (done.code, done.stderr) == (0, "")
    report = read(done)
    assert (report["reencrypted"], report["emptied"], report["incomplete"]) == (2, 1, False)
    assert filled("get", *KEY, "--identifier", "b", "--reveal").stdout == b"b"
    assert [event["actor"] for event in read(filled("audit", "--json"))] == ["cli"] * 4


def test_all_tenants_get_a_new_data_key(filled):
    assert filled("store", "t2", "acme", "api_key", stdin="other").code == 0
    young = read(filled("keys", "rotate-data", "--all", "--older-than", "1d", "--json"))
    assert (young["due"], young["rotated"]) == (0, 0)
    due = read(filled("keys", "rotate-data", "--all", "--dry-run", "--json"))
    assert (due["due"], due["rotated"], due["tokens_to_reencrypt"]) == (2, 0, 3)
    report = read(filled("keys", "rotate-data", "--all", "--json"))
    assert (report["due"], report["rotated"], report["tokens_to_reencrypt"]) == (2, 2, 3)
    assert "rotated" in filled("keys", "rotate-data", "--all").out
    assert read(filled("reencrypt", "--json"))["reencrypted"] == 3


def test_a_tenants_own_master_key(filled, kms_uri):
    def move(uri):
        return read(filled("keys", "tenant", "t1", "--master-key", uri, "--json"))

    assert move(kms_uri) == {"tenant_id": "t1", "uri": kms_uri, "moved": 1, "unreadable": [], "incomplete": False}
    assert read(filled("keys", "status", "--tenant", "t1", "--json"))["tenant_master_key"] == kms_uri
    assert kms_uri in filled("keys", "status", "--tenant", "t1").out.replace("\n", "")
    assert filled("get", *KEY, "--identifier", "b", "--reveal").stdout == b"b"
    assert (move("configured")["uri"], move("configured")["moved"]) == (None, 0)
    refused = filled("keys", "tenant", "t1", "--master-key", "kms:hunter2")
    assert refused.code == 3
    assert "hunter2" not in refused.stderr


def test_a_tenant_of_which_nothing_is_held_is_told(filled, kms_uri):
    assert filled("keys", "tenant", "t1", "--master-key", kms_uri).stderr == ""
    nothing = filled("keys", "tenant", "t-1", "--master-key", "configured")
    assert (nothing.code, "holds nothing of a tenant" in nothing.stderr) == (0, True)
    made = filled("keys", "tenant", "t-1", "--master-key", kms_uri)
    assert (made.code, "held nothing of a tenant" in made.stderr) == (0, True)
    assert filled("keys", "tenant", "t-1", "--master-key", "configured").stderr == ""
    assert "t-1" not in made.stderr


def test_a_tenants_own_master_key_that_is_denied_is_told_by_every_command(filled, tmp_path):
    with running() as transit:
        tokens = {"TOKEN_VAULT_KEY_SERVICE_TOKENS": str(transit.tokens(tmp_path))}
        token_vault = evolve(filled, variables={**filled.variables, **tokens})
        assert token_vault("store", "t2", "acme", "api_key", stdin="other").code == 0
        assert token_vault("keys", "tenant", "t1", "--master-key", transit.uri("acme")).code == 0
        assert "tenant_key_unusable" not in token_vault("doctor").out
        transit.make("acme", "denied")
        shown = token_vault("accounts", "--all").out
        assert "key_denied: A tenant's own master key cannot be used" in shown.replace("\n", " ")
        [one, two, other] = read(token_vault("accounts", "--all", "--json"))
        assert (one["state"], one["reason"], two["reason"]) == ("retrying", "key_denied", "key_denied")
        assert (other["state"], other["reason"]) == ("connected", None)
        doctor = token_vault("doctor", "--json")
        [found] = [each for each in read(doctor)["findings"] if each["code"] == "tenant_key_unusable"]
        assert (doctor.code, found["severity"], found["accounts"]) == (15, "critical", 2)
        assert {each["tenant_id"] for each in found["examples"]} == {"t1"}
        transit.make("acme", "ok")
        assert "key_denied" not in token_vault("accounts", "--all").out
        assert "tenant_key_unusable" not in token_vault("doctor").out


def test_a_tenant_without_a_key(filled):
    done = filled("keys", "rotate-data", "nobody")
    assert (done.code, done.stdout, done.stderr) == (4, b"", "token-vault: the tenant has no data key\n")
    assert filled("keys", "rotate-data", "nobody", "--dry-run").code == 4


def test_what_cannot_be_opened_is_named_and_the_exit_code_is_its_own(filled):
    damage(filled, "identifier = 'a'")
    filled("keys", "rotate-data", "t1")
    done = filled("reencrypt", "--json")
    report = read(done)
    assert (done.code, report["incomplete"], report["reencrypted"]) == (13, True, 1)
    [named] = report["unreadable"]
    first, second, end = done.stderr.split("\n")
    assert named["data_key_id"] in first
    assert (second, end) == ("token-vault: cannot be opened: t1 acme api_key a", "")
    assert report["unreadable_tokens"] == [
        {"tenant_id": "t1", "provider": "acme", "kind": "api_key", "identifier": "a"}
    ]


def test_the_master_key_is_rotated_and_the_old_secret_is_no_longer_needed(filled):
    both = {"ENCRYPTION_SECRET": NEW_SECRET, "ENCRYPTION_SECRET_PREVIOUS": filled.variables["ENCRYPTION_SECRET"]}
    due = read(filled("keys", "rotate-master", "--dry-run", "--json", **both))
    assert (due["master_key_rotation_due"], due["wraps_missing"]) == (True, 1)
    report = read(filled("keys", "rotate-master", "--json", **both))
    assert [report[name] for name in ("activated", "wrapped", "retired", "incomplete")] == [True, 1, 1, False]
    assert not read(filled("keys", "status", "--json", **both))["master_key_rotation_due"]
    after = {"ENCRYPTION_SECRET": NEW_SECRET}
    assert filled("get", *KEY, "--identifier", "a", "--reveal", **after).stdout == b"a"
    assert filled("list", "t1").code == 3


def test_compromised_keys_are_replaced_and_destroyed_at_once(filled):
    assert filled("store", "t2", "acme", "api_key", stdin="other").code == 0
    both = {"ENCRYPTION_SECRET": NEW_SECRET, "ENCRYPTION_SECRET_PREVIOUS": filled.variables["ENCRYPTION_SECRET"]}
    due = read(filled("keys", "rotate-data", "--compromised", "--dry-run", "--json", **both))
    assert due == {
        "dry_run": True,
        "data_keys_to_rotate": 2,
        "tokens_to_reencrypt": 3,
        "data_keys_to_destroy": 2,
        "master_key_rotation_due": True,
    }
    assert read(filled("keys", "status", "--json", **both))["decrypt_only"] == 0
    done = filled("keys", "rotate-data", "--compromised", "--json", **both)
    assert (done.code, done.stderr) == (0, "")
    report = read(done)
    assert report["incomplete"] is False
    assert (report["data_keys"]["rotated"], report["values"]["reencrypted"], report["values"]["destroyed"]) == (2, 3, 2)
    assert (report["master_key"]["activated"], report["master_key"]["retired"]) == (True, 1)
    actions = [event["action"] for event in read(filled("audit", "--json", **both))]
    # In this order, no new data key gets a wrap under the old master key.
    assert actions.index("master_key_retired") < actions.index("data_key_rotated")
    after = {"ENCRYPTION_SECRET": NEW_SECRET}
    assert filled("get", *KEY, "--identifier", "a", "--reveal", **after).stdout == b"a"
    status = read(filled("keys", "status", "--json", **after))
    assert (status["active"], status["decrypt_only"], status["destroyed"]) == (2, 0, 2)


def test_without_a_new_master_key_the_command_says_so(filled):
    assert filled("store", "t2", "acme", "api_key", stdin="other").code == 0
    for dry_run in (["--dry-run"], []):
        done = filled("keys", "rotate-data", "t1", "--compromised", "--json", *dry_run)
        assert done.code == 0
        assert "no new master key is configured" in done.stderr
    assert (read(done)["master_key"], read(done)["values"]["destroyed"]) == (None, 1)
    status = read(filled("keys", "status", "--json"))
    assert (status["active"], status["destroyed"]) == (2, 1)
    assert "destroyed" in filled("keys", "rotate-data", "--all", "--compromised").out
    assert filled("keys", "rotate-data", "nobody", "--compromised").code == 4
    counted = filled("keys", "rotate-data", "nobody", "--compromised", "--dry-run")
    assert (counted.code, counted.stderr) == (4, "token-vault: the tenant has no data key\n")


def test_a_compromised_key_that_is_still_needed_is_named(filled):
    damage(filled, "identifier = 'a'")
    done = filled("keys", "rotate-data", "--compromised", "--json")
    report = read(done)
    assert (done.code, report["incomplete"], report["values"]["destroyed"]) == (13, True, 0)
    assert "cannot be opened: t1 acme api_key a" in done.stderr


def test_a_tenant_is_erased_only_if_it_is_named_twice(filled):
    counts = read(filled("erase-tenant", "t1", "--dry-run", "--json"))
    assert counts == {"dry_run": True, "tokens": 2, "accounts": 2, "data_keys": 1}
    for answer in ("", "t2\n", "yes\n", " t1\n"):
        refused = filled("erase-tenant", "t1", stdin=answer)
        assert (refused.code, refused.stdout) == (2, b"")
        assert "nothing was erased" in refused.stderr
    done = filled("erase-tenant", "t1", "--json", stdin="t1\n")
    assert done.code == 0
    report = read(done)
    assert {name: report[name] for name in counts if name != "dry_run"} == {"tokens": 2, "accounts": 2, "data_keys": 1}
    assert (report["wraps"], report["checkpointed"]) == (1, True)
    assert read(filled("list", "t1", "--json")) == []
    assert done.stderr == ""
    for arguments in (["--dry-run"], []):  # a typing error must not look like an erasure
        again = filled("erase-tenant", "t1", *arguments, stdin="t1\n")
        assert (again.code, "the vault holds nothing of a tenant with this id" in again.stderr) == (0, True)


def test_a_reader_that_keeps_the_log_from_being_emptied_is_told_of(filled):
    with closing(sqlite3.connect(filled.folder / "vault.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM token_vault_token").fetchall()
        done = filled("erase-tenant", "t1", "--json", stdin="t1")
    assert (done.code, read(done)["checkpointed"]) == (13, False)
    assert "run this again" in done.stderr


@pytest.mark.real_scrypt
def test_on_a_terminal_it_asks_and_shows_tables(filled):
    shown = filled.on_terminal("keys", "status").out
    assert "active" in shown
    assert "configured" in shown
    asked = filled.on_terminal("erase-tenant", "t1", typed="t1\n")
    assert asked.code == 0
    assert "Type the tenant's id again" in asked.out
    filled.on_terminal("reencrypt")
    for arguments in (["keys", "rotate-master"], ["reencrypt"]):
        assert filled(*arguments, "--dry-run").out.startswith("a dry run: nothing was written\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("keys", "rotate"), "there is no such command"),
        (("keys", "statsu"), "did you mean status?"),
        (("keys", "rotate-data"), "name one tenant, or pass --all"),
        (("keys", "rotate-data", "t1", "--all"), "name one tenant, or pass --all"),
        (("keys", "rotate-data", "t1", "--older-than", "1d"), "--older-than needs --all"),
        (("keys", "rotate-data", "--all", "--older-than", "soon"), "--older-than must be a duration"),
        (("keys", "rotate-data", "t1", "--all", "--compromised"), "name one tenant, or pass --all"),
        (
            ("keys", "rotate-data", "--compromised", "--older-than", "1d"),
            "--older-than cannot be used with --compromised",
        ),
        (("keys", "rotate-data", "t1", "--dry"), "there is no such option"),
    ],
)
def test_what_is_wrong_is_told(token_vault, arguments, told):
    done = token_vault(*arguments)
    assert done.code == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
