"""`doctor`, by the real command: on both stores, and while the database is away."""

import json
import os
import sqlite3
from contextlib import closing

import pytest
from tests.adapters.cli.conftest import SECRET
from tests.support.postgres import start_postgres
from tests.support.scripted_provider import refused_url

from vault_adapters import Account, ProviderConfigurationError, TokenSet, VaultConfig, open_vault
from vault_adapters.cli import examining
from vault_adapters.testing import ScriptedRefresher

HOST = """
from vault_adapters.providers import OAuth2Refresher, refresher

REFRESHERS = {
    "google": refresher("google", "client", "client-secret", scopes=["calendar", "mail"]),
    "acme": OAuth2Refresher("https://acme.test/token", "client", "client-secret"),
}
"""


def fill(token_vault):
    """Connect healthy, ending, shared and broken accounts."""
    (token_vault.folder / "doctor_host.py").write_text(HOST)
    for tenant, provider in (("t1", "google"), ("t2", "google"), ("t1", "acme"), ("t1", "other")):
        named = (tenant, provider)
        who = ("--identifier", "ann@example.com")
        life = ("--expires-in", "1d") if provider == "acme" else ()
        more = ("--expires-in", "1h", "--scope", "calendar")
        assert token_vault("store", *named, "access_token", *who, *more, stdin="access-value").code == 0
        assert token_vault("store", *named, "refresh_token", *who, *life, stdin="refresh-value").code == 0
    invalid = ("invalidate", "t2", "google", "refresh_token", "--identifier", "ann@example.com")
    assert token_vault(*invalid).code == 0


def found_by(done):
    return {(each["code"], each["provider"]): each for each in json.loads(done.out)["findings"]}


def check(token_vault):
    done = token_vault("doctor", "--refreshers", "doctor_host:REFRESHERS", "--json")
    assert done.code == 15, done.stderr
    report, found = json.loads(done.out), found_by(done)
    assert (report["ok"], report["accounts"], report["complete"]) == (False, 4, True)
    risks = {place for place, each in found.items() if each["severity"] != "note"}
    assert risks == {
        ("reconnect_required", "google"),
        ("refresher_missing", "other"),
        ("shared_grant", "google"),
        ("refresh_token_ending", "acme"),
        ("journal_missing", None),
    }
    assert ("api_hosts_missing", "acme") in found
    assert found["scopes_missing", "google"]["accounts"] == 1  # the other one must be connected again anyway
    assert "ask these users for more" in found["scopes_missing", "google"]["action"]
    assert found["shared_grant", "google"]["accounts"] == 2
    assert found["reconnect_required", "google"]["examples"] == [
        {"tenant_id": "t2", "provider": "google", "identifier": "ann@example.com", "label": None}
    ]
    shown = token_vault("doctor", "--refreshers", "doctor_host:REFRESHERS")
    assert shown.code == 15
    assert "for example  t2 google ann@example.com" in shown.out
    assert "4 accounts were examined" in shown.out
    for secret in ("access-value", "refresh-value", "client-secret", SECRET):
        assert secret not in done.out + done.stderr + shown.out + shown.stderr


def test_on_sqlite(token_vault):
    fill(token_vault)
    check(token_vault)
    unaided = token_vault("doctor", "--json")
    assert unaided.code == 15
    places = found_by(unaided)
    assert {("refreshers_unknown", "google"), ("shared_grant", "google")} <= set(places)
    assert ("refresher_missing", "other") not in places


def test_on_postgres(unprepared, postgres):
    unprepared.variables["DATABASE_URL"] = postgres.create_database("cli_doctor")
    assert unprepared("init").code == 0
    fill(unprepared)
    check(unprepared)


def test_a_standby_takes_no_writes(unprepared):
    with start_postgres(private=True) as server:
        unprepared.variables["DATABASE_URL"] = server.url
        assert unprepared("init").code == 0
        server.stop("fast")
        signal = server.data_dir / "standby.signal"
        signal.touch()
        owner = server.data_dir.stat()
        os.chown(signal, owner.st_uid, owner.st_gid)
        server.start()
        done = unprepared("doctor", "--json")
    assert (done.code, json.loads(done.out)["findings"][0]["code"]) == (15, "database_read_only"), done.out


def test_nothing_is_found(token_vault):
    done = token_vault("doctor", "--json")
    report = json.loads(done.out)
    assert (done.code, report["ok"], report["findings"]) == (0, True, [])
    (token_vault.folder / "doctor_host.py").write_text(HOST)
    done = token_vault("doctor", "--refreshers", "doctor_host:REFRESHERS")
    assert (done.code, done.out) == (0, "nothing found; 0 accounts were examined\n")


def test_a_journal_that_takes_no_entries_is_found(token_vault):
    """The doctor creates no directory: a vault that runs would create it again."""
    directory = token_vault.folder / "journal"
    token_vault.variables["TOKEN_VAULT_JOURNAL_DIR"] = str(directory)
    done = token_vault("doctor", "--json")
    found = found_by(done)["journal_unusable", None]
    assert (done.code, found["severity"], found["detail"]) == (15, "warning", "missing")
    assert not directory.exists()
    directory.mkdir(mode=0o700)
    assert ("journal_unusable", None) not in found_by(token_vault("doctor", "--json"))
    assert list(directory.iterdir()) == []


async def test_a_paused_client_is_one_finding_and_find_says_that_it_is_paused(token_vault):
    refused = ScriptedRefresher(*[ProviderConfigurationError(reason="invalid_client")] * 3)
    config = VaultConfig(token_vault.variables["DATABASE_URL"], encryption_secret=SECRET, scrypt_log2_n=14)

    def told():
        done = token_vault("doctor", "--json")
        codes = [each["code"] for each in json.loads(done.out)["findings"] if each["provider"] == "acme"]
        return [code for code in codes if code != "refreshers_unknown"], token_vault("find", "acme").out

    async with open_vault(config, refreshers={"acme": refused}) as vault:
        for number in range(3):
            account = Account("t1", "acme", f"user-{number}")
            await vault.store_token_set(account, TokenSet("a", "r", expires_in=3600), label="ops@example.com")
            with pytest.raises(ProviderConfigurationError):
                await vault.refresh_account(account)
            codes, found = told()
            assert codes == ["provider_paused" if number == 2 else "refresh_failing"]
            assert ("refreshes are paused" in found) is (number == 2)
            assert "Check client id and secret." in found
    assert "for example  t1 acme user-0 (ops@example.com)" in token_vault("doctor").out
    mistaken = ("t1", "acme", "--identifier", "ops@example.com")
    (token_vault.folder / "doctor_host.py").write_text(HOST)
    for command in (
        ("get", "t1", "acme", "access_token", *mistaken[2:]),
        ("refresh", *mistaken, "--refreshers", "doctor_host:REFRESHERS"),
        ("delete-account", *mistaken),
        ("audit", "--account", "t1/acme/ops@example.com"),
    ):
        done = token_vault(*command)
        assert "`token-vault find TEXT` finds an account" in done.stderr, command
        assert "ops@" not in done.stderr


def test_the_limit_is_told(token_vault):
    fill(token_vault)
    done = token_vault("doctor", "--limit", "3", "--json")
    assert (json.loads(done.out)["accounts"], json.loads(done.out)["complete"]) == (3, False)
    assert ("accounts_left", None) in found_by(done)
    assert token_vault("doctor", "--limit", "0").code == 2


@pytest.mark.parametrize(
    ("variables", "code", "detail"),
    [
        ({"DATABASE_URL": "postgresql://ann:a-password@127.0.0.1:1/x"}, "database_unavailable", "connection_refused"),
        ({"ENCRYPTION_SECRET": "another-secret-of-the-same-kind-987654321"}, "configuration", "does not match"),
        ({"ENCRYPTION_SECRET": "ab" * 20}, "secret_weak", None),
        ({"TOKEN_VAULT_POOL_SIZE": "many"}, "configuration", "TOKEN_VAULT_POOL_SIZE"),
    ],
)
def test_a_vault_that_does_not_open(token_vault, variables, code, detail):
    done = token_vault("doctor", "--json", **variables)
    (found,) = json.loads(done.out)["findings"]
    assert (done.code, found["code"]) == (15, code)
    assert detail is None or detail in found["detail"]
    assert not any(value in done.out + done.stderr for value in ("a-password", "another-secret", "ababab"))


def test_an_old_schema(unprepared):
    done = unprepared("doctor", "--json")
    assert (done.code, [place[0] for place in found_by(done)]) == (15, ["schema_outdated"])


async def test_an_outage_midway_keeps_what_was_found(tmp_path, monkeypatch):
    monkeypatch.setattr(examining, "_PAGE", 1)
    config = VaultConfig(f"sqlite:///{tmp_path}/vault.db", encryption_secret=SECRET, scrypt_log2_n=14)
    async with open_vault(config) as vault:
        for number in range(3):
            await vault.store_token_set(Account("t1", f"p{number}"), TokenSet("a", "r", expires_in=60))

        def advance(examined):
            if examined == 2:
                with closing(sqlite3.connect(tmp_path / "vault.db")) as connection:
                    connection.execute("DROP TABLE token_vault_account")

        result = await examining._examine(vault, config, {}, 100, advance)
    assert (result.examined, result.is_complete) == (2, False)
    found = {(each.code.value, each.provider) for each in result.findings}
    assert {("database_unavailable", None), ("accounts_left", None), ("refresher_missing", "p0")} <= found


@pytest.mark.parametrize("way", ["a read", "--values"])
def test_a_damaged_value_is_told_until_it_is_replaced(token_vault, way):
    for identifier in ("ann", "bob"):
        key = ("t1", "acme", "api_key", "--identifier", identifier)
        assert token_vault("store", *key, stdin=f"{identifier}-value").code == 0
    with closing(sqlite3.connect(token_vault.folder / "vault.db")) as database, database:
        swapped = "UPDATE token_vault_token SET blob = (SELECT blob FROM token_vault_token WHERE identifier = 'bob')"
        database.execute(f"{swapped} WHERE identifier = 'ann'")
    assert (token_vault("doctor").code, token_vault("doctor", "--json").code) == (0, 0)
    if way == "a read":
        assert token_vault("get", "t1", "acme", "api_key", "--identifier", "ann").code != 0
    for _ in range(2):
        done = token_vault("doctor", "--json", *(["--values"] if way == "--values" else []))
        [found] = json.loads(done.out)["findings"]
        assert (done.code, found["code"], found["provider"], found["accounts"]) == (15, "values_unreadable", "acme", 1)
        assert [each["identifier"] for each in found["examples"]] == ["ann"]
        assert "bob-value" not in done.out + done.stderr
    assert token_vault("store", "t1", "acme", "api_key", "--identifier", "ann", stdin="new").code == 0
    assert token_vault("doctor", "--values").code == 0


def test_a_damaged_value_is_told_although_another_of_its_account_was_replaced(token_vault):
    keys = [("t1", "acme", kind, "--identifier", "ann") for kind in ("api_key", "webhook_secret")]
    for key in keys:
        assert token_vault("store", *key, stdin="value").code == 0
    with closing(sqlite3.connect(token_vault.folder / "vault.db")) as database, database:
        database.execute("UPDATE token_vault_token SET blob = zeroblob(128)")
    for key in keys:
        assert token_vault("get", *key).code != 0
    assert token_vault("store", *keys[1], stdin="new").code == 0
    [found] = json.loads(token_vault("doctor", "--json").out)["findings"]
    assert (found["code"], found["accounts"]) == ("values_unreadable", 1)


def test_nothing_is_changed(token_vault):
    fill(token_vault)

    def rows():
        with sqlite3.connect(token_vault.folder / "vault.db") as database:
            return list(database.iterdump())

    before = rows()
    token_vault("doctor")
    assert rows() == before


def test_a_provider_that_is_down_ends_neither_doctor_nor_worker(token_vault):
    with refused_url() as url:
        issuer = url.removesuffix("/token")
        (token_vault.folder / "down_host.py").write_text(f"""
from vault_adapters.providers import openid, refresher

REFRESHERS = {{
    "google": refresher("google", "client", "client-secret"),
    "corp": openid({issuer!r}, "client", "secret"),
}}
""")
        for kind in ("access_token", "refresh_token"):
            life = ("--expires-in", "1s") if kind == "access_token" else ()
            assert token_vault("store", "t1", "corp", kind, *life, stdin="value").code == 0
        named = ("--refreshers", "down_host:REFRESHERS")
        done = token_vault("doctor", *named, "--json")
        assert (json.loads(done.out)["complete"], json.loads(done.out)["accounts"]) == (True, 1)
        assert all(each["code"] != "configuration" for each in json.loads(done.out)["findings"])
        done = token_vault("worker", "--once", *named)
        assert "connection_refused" in done.stderr, done
        shown = token_vault("providers", *named)
        assert (shown.code, "google" in shown.out, ".invalid" in shown.out) == (0, True, False)
        assert "corp: the OpenID provider cannot be discovered" in shown.stderr
