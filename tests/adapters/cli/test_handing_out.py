"""The output of `token`, which another program reads."""

import json
from datetime import UTC, datetime, timedelta

import anyio
from tests.support.scripted_provider import error_answer, scripted_provider, token_answer

from vault_adapters import Account, Secret, TokenKind, TokenSet, VaultConfig, open_vault
from vault_adapters.providers.dpop import new_key, with_key

KEY = new_key()
MODULE = """
from vault_adapters.providers import OAuth2Refresher
refreshers = {{"acme": OAuth2Refresher({url!r}, "id", "secret")}}
"""


def stored(token_vault, token_set, identifier="ann"):
    async def store():
        async with open_vault(VaultConfig.from_env(token_vault.variables)) as vault:
            await vault.store_token_set(Account("t1", "acme", identifier), token_set)

    anyio.run(store)


def soon():
    return datetime.now(UTC) + timedelta(minutes=2)


def test_a_token_is_printed_with_all_that_belongs_to_it(token_vault):
    until = datetime(2040, 1, 31, 12, tzinfo=UTC)
    extra = {"instance_url": "https://one.example.com"}
    stored(token_vault, TokenSet("a1", expires_at=until, token_type="DPoP", extra=extra))
    done = token_vault("token", "t1", "acme", "--identifier", "ann")
    assert (done.code, done.stderr) == (0, "")
    assert json.loads(done.out) == {
        "access_token": "a1",
        "headers": {},
        "expires_at": "2040-01-31T12:00:00.000000Z",
        "token_type": "DPoP",
        "extra": extra,
    }
    stored(token_vault, TokenSet("a2"), None)
    assert json.loads(token_vault("token", "t1", "acme", "--reveal").out) == {
        "access_token": "a2",
        "headers": {"Authorization": "Bearer a2"},
        "expires_at": None,
        "token_type": "Bearer",
        "extra": {},
    }


def test_a_token_whose_key_the_vault_keeps_is_not_printed(token_vault):
    """No other program can use it, so an error says so before one tries."""
    stored(token_vault, with_key(TokenSet("canary", "canary-r", token_type="DPoP"), KEY))
    done = token_vault("token", "t1", "acme", "--identifier", "ann")
    assert (done.code, done.out) == (1, "")
    assert "bound to a key that the vault keeps" in done.stderr
    for command in (("get", "t1", "acme", "access_token"), ("get", "t1", "acme", "refresh_token")):
        shown = token_vault(*command, "--identifier", "ann", "--json", "--reveal")
        assert (shown.code, KEY.reveal() in shown.out + shown.stderr) == (0, False)


UNSENDABLE = 'a"\noutput = "written"\nurl = "file:///etc/passwd"\nheader = "x: '


def test_a_token_that_a_header_cannot_carry_is_refused(token_vault):
    for text in (UNSENDABLE, "two words", "a\tb", 'a"b', "a\\b", "é"):
        stored(token_vault, TokenSet(text, extra={"kept": "as it is"}))
        done = token_vault("token", "t1", "acme", "--identifier", "ann")
        assert (done.code, done.out) == (1, "")
        assert "the token is empty, holds characters that a bearer token cannot have" in done.stderr
        assert text not in done.stderr


def test_a_token_that_is_due_is_refreshed(token_vault):
    stored(token_vault, TokenSet("old", "r0", expires_at=soon(), extra={"team": "T1"}))
    with scripted_provider(token_answer("new", refresh_token="r1", expires_in=3600)) as provider:
        (token_vault.folder / "acme_tokens.py").write_text(MODULE.format(url=provider.token_url))
        place = "acme_tokens:refreshers"
        for _ in range(2):
            done = token_vault("token", "t1", "acme", "--identifier", "ann", TOKEN_VAULT_REFRESHERS=place)
            found = json.loads(done.out)
            assert (found["access_token"], found["extra"]) == ("new", {"team": "T1"})
        assert len(provider.requests) == 1


def test_without_refreshers_a_token_that_still_works_is_printed(token_vault):
    stored(token_vault, TokenSet("old", "r0", expires_at=soon()))
    assert json.loads(token_vault("token", "t1", "acme", "--identifier", "ann").out)["access_token"] == "old"


def test_exit_codes_tell_what_is_wrong(token_vault):
    assert token_vault("token", "t1", "acme").code == 4
    stored(token_vault, TokenSet("old", "r0", expires_in=0))
    done = token_vault("token", "t1", "acme", "--identifier", "ann")
    assert (done.code, done.out) == (12, "")
    with scripted_provider(error_answer("invalid_grant")) as provider:
        (token_vault.folder / "acme_tokens.py").write_text(MODULE.format(url=provider.token_url))
        done = token_vault("token", "t1", "acme", "--identifier", "ann", "--refreshers", "acme_tokens:refreshers")
    assert (done.code, done.out) == (9, "")
    assert "old" not in done.stderr


def test_a_terminal_shows_it_on_demand_only(token_vault):
    stored(token_vault, TokenSet("canary-value"), None)
    refused = token_vault.on_terminal("token", "t1", "acme")
    assert (refused.code, "canary" in refused.out) == (2, False)
    shown = token_vault.on_terminal("token", "t1", "acme", "--reveal")
    assert (shown.code, "canary-value" in shown.out) == (0, True)


def test_without_an_identifier_the_error_lists_those_that_exist(token_vault):
    for identifier in ("ann", "bob\x1b"):
        stored(token_vault, TokenSet("a1"), identifier)
    done = token_vault("token", "t1", "acme")
    assert (done.code, done.out) == (4, "")
    assert "pass --identifier with one of those that exist: ann, 'bob\\x1b'" in done.stderr
    for arguments in (["t1", "acme", "--identifier", "cid"], ["t1", "other"], ["t2", "acme"]):
        done = token_vault("token", *arguments)
        assert (done.code, "ann" in done.stderr) == (4, False)


def test_of_many_identifiers_ten_are_listed(token_vault):
    for number in range(11):
        stored(token_vault, TokenSet("a1"), f"user-{number:02}")
    done = token_vault("token", "t1", "acme")
    assert "user-09, ..." in done.stderr
    assert "user-10" not in done.stderr


def test_an_api_key_that_does_not_expire_is_printed_with_its_header(token_vault):
    for provider, key, headers in (
        ("stripe", Secret("sk_test_1"), {"Authorization": "Bearer sk_test_1"}),
        ("anthropic", Secret("sk-ant-1"), {"x-api-key": "sk-ant-1"}),
        ("twilio", Secret.from_fields(sid="SK1", secret="s"), {"Authorization": "Basic U0sxOnM="}),
    ):
        stored_key = Account("t1", provider).key(TokenKind.API_KEY)

        async def store(where=stored_key, value=key):
            async with open_vault(VaultConfig.from_env(token_vault.variables)) as vault:
                await vault.store_token(where, value)

        anyio.run(store)
        done = token_vault("token", "t1", provider)
        assert (done.code, done.stderr) == (0, "")
        assert json.loads(done.out)["headers"] == headers
        assert token_vault("doctor").code == 0
