"""A decision is written only over the account that was loaded; `conftest` gives a real server."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from attrs import evolve

from vault_adapters import Secret, TokenSet, VaultConfig
from vault_adapters.composition import open_vault_over
from vault_adapters.stores.postgres import account_states
from vault_adapters.stores.postgres.account_states import MOST_AGE
from vault_adapters.stores.postgres.line import Line
from vault_adapters.stores.postgres.store import open_postgres_store
from vault_adapters.testing import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, REFRESH
from vault_adapters.testing.contract.refreshing import answer, claimed, token_set
from vault_domain.entities.account import TokenKind
from vault_domain.entities.account_state import AccountState, Decision, KeptAnswer
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.token import TokenRef
from vault_domain.services.tokens.account_changes import AccountChanges
from vault_domain.transitions.values import written

CONFIG = VaultConfig(encryption_secret=Secret("account-states-" + "0" * 40), scrypt_log2_n=14)
SECOND = timedelta(seconds=1)


async def marked(vault):
    await vault.mark_token_invalid(await vault.get_token(REFRESH), "x")  # which leaves the account's row as it is


MEANWHILE = {
    "a token is stored": lambda vault: vault.store_token(ACCESS, "other"),
    "a token is marked": marked,
    "a token is deleted": lambda vault: vault.delete_token(ACCESS),
    "the account is deleted": lambda vault: vault.delete_account(ACCOUNT),
    "the label changes": lambda vault: vault.store_token_set(ACCOUNT, token_set(2), label="Ben"),
    "the tenant is erased": lambda vault: vault.erase_tenant(ACCOUNT.tenant_id),
}


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def store(url, clock):
    async with open_postgres_store(url, migrate=True, clock=clock.now) as store:
        yield store


@pytest.fixture
async def vault(store):
    async with open_vault_over(store, CONFIG) as vault:
        await vault.store_token_set(ACCOUNT, token_set(), label="Ann")
        yield vault


async def loaded(store, account=ACCOUNT):
    return await store.accounts._states.load(account)


async def decision(store, how, state, now):
    """Return a decision that changes the row, or values too."""
    event = AuditEvent(AuditAction.REFRESH_FAILING, now, tenant_id=ACCOUNT.tenant_id, account=ACCOUNT, code="x")
    if how == "deletion":
        return Decision(state.without(TokenKind), None, (event,))
    new = state if how == "row" else written(state, now, await answer(store))[0]
    return Decision(new.with_row(label="Ida", due_at=now), None, (event,), durable=True)


async def apply(store, state, decided):
    return await store.accounts._states.apply(state, decided)


@pytest.mark.parametrize("meanwhile", MEANWHILE)
@pytest.mark.parametrize("how", ["row", "values", "deletion"])
async def test_nothing_is_written_over_another_write(store, vault, how, meanwhile):
    state, now = await loaded(store)
    decided = await decision(store, how, state, now)
    await MEANWHILE[meanwhile](vault)
    (there, _), events = await loaded(store), (await vault.audit_events()).items
    assert not await apply(store, state, decided)
    assert ((await loaded(store))[0], (await vault.audit_events()).items) == (there, events)


async def test_of_two_changes_of_one_state_one_is_written(store, vault):
    state, _ = await loaded(store)
    assert await apply(store, state, Decision(state.with_row(label="first"), None))
    assert not await apply(store, state, Decision(state.with_row(label="second"), None))
    assert (await loaded(store))[0].row.label == "first"


async def test_a_use_is_no_other_write(store, vault, clock):
    state, now = await loaded(store)
    clock.advance(SECOND)
    await store.accounts.record_uses({TokenRef.of(state.tokens[ACCESS.kind].info): clock.now()})
    assert await apply(store, state, await decision(store, "values", state, now))


@pytest.mark.parametrize("how", ["row", "values"])
async def test_a_decision_that_is_no_longer_fresh_is_not_written(store, vault, clock, how):
    state, now = await loaded(store)
    decided = await decision(store, how, state, now)
    clock.advance(SECOND + timedelta.resolution)
    assert not await apply(store, state, decided)
    assert (await loaded(store))[0] == state


async def test_an_answer_is_not_written_over_another_answer(store, vault):
    """The account's row is as it was loaded each time."""
    state, now = await loaded(store)
    first = KeptAnswer(uuid4(), state.tokens[REFRESH.kind].sealed, now)
    second = evolve(first, attempt_id=uuid4())
    assert await apply(store, state, Decision(evolve(state, answer=first), None))
    assert not await apply(store, state, Decision(evolve(state, answer=second), None))
    kept, _ = await loaded(store)
    assert kept == evolve(state, answer=first)
    assert await apply(store, kept, Decision(evolve(kept, answer=second), None))
    for other in (None, evolve(first, kept_at=now - SECOND)):
        assert not await apply(store, kept, Decision(evolve(kept, answer=other), None))
    assert (await loaded(store))[0] == evolve(state, answer=second)
    there, _ = await loaded(store)
    assert await apply(store, there, Decision(state, None))
    assert not await apply(store, there, Decision(evolve(there, answer=evolve(second, kept_at=now - SECOND)), None))
    assert (await loaded(store))[0] == state


async def test_what_was_absent_must_still_be_absent(store, vault):
    nobody = evolve(ACCOUNT, identifier="new")
    state, _ = await loaded(store, nobody)
    assert state == AccountState(nobody)
    await vault.store_token_set(nobody, token_set(), label="Eva")
    assert not await apply(store, state, Decision(state.with_row(label="Ida"), None))
    assert (await loaded(store, nobody))[0].row.label == "Eva"


async def test_a_row_that_was_absent_must_still_be_absent(store, vault):
    """A claim has made a row, and has left the tokens as they were."""
    lone = evolve(ACCOUNT, identifier="lone")
    await vault.store_token(lone.key(REFRESH.kind), "value")
    state, _ = await loaded(store, lone)
    assert state.row is None
    token = state.tokens[REFRESH.kind]
    decided = Decision(state.with_token(token, error_code="x"), None)
    await claimed(store, lone)
    assert not await apply(store, state, decided)
    assert (await loaded(store, lone))[0].tokens == state.tokens


async def test_a_row_is_not_written_for_tokens_that_change_while_it_is_waited_for(url, store, vault):
    """The other writer stores a value, and locks the account's row, but leaves it as it is: it is due early enough."""
    state, _ = await loaded(store)
    never_due = Decision(state.with_row(due_at=None), None)
    async with await psycopg.AsyncConnection.connect(url) as writer:
        await writer.execute("UPDATE token_vault.token SET generation = 7 WHERE kind = 'access_token'")
        await writer.execute("SELECT FROM token_vault.account FOR UPDATE")
        writing = asyncio.create_task(apply(store, state, never_due))
        await asyncio.sleep(0.2)
        assert not writing.done()
        await writer.commit()
    assert not await writing
    assert (await loaded(store))[0].row == state.row


async def test_the_row_stays_for_a_token_that_another_writer_stores_at_the_end(url, store, vault):
    """The other writer has stored a token, holds the account's row, and commits while the deletion waits for it."""
    state, _ = await loaded(store)
    insertion = (
        "INSERT INTO token_vault.token (tenant_id, provider, identifier, kind, id, value_id, data_key_id, blob, status,"
        " scopes, generation, created_at, updated_at) SELECT tenant_id, provider, identifier, 'api_key', id, value_id,"
        " data_key_id, blob, status, scopes, generation, created_at, updated_at FROM token_vault.token"
        " WHERE tenant_id = %s AND kind = 'refresh_token'"
    )
    async with await psycopg.AsyncConnection.connect(url) as writer:
        await writer.execute(insertion, [ACCOUNT.tenant_id])
        await writer.execute("SELECT FROM token_vault.account WHERE tenant_id = %s FOR UPDATE", [ACCOUNT.tenant_id])
        deletion = asyncio.create_task(apply(store, state, Decision(state.without(TokenKind), None)))
        await asyncio.sleep(0.2)
        assert not deletion.done()
        await writer.commit()
    assert await deletion
    left, _ = await loaded(store)
    assert (left.tokens.keys(), left.row.label) == ({TokenKind.API_KEY}, "Ann")


class Seen:
    """A decision that notes the labels of the states that it is given."""

    def __init__(self, **changes):
        self.labels, self._changes = [], changes

    def __call__(self, state, now):
        self.labels.append(state.row.label)
        return Decision(state.with_row(**self._changes) if self._changes else state, None)


@pytest.fixture
async def other(url, clock):
    """Give the vault of another process."""
    async with (
        open_postgres_store(url, migrate=False, clock=clock.now) as store,
        open_vault_over(store, CONFIG) as vault,
    ):
        yield vault


async def test_a_change_of_an_account_that_was_just_read_does_not_read_it_again(store, vault):
    await store.accounts.read(ACCOUNT)
    seen = Seen(due_at=None)
    await store.accounts.change(ACCOUNT, seen)
    assert seen.labels == ["Ann"]
    assert (await loaded(store))[0].row.due_at is None


async def test_what_was_read_is_outdated_after_another_write(store, vault, other):
    await store.accounts.read(ACCOUNT)
    await other.store_token_set(ACCOUNT, token_set(2), label="Ben")
    seen = Seen(due_at=None)
    await store.accounts.change(ACCOUNT, seen)
    assert seen.labels == ["Ann", "Ben"]
    assert (await loaded(store))[0].row.label == "Ben"


async def test_a_decision_that_writes_nothing_is_about_the_stored_account(store, vault):
    """Nothing else would show that what was read is still the account."""
    await store.accounts.read(ACCOUNT)
    seen = Seen()
    await store.accounts.change(ACCOUNT, seen)
    assert seen.labels == ["Ann", "Ann"]


async def test_a_refusal_is_about_the_stored_account(store, vault, other):
    [write] = await answer(store, keys=[ACCESS])
    await store.accounts.read(ACCOUNT)
    await other.store_token(ACCESS, "other")
    [info] = (await AccountChanges(store.accounts, uuid4).store_expecting(write, 2, actor=None)).result
    assert info.generation == 3


class Claiming:
    """A claim that notes the states and the times that it is given."""

    def __init__(self):
        self.seen = []

    def __call__(self, state, now):
        self.seen.append((state, now))
        return Decision(state.with_row(refresh=evolve(state.refresh, lease_until=now + SECOND)), None)

    @property
    def has_read(self):
        """Whether the account was read again, for each of the states."""
        read = [state.version[1] for state, _ in self.seen]
        return [each is not read[0] for each in read]


async def test_a_lease_does_not_end_before_its_holder_believes(url):
    """Its holder counts from before the claim. The answer to the read took long, so the time in it was old."""
    async with open_postgres_store(url, migrate=True) as store, open_vault_over(store, CONFIG) as vault:
        await vault.store_token_set(ACCOUNT, token_set(), label="Ann")
        await store.accounts.read(ACCOUNT)
        known, late = store.accounts._states._known, timedelta(seconds=0.3)
        known[ACCOUNT] = known[ACCOUNT]._replace(now=known[ACCOUNT].now - late, asked=known[ACCOUNT].asked - 0.3)
        claim = Claiming()
        _, now = await loaded(store)
        await store.accounts.change(ACCOUNT, claim)
        assert claim.has_read == [False, False]
        assert claim.seen[-1][1] >= now


async def test_a_change_is_not_dated_in_the_future(url):
    """The read waited for a connection. A suspicion that begins in the future would not count."""
    async with open_postgres_store(url, migrate=True, pool_size=1) as store, open_vault_over(store, CONFIG) as vault:
        await vault.store_token_set(ACCOUNT, token_set(), label="Ann")
        busy = asyncio.create_task(store.accounts._database.fetch("SELECT pg_sleep(0.4)"))
        await asyncio.sleep(0)
        await store.accounts.read(ACCOUNT)
        _, mark, *_ = await every_write(store)
        [given] = await changes_of(store, mark)
        snapshot = await store.accounts.read(ACCOUNT)
        assert (len(given), snapshot.token(ACCESS.kind).info.suspect_since <= snapshot.now) == (1, True)
        await busy


async def test_whether_a_lease_has_ended_is_decided_by_the_time_of_a_read(store, vault, clock):
    await store.accounts.change(ACCOUNT, Claiming())
    clock.advance(2 * SECOND)
    await store.accounts.read(ACCOUNT)
    again = Claiming()
    await store.accounts.change(ACCOUNT, again)
    assert again.has_read == [False, True]


async def test_a_lease_begins_by_a_time_that_was_read_lately(store, vault, monkeypatch):
    await store.accounts.read(ACCOUNT)
    known = store.accounts._states._known
    known[ACCOUNT] = known[ACCOUNT]._replace(asked=known[ACCOUNT].asked - MOST_AGE.total_seconds() / 2)
    claim = Claiming()
    await store.accounts.change(ACCOUNT, claim)
    assert claim.has_read == [False, True]


async def test_an_account_that_was_read_long_ago_is_read_again(store, vault, other, monkeypatch):
    await store.accounts.read(ACCOUNT)
    await other.store_token_set(ACCOUNT, token_set(2), label="Ben")
    monkeypatch.setattr(account_states, "MOST_FORESEEN", timedelta(0))
    seen = Seen(due_at=None)
    await store.accounts.change(ACCOUNT, seen)
    assert seen.labels == ["Ben"]


async def changes_of(store, *decides):
    """Change the account by each of these; return the states that each was given."""
    given = []
    for decide in decides:
        given.append([])

        def noted(state, now, decide=decide, seen=given[-1]):
            seen.append(state)
            return decide(state, now)

        await store.accounts.change(ACCOUNT, noted)
    return given


async def every_write(store):
    """Return decisions that write a row, values and marks, and delete a token."""
    writes = await answer(store)

    def values(state, now):
        return Decision(written(state, now, writes)[0], None)

    def mark(state, now):
        return Decision(state.with_token(state.tokens[ACCESS.kind], suspect_since=now), None)

    def row(state, now):
        return Decision(state.with_row(label="Ida"), None)

    def deletion(state, now):
        return Decision(state.without([ACCESS.kind]), None)

    def all_at_once(state, now):
        new = written(state.without([REFRESH.kind]), now, [each for each in writes if each.key == ACCESS])[0]
        return Decision(new.with_row(label="Eva"), None)

    return values, mark, row, deletion, all_at_once


async def test_a_change_after_a_change_reads_nothing(store, vault):
    """What was written is known, with its versions."""
    await store.accounts.read(ACCOUNT)
    given = await changes_of(store, *await every_write(store))
    assert [len(each) for each in given] == [1] * 5
    known = store.accounts._states._known[ACCOUNT].state
    there, _ = await loaded(store)
    assert (known, known.version[:2]) == (there, there.version[:2])


async def test_what_was_written_is_outdated_after_another_write(store, vault, other):
    first, *_ = await every_write(store)
    for later in await every_write(store):
        await changes_of(store, first)
        await other.store_token_set(ACCOUNT, token_set(2), label="Ben")
        [given] = await changes_of(store, later)
        assert len(given) == 2
        assert given[-1].row.label == "Ben"


async def test_a_write_of_a_value_and_a_use_are_known_too(store, vault, clock):
    values, mark, *_ = await every_write(store)
    await changes_of(store, values)
    await vault.store_token(ACCESS, "other")
    assert [len(each) for each in await changes_of(store, mark, mark)] == [1, 1]
    token = (await loaded(store))[0].tokens[ACCESS.kind]
    await store.accounts.record_uses({TokenRef.of(token.info): clock.now()})
    [[state]] = await changes_of(store, mark)
    assert state.tokens[ACCESS.kind].info.last_used_at == clock.now()


async def test_what_is_known_is_forgotten_with_an_erased_tenant(store, vault):
    await store.accounts.read(ACCOUNT)
    assert ACCOUNT in store.accounts._states._known
    await vault.erase_tenant(ACCOUNT.tenant_id)
    assert not store.accounts._states._known


async def test_an_account_with_large_values_is_not_known(store, vault):
    """A thousand of them would take more memory than everything else."""
    await store.accounts.read(ACCOUNT)
    await vault.store_token_set(ACCOUNT, TokenSet("a" * 20_000), label="Ann")
    await store.accounts.read(ACCOUNT)
    assert ACCOUNT not in store.accounts._states._known


@pytest.mark.parametrize("step", [-5.0, 5.0])
async def test_a_time_that_is_not_the_databases_decides_nothing(url, step):
    """The process's clock and the database's have run apart since the read, for example while the machine slept."""
    async with open_postgres_store(url, migrate=True) as store, open_vault_over(store, CONFIG) as vault:
        await vault.store_token_set(ACCOUNT, token_set(), label="Ann")
        await store.accounts.read(ACCOUNT)
        known = store.accounts._states._known
        known[ACCOUNT] = known[ACCOUNT]._replace(now=known[ACCOUNT].now + timedelta(seconds=step))
        _, mark, *_ = await every_write(store)
        [given] = await changes_of(store, mark)
        assert len(given) == 2


async def test_a_token_that_another_writer_inserts_meanwhile_stays(url, store, vault):
    """The insertion is not committed yet when the statement looks for tokens, and the statement waits for it."""
    await vault.delete_token(ACCESS)
    state, now = await loaded(store)
    decided = Decision(written(state, now, await answer(store))[0], None)
    async with await psycopg.AsyncConnection.connect(url) as writer:
        await writer.execute(
            "INSERT INTO token_vault.token (tenant_id, provider, identifier, kind, id, value_id, data_key_id, blob,"
            " status, scopes, generation, created_at, updated_at) SELECT tenant_id, provider, identifier,"
            " 'access_token', gen_random_uuid(), gen_random_uuid(), data_key_id, blob, status, scopes, 7, created_at,"
            " updated_at FROM token_vault.token WHERE tenant_id = %s",
            [ACCOUNT.tenant_id],
        )
        writing = asyncio.create_task(apply(store, state, decided))
        await asyncio.sleep(0.2)
        assert not writing.done()
        await writer.commit()
    assert not await writing
    left, _ = await loaded(store)
    assert {kind: token.info.generation for kind, token in left.tokens.items()} == {ACCESS.kind: 7, REFRESH.kind: 1}


async def test_a_deletion_is_one_message_to_the_server(store, vault, monkeypatch):
    state, _ = await loaded(store)
    asked, ask = [], Line._send
    monkeypatch.setattr(
        Line, "_send", lambda line, statements, **how: asked.append(len(statements)) or ask(line, statements, **how)
    )
    assert await apply(store, state, Decision(state.without(TokenKind), None))
    assert asked == [2]
    assert (await loaded(store))[0] == AccountState(ACCOUNT)
