"""Test cases: whatever is stored comes back unchanged, and no argument is interpreted as SQL."""

from __future__ import annotations

from datetime import timedelta

from vault_adapters.testing.contract.fixtures import ACCESS, ContractFixtures, events_of, tokens_of, value_of
from vault_domain.entities.account import Account, TokenKey, TokenKind
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import MarkOutcome
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault

VALUES = {
    "nul": "\0",
    "nul_inside": "before\0after\0",
    "ascii_64k": "a" * 65_536,
    "three_bytes_64k": "\u20ac" * 21_845 + "x",
    "emoji_64k": "\U0001f511" * 16_384,
    "family": "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f3f4\U000e0067\U000e0062\U000e007f",
    "quotes": "'\"`\\''\"\"$$%s%(x)s{0}:name?;--/*",
    "line_ends": "\r\n\n\r\u2028\u2029\x85\x1a\x7f\ufeff",
    "not_nfc": "e\u0301 \u212b \ufb01",
    "spaces": "  \t ",
    "json": '{"a": "\\u0000"}',
}

NAMES = {
    "drop": "'; DROP TABLE token_vault_token; --",
    "or_true": "x' OR '1'='1",
    "union": '" UNION SELECT * FROM token_vault.token --',
    "like": "%_%",
    "placeholders": "%s %(tenant_id)s :tenant_id $1 ?1 {{schema}} {0}",
    "backslash": "\\' \\x00 \\",
    "controls": "\x01\x02\x1b[31m\r\n\t\x7f",
    "emoji": "\U0001f511\U0001f468\u200d\U0001f469",
    "bidi": "\u202eabc\u2066\u200f",
    "astral_255": "\U0001f511" * 255,
    "ascii_255": "x" * 255,
    "json": '["t1","google"]',
    "array": '{a,"b",NULL}',
    "null": "NULL",
    "space": " ",
    "number": "0",
}


class ValueCases(ContractFixtures):
    """Hostile values, names, labels and actors."""

    async def test_a_value_comes_back_as_it_was(self, vault: TokenVault) -> None:
        for name, text in VALUES.items():
            await vault.store_token(ACCESS, Secret(text))
            assert await value_of(vault, ACCESS) == text, name
            assert (await vault.get_tokens([ACCESS]))[ACCESS].value.reveal() == text, name

    async def test_names_are_not_interpreted(self, vault: TokenVault) -> None:
        neighbour = TokenKey("t1", "google", TokenKind.API_KEY, "neighbour")
        await vault.store_token(neighbour, "untouched")
        for text in NAMES.values():
            account = Account(text, "google", text)
            actor = vault.with_actor(text)
            token_set = TokenSet("access", "refresh", expires_in=60, scopes=["a", "'--"])
            described = await actor.store_token_set(account, token_set, label=text)
            assert (described.account, described.label, described.scopes) == (account, text, ("a", "'--"))
            access = await vault.get_token(account.key(TokenKind.ACCESS_TOKEN))
            assert access is not None
            assert await vault.get_account(account) == described
            assert [info.account async for info in vault.iter_accounts(text)] == [account]
            assert len(await tokens_of(vault, text)) == 2
            assert [info.key async for info in vault.iter_expiring_tokens(timedelta(hours=1))] == [access.info.key]
            assert await actor.mark_token_invalid(access, "x") is MarkOutcome.APPLIED
            assert await actor.delete_token(access.info.key) is True
            assert (await actor.delete_account(account)).deleted == 1
            assert await vault.delete_provider_tokens(text, "google") == 0
            assert [event.actor for event in await events_of(vault, text)] == [text] * 5
            assert {event.account for event in await events_of(vault, text)} == {account}
            assert await value_of(vault, neighbour) == "untouched"
            # A key with the text only as its identifier, or only as its tenant id, must find no row.
            assert await vault.get_token(TokenKey("t1", "google", TokenKind.API_KEY, text)) is None
            assert await vault.get_token(TokenKey(text, "google", TokenKind.API_KEY, "neighbour")) is None
