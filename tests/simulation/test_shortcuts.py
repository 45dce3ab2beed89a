"""What the simulation does by shortcuts has the results of the real functions."""

import json
from datetime import timedelta
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

import attrs
import pytest
from tests.simulation.copies import evolve, fast_constructor
from tests.simulation.database import Server
from tests.simulation.fakes import START, Disk, DiskJournal, WorldClock, seal_later
from tests.simulation.http_client import _form_of
from tests.simulation.provider import encode

from vault_adapters import Account, InvalidInputError, TokenKind, TokenSet
from vault_domain.entities.account_state import AccountRow, AccountState
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.refresh_state import AccountRecord, RefreshState
from vault_domain.entities.token import SealedToken, TokenRef, TokenWrite
from vault_domain.ports.journal import JournalEntry
from vault_domain.rules.timing import RefreshTiming
from vault_domain.services.refresh.journal_seal import seal_entry

pytestmark = pytest.mark.tools


def test_copies_are_those_of_attrs():
    account = Account("t1", "acme", "a")
    for value, changes in (
        (account, {"provider": "other"}),
        (account, {"identifier": "", "tenant_id": 5}),  # the constructor converts both values
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


def made(cls, *args, **kwargs):
    """Return an instance that the fast constructor made."""
    value = object.__new__(cls)
    fast_constructor(cls)(value, *args, **kwargs)
    return value


def test_a_value_is_made_as_attrs_makes_it():
    for cls, args, kwargs in (
        (AccountRow, (), {}),
        (AccountRow, ("label",), {"due_at": 1, "refresh": RefreshState(failures=2)}),
        (TokenRef, (Account("t1", "acme").key(TokenKind.API_KEY), 1, 2), {"value_id": 3}),
        (AccountRecord, (Account("t1", "acme"), {}), {}),
    ):
        fast, slow = made(cls, *args, **kwargs), cls(*args, **kwargs)
        assert (fast, type(fast), repr(fast)) == (slow, cls, repr(slow))
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(fast, attrs.fields(cls)[0].name, 1)
        with pytest.raises(TypeError):
            made(cls, unknown=1)


def test_a_class_that_checks_its_fields_keeps_its_constructor():
    assert fast_constructor(Account) is fast_constructor(TokenSet) is fast_constructor(RefreshTiming) is None


async def test_a_transaction_that_fails_changes_nothing():
    told = []
    server, clock = Server(on_accounts=lambda: told.append(1)), WorldClock(SimpleNamespace(now=0.0))

    def work(tables):
        tables.accounts[Account("t1", "acme")] = AccountState(Account("t1", "acme"))
        raise InvalidInputError("no")

    with pytest.raises(InvalidInputError):
        await server.transact(work, clock)
    assert (server.tables.accounts, told) == ({}, [])


async def test_a_journal_entry_is_sealed_when_it_is_read():
    disk = Disk(SimpleNamespace(is_set=False))
    account, key = Account("t1", "acme"), Account("t1", "acme").key(TokenKind.ACCESS_TOKEN)
    ref = TokenRef(key, UUID(int=1), 1, UUID(int=2))
    attempt = Attempt(account, UUID(int=3), ref, None, START, timedelta(seconds=30))
    write = TokenWrite(key, SealedToken(b"k", b"blob"), refreshed=True, value_id=UUID(int=4))
    unsealed, sealed_with = JournalEntry(attempt, (write,)), []

    def sealer(key, value, extra=None):
        sealed_with.append(value.reveal())
        return SealedToken(b"k", value.reveal().encode())

    await DiskJournal(disk).write(seal_later(unsealed, sealer))
    assert sealed_with == []
    assert await DiskJournal(disk).entries() == [seal_entry(unsealed, sealer)]


@pytest.mark.parametrize("form", [{"a": "1", "refresh_token": "rt-1-2-3"}, {"scope": "a b", "key": "=&%+"}])
def test_a_form_is_read(form):
    assert _form_of(urlencode(form)) == dict(parse_qsl(urlencode(form))) == form


def test_an_answer_is_json():
    members = {"access_token": "at-1-2", "expires_in": 300, "token_type": "Bearer"}
    assert json.loads(encode(members)) == members
    assert json.loads(encode({})) == {}
