"""Commands across tenants, and the deletion of an account, by the real command on a SQLite file."""

import json

import pytest


@pytest.fixture
def filled(token_vault):
    for tenant in ("t2", "t1"):
        for kind in ("access_token", "refresh_token"):
            assert token_vault("store", tenant, "google", kind, stdin="v").code == 0
    assert token_vault("invalidate", "t2", "google", "refresh_token").code == 0
    return token_vault


def owners(result):
    return [row["tenant_id"] for row in json.loads(result.out)]


def test_all_tenants(filled):
    assert json.loads(filled("tenants", "--json").out) == ["t1", "t2"]
    assert filled("tenants").out.split() == ["TENANT", "t1", "t2"]
    assert owners(filled("accounts", "--all", "--json")) == ["t1", "t2"]
    assert owners(filled("accounts", "--all", "--limit", "1", "--json")) == ["t1"]
    assert owners(filled("accounts", "--all", "--state", "reauthorization_required", "--json")) == ["t2"]
    rows = [json.loads(line) for line in filled("export", "--all").out.splitlines()]
    assert [(row["tenant_id"], row["kind"]) for row in rows] == [
        (tenant, kind) for tenant in ("t1", "t2") for kind in ("access_token", "refresh_token")
    ]


def test_what_to_do_is_said_once_below_the_accounts(filled):
    for arguments in (["accounts", "--all"], ["find", "google"]):
        assert "connect the account again" not in filled(*arguments, "--json").out
        shown = " ".join(filled(*arguments).out.split())
        assert shown.count("The user must connect the account again. Ask the user") == 1
    assert "connect the account again" not in filled("accounts", "t1").out
    assert filled("invalidate", "t1", "google", "refresh_token").code == 0
    assert filled("accounts", "--all").out.count("The user must connect") == 1


def test_accounts_of_all_tenants_are_found(token_vault):
    for tenant, name in (("t2", "ana@example.com"), ("t1", "Ana@example.org"), ("t1", "bob@example.com")):
        assert token_vault("store", tenant, "google", "api_key", "--identifier", name, stdin="v").code == 0
    assert owners(token_vault("find", "ANA@", "--json")) == ["t1", "t2"]
    assert token_vault("find", "bob").out.split()[-7:] == [
        "t1",
        "google",
        "bob@example.com",
        "-",
        "connected",
        "-",
        "-",
    ]
    some = token_vault("find", "google", "--limit", "2", "--json")
    assert (owners(some), "--limit" in some.stderr) == (["t1", "t1"], True)
    nobody = token_vault("find", "%na")
    assert (nobody.code, nobody.stdout, "begins with this" in nobody.stderr) == (0, b"", True)
    short = token_vault("find", "~")
    assert (short.code, short.stdout, "~" in short.stderr) == (2, b"", False)


@pytest.mark.parametrize("command", ["accounts", "export"])
@pytest.mark.parametrize("arguments", [[], ["t1", "--all"]])
def test_one_tenant_or_all_must_be_named(filled, command, arguments):
    done = filled(command, *arguments)
    assert (done.code, done.stdout) == (2, b"")
    assert "--all" in done.stderr


def test_an_account_is_deleted(filled):
    done = filled("delete-account", "t1", "google", "--json")
    assert (done.code, json.loads(done.out)) == (0, {"deleted": 2, "revoked": None, "reason": None})
    assert filled("delete-account", "t1", "google").code == 4
    assert "deleted 2 tokens" in filled("delete-account", "t2", "google").out
    assert json.loads(filled("tenants", "--json").out) == []


REVOKING = """
from vault_adapters import RevocationScope, Rotation, TokenKind

class Revoker:
    rotation, spends = Rotation.strict(), TokenKind.REFRESH_TOKEN

    def __init__(self, answer, scope=RevocationScope.GRANT):
        self.answer, self.revocation_scope = answer, scope

    async def refresh(self, request):
        raise NotImplementedError

    async def revoke(self, request):
        return self.answer

refreshers = {
    "yes": Revoker(True),
    "no": Revoker(False),
    "silent": Revoker(None),
    "shared": Revoker(True, RevocationScope.USER_AND_CLIENT),
}
"""


@pytest.mark.parametrize(
    ("provider", "revoked", "reason", "text"),
    [
        ("yes", True, None, "the provider confirmed the revocation"),
        ("no", False, None, "the provider did not confirm the revocation"),
        ("silent", None, None, "nothing was revoked"),
        ("shared", None, "shared_grant", "nothing was revoked (shared_grant)"),
    ],
)
def test_json_and_text_tell_the_same_outcome_of_a_revocation(token_vault, provider, revoked, reason, text):
    (token_vault.folder / "revoking_host.py").write_text(REVOKING)
    row = {"provider": provider, "kind": "refresh_token", "identifier": "ann", "value": "v"}
    dump = "".join(json.dumps({"tenant_id": tenant, **row}) + "\n" for tenant in ("t1", "t2", "t3"))
    assert token_vault("import", "--format", "tokens", "-", stdin=dump).code == 0
    named = ("--identifier", "ann", "--revoke", "--refreshers", "revoking_host:refreshers")
    told = json.loads(token_vault("delete-account", "t1", provider, *named, "--json").out)
    assert told == {"deleted": 1, "revoked": revoked, "reason": reason}
    assert token_vault("delete-account", "t2", provider, *named).out.splitlines() == ["deleted 1 token", text]
