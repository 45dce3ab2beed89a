"""`is_key_of` compares a key as ``==`` does, and an account that was read equals the one that was made."""

import pickle
from itertools import product

from vault_domain.entities.account import Account, TokenKey, TokenKind, is_key_of, stored_account

TEXTS, IDENTIFIERS = ("a", "b"), (None, "a", "b")
KINDS = (TokenKind.ACCESS_TOKEN, TokenKind.API_KEY)


def test_a_key_is_compared_by_its_parts():
    account = Account("a", "a", "a")
    for tenant_id, provider, kind, identifier in product(TEXTS, TEXTS, KINDS, IDENTIFIERS):
        key = TokenKey(tenant_id, provider, kind, identifier)
        for asked in KINDS:
            assert is_key_of(key, account, asked) == (key == account.key(asked))


def test_an_account_of_a_row_has_the_hash_of_its_parts():
    made, read = Account("a", "p", "i"), stored_account("a", "p", "i")
    assert {made: 1}[read] == 1
    assert {read: 1}[pickle.loads(pickle.dumps(made))] == 1
