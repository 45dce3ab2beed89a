"""What the simulation does by shortcuts has the results of the real functions."""

import json
from urllib.parse import parse_qsl, urlencode

import attrs
import pytest
from tests.examples.dict_store.database import AccountRow
from tests.simulation.copies import evolve
from tests.simulation.http_client import _form_of
from tests.simulation.provider import encode

from vault_adapters import Account, InvalidInputError, TokenKind


def test_copies_are_those_of_attrs():
    account = Account("t1", "acme", "a")
    for value, changes in (
        (account, {"provider": "other"}),
        (account, {"identifier": "", "tenant_id": 5}),  # which the constructor converts
        (account.key(TokenKind.API_KEY), {"kind": "access_token"}),
        (AccountRow("label"), {"due_at": 1, "label": None}),
        (AccountRow("label"), {}),
    ):
        assert evolve(value, **changes) == attrs.evolve(value, **changes)


def test_a_copy_is_checked():
    with pytest.raises(InvalidInputError):
        evolve(Account("t1", "acme"), provider="Not Allowed")
    with pytest.raises(TypeError):
        evolve(Account("t1", "acme"), unknown=1)


@pytest.mark.parametrize("form", [{"a": "1", "refresh_token": "rt-1-2-3"}, {"scope": "a b", "key": "=&%+"}])
def test_a_form_is_read(form):
    assert _form_of(urlencode(form)) == dict(parse_qsl(urlencode(form))) == form


def test_an_answer_is_json():
    members = {"access_token": "at-1-2", "expires_in": 300, "token_type": "Bearer"}
    assert json.loads(encode(members)) == members
    assert json.loads(encode({})) == {}
