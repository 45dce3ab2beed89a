"""Both stores in lockstep with a plain model in memory: they give the same answers to any sequence of calls."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.support.databases import PostgresSchema, SqliteFile

from vault_adapters import (
    Account,
    AuditAction,
    ConnectionState,
    GenerationConflictError,
    MarkOutcome,
    TokenKey,
    TokenKind,
    TokenSet,
    TokenStatus,
    open_vault,
)
from vault_adapters.testing import ManualClock

pytestmark = pytest.mark.exhaustive

MINUTE = timedelta(minutes=1)

# Few names, so that calls meet the same rows again and again.
tenants = st.sampled_from(["t1", "T1"])
providers = st.sampled_from(["google", "a.b"])
identifiers = st.sampled_from([None, "\u00e9"])
accounts = st.builds(Account, tenants, providers, identifiers)
keys = st.builds(TokenKey, tenants, providers, st.sampled_from(TokenKind), identifiers)
values = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
expiries = st.none() | st.integers(-5, 20).map(lambda minutes: minutes * MINUTE)
scope_sets = st.sampled_from([(), ("a",), ("b", "a")])


class Model:
    """What the vault must remember, in its simplest form."""

    def __init__(self):
        self.tokens = {}  # by key: value, generation, status, code, expires_at, scopes
        self.labels = {}
        self.events = []

    def store(self, key, value, expires_at, scopes):
        old = self.tokens.get(key)
        if scopes is None:
            scopes = old["scopes"] if old else ()
        generation = old["generation"] + 1 if old else 1
        self.tokens[key] = {
            "value": value,
            "generation": generation,
            "status": TokenStatus.VALID,
            "code": None,
            "expires_at": expires_at,
            "scopes": scopes,
        }
        self.events.append((AuditAction.TOKEN_STORED, key, generation))

    def delete(self, doomed):
        for key in doomed:
            self.events.append((AuditAction.TOKEN_DELETED, key, self.tokens.pop(key)["generation"]))
            if not self.of(key.account):
                self.labels.pop(key.account, None)
        return len(doomed)

    def of(self, account):
        return [key for key in self.tokens if key.account == account]

    def state(self, account, now):
        def usable(token):
            ends = token["expires_at"]
            return token["status"] is TokenStatus.VALID and (ends is None or ends > now)

        held = {key.kind: self.tokens[key] for key in self.of(account)}
        access = held.get(TokenKind.ACCESS_TOKEN)
        credential = held.get(TokenKind.REFRESH_TOKEN) or held.get(TokenKind.API_KEY)
        stuck = (credential is not None and credential["status"] is TokenStatus.INVALID) or (
            not (credential and usable(credential)) and (not usable(access) if access else credential is not None)
        )
        return ConnectionState.REAUTHORIZATION_REQUIRED if stuck else ConnectionState.CONNECTED


def seen(info):
    """Return the parts of a token's description that the model knows too."""
    return (info.generation, info.status, info.error_code, info.expires_at, info.scopes)


def told(token):
    return (token["generation"], token["status"], token["code"], token["expires_at"], token["scopes"])


TABLES = ("token_use", "token", "account", "audit_event", "audit_seal", "audit_chain", "data_key_wrap", "data_key")


class Lockstep(RuleBasedStateMachine):
    """Calls both vaults and the model, and compares."""

    databases = ()

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.clock = ManualClock()
        self.model = Model()
        self.vaults = []
        self.heads = []
        self.infos = []  # each stored key, with one description per vault

    @initialize()
    def open(self):
        for database in self.databases:
            for table in TABLES:
                database.execute(f"DELETE FROM {{{table}}}")
            vault = open_vault(database.config(), clock=self.clock)
            self.vaults.append(self.loop.run_until_complete(self.stack.enter_async_context(vault)))
            self.heads.append(self.loop.run_until_complete(self.vaults[-1].audit_head()))

    def teardown(self):
        for vault, head in zip(self.vaults, self.heads, strict=True):
            found = self.loop.run_until_complete(vault.verify_audit([head]))
            assert (found.findings, found.heads, found.tokens) == ((), 1, len(self.model.tokens))
        self.loop.run_until_complete(self.stack.aclose())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def each(self, call):
        """Return what each vault answers, errors included."""

        async def ask(vault):
            try:
                return await call(vault)
            except GenerationConflictError as error:
                return error

        async def ask_all():
            return [await ask(vault) for vault in self.vaults]

        return self.loop.run_until_complete(ask_all())

    def agreed(self, call):
        """Return the one answer that all vaults give."""
        first, *others = self.each(call)
        assert all(other == first for other in others), (first, others)
        return first

    def at(self, expiry):
        return None if expiry is None else self.clock.now() + expiry

    @rule(key=keys, value=values, expiry=expiries, scopes=scope_sets, expected=st.none() | st.integers(0, 3))
    def store(self, key, value, expiry, scopes, expected):
        stored = self.model.tokens.get(key)
        expires_at = self.at(expiry)
        answers = self.each(
            lambda vault: vault.store_token(
                key, value, expires_at=expires_at, scopes=scopes, expected_generation=expected
            )
        )
        if expected is not None and expected != (stored["generation"] if stored else 0):
            assert all(isinstance(answer, GenerationConflictError) for answer in answers)
            return
        self.model.store(key, value, expires_at, scopes)
        assert [seen(info) for info in answers] == [told(self.model.tokens[key])] * len(answers)
        self.infos.append((key, answers))

    @rule(items=st.lists(st.tuples(keys, values, expiries), max_size=5, unique_by=lambda item: item[0]))
    def store_many(self, items):
        batch = [(key, value, self.at(expiry)) for key, value, expiry in items]
        answers = self.each(lambda vault: vault.store_tokens(batch))
        for key, value, expires_at in batch:
            self.model.store(key, value, expires_at, ())
        expected = [told(self.model.tokens[key]) for key, _, _ in batch]
        assert all([seen(info) for info in answer] == expected for answer in answers)

    @rule(
        account=accounts,
        access=values,
        refresh=st.none() | values,
        lifetime=st.none() | st.integers(1, 3000),
        scopes=scope_sets,
        label=st.none() | st.sampled_from(["Ann", "Bob"]),
    )
    def store_set(self, account, access, refresh, lifetime, scopes, label):
        token_set = TokenSet(access, refresh, expires_in=lifetime, scopes=scopes)
        answer = self.agreed(lambda vault: vault.store_token_set(account, token_set, label=label))
        expires_at = None if lifetime is None else self.clock.now() + timedelta(seconds=lifetime)
        self.model.store(account.key(TokenKind.ACCESS_TOKEN), access, expires_at, scopes or None)
        if refresh is not None:
            self.model.store(account.key(TokenKind.REFRESH_TOKEN), refresh, None, None)
        if label is not None:
            self.model.labels[account] = label
        assert answer.label == self.model.labels.get(account)
        assert answer.state is self.model.state(account, self.clock.now())

    @precondition(lambda self: self.infos)
    @rule(data=st.data(), code=st.sampled_from(["invalid_grant", "x"]))
    def mark(self, data, code):
        key, infos = data.draw(st.sampled_from(self.infos))
        answers = [
            self.loop.run_until_complete(vault.mark_token_invalid(info, code))
            for vault, info in zip(self.vaults, infos, strict=True)
        ]
        assert len(set(answers)) == 1
        if answers[0] is MarkOutcome.APPLIED:
            token = self.model.tokens[key]
            assert (token["status"], token["generation"]) == (TokenStatus.VALID, infos[0].generation)
            token.update(status=TokenStatus.INVALID, code=code)
            self.model.events.append((AuditAction.TOKEN_INVALIDATED, key, token["generation"]))
        elif answers[0] is MarkOutcome.ALREADY_INVALID:
            assert self.model.tokens[key]["status"] is TokenStatus.INVALID

    @rule(key=keys)
    def delete(self, key):
        doomed = [key] if key in self.model.tokens else []
        assert self.agreed(lambda vault: vault.delete_token(key)) is bool(self.model.delete(doomed))

    @precondition(lambda self: self.model.tokens)
    @rule(data=st.data())
    def delete_what_is_there(self, data):
        key = data.draw(st.sampled_from(sorted(self.model.tokens, key=repr)))
        assert self.agreed(lambda vault: vault.delete_token(key)) is bool(self.model.delete([key]))

    @rule(account=accounts)
    def delete_account(self, account):
        answer = self.agreed(lambda vault: vault.delete_account(account))
        assert answer.deleted == self.model.delete(self.model.of(account))

    @rule(tenant=tenants, provider=providers)
    def delete_provider(self, tenant, provider):
        doomed = [key for key in self.model.tokens if (key.tenant_id, key.provider) == (tenant, provider)]
        assert self.agreed(lambda vault: vault.delete_provider_tokens(tenant, provider)) == self.model.delete(doomed)

    @rule(minutes=st.integers(0, 12))
    def advance(self, minutes):
        self.clock.advance(minutes * MINUTE)

    @rule(account=accounts)
    def use(self, account):
        now = self.clock.now()
        for usable in self.each(lambda vault: vault.get_access_token(account)):
            token = self.model.tokens.get(account.key(TokenKind.ACCESS_TOKEN))
            ends = token["expires_at"] if token else None
            if token is None or token["status"] is not TokenStatus.VALID or (ends is not None and ends <= now):
                assert usable is None
            else:
                assert usable.token.value.reveal() == token["value"]

    @rule(tenant=tenants, limit=st.integers(1, 4), provider=st.none() | providers)
    def list_all(self, tenant, limit, provider):
        def belongs(key):
            return key.tenant_id == tenant and provider in (None, key.provider)

        expected = sorted(filter(belongs, self.model.tokens), key=in_order)
        for vault in self.vaults:
            found = self.walk(vault.list_tokens, limit, tenant, provider=provider)
            assert [info.key for info in found] == expected
            assert [seen(info) for info in found] == [told(self.model.tokens[key]) for key in expected]
            listed = self.walk(vault.list_accounts, limit, tenant, provider=provider)
            assert [info.account for info in listed] == list(
                dict.fromkeys(sorted((k.account for k in expected), key=by))
            )
            now = self.clock.now()
            assert [info.state for info in listed] == [self.model.state(info.account, now) for info in listed]
            assert [info.label for info in listed] == [self.model.labels.get(info.account) for info in listed]

    @rule(minutes=st.integers(0, 15), limit=st.integers(1, 4), provider=st.none() | providers)
    def expiring(self, minutes, limit, provider):
        until = self.clock.now() + minutes * MINUTE
        expected = [
            (token["expires_at"], key)
            for key, token in self.model.tokens.items()
            if key.kind is TokenKind.ACCESS_TOKEN
            and token["status"] is TokenStatus.VALID
            and token["expires_at"] is not None
            and token["expires_at"] <= until
            and provider in (None, key.provider)
        ]
        for vault in self.vaults:
            found = self.walk(vault.find_expiring_tokens, limit, minutes * MINUTE, provider=provider)
            positions = [(info.expires_at, info.key.tenant_id.encode(), info.id.bytes) for info in found]
            assert positions == sorted(positions)
            assert sorted(((info.expires_at, info.key) for info in found), key=repr) == sorted(expected, key=repr)

    def walk(self, listing, limit, *arguments, **settings):
        found, after = [], None
        while True:
            page = self.loop.run_until_complete(listing(*arguments, limit=limit, after=after, **settings))
            assert len(page.items) <= limit
            found += page.items
            if (after := page.next) is None:
                return found

    @invariant()
    def the_values_are_those_of_the_model(self):
        wanted = list(self.model.tokens)
        for found in self.each(lambda vault: vault.get_tokens(wanted)):
            assert {key: token.value.reveal() for key, token in found.items()} == {
                key: token["value"] for key, token in self.model.tokens.items()
            }

    @invariant()
    def each_change_is_in_the_audit_log_once(self):
        expected = Counter(map(repr, self.model.events))
        for vault in self.vaults:
            self.loop.run_until_complete(has_all(vault, expected))


async def has_all(vault, expected):
    """Wait until the log has the expected events: a page ends where a transaction runs, such as the record of a use."""
    async with asyncio.timeout(20):
        while True:
            items = (await vault.audit_events(limit=10_000)).items
            found = Counter(repr((event.action, event.account.key(event.kind), event.generation)) for event in items)
            assert found <= expected
            if found == expected:
                return
            await asyncio.sleep(0.01)


def in_order(key):
    return key.provider.encode(), (key.identifier or "").encode(), key.kind.encode()


def by(account):
    return account.provider.encode(), (account.identifier or "").encode()


async def prepare(database):
    async with open_vault(database.config()):
        pass


@pytest.fixture
def lockstep(tmp_path, contract_database):
    """Give the machine over two databases that were migrated once."""
    postgres = PostgresSchema(contract_database)
    databases = (SqliteFile(tmp_path / "vault.db"), postgres)
    for database in databases:
        asyncio.run(prepare(database))
    yield type("LockstepOverBoth", (Lockstep,), {"databases": databases})
    postgres.drop()


def run(machine, examples, steps):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


def test_both_stores_answer_as_the_model_does(lockstep):
    run(lockstep, examples=20, steps=40)


@pytest.mark.soak
def test_both_stores_answer_as_the_model_does_for_long(lockstep):
    run(lockstep, examples=1000, steps=80)
