"""A client is paused for many accounts and processes; all in virtual time."""

import asyncio
import logging
from datetime import timedelta

import pytest
from tests.services.conftest import ACCOUNT, HOUR, answer
from tests.services.fakes import Obstructed

from vault_adapters import (
    Account,
    AuditAction,
    ConnectionState,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    Rotation,
    Secret,
    StorageError,
    TokenKind,
    TokenSet,
    VaultError,
)
from vault_domain.entities.clients import CLIENT_MISMATCH, INVALID_CLIENT, MASS_REJECTION, ClientScope
from vault_domain.entities.reports import Incident
from vault_domain.rules.advice import incident_finding
from vault_domain.services.tokens.health import HealthService
from vault_domain.services.tokens.opening import TokenOpener
from vault_domain.services.tokens.readiness import ReadinessService
from vault_domain.services.tokens.states import OpenedState

MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
FLEET = [Account(f"t{number % 50}", "google", f"{number:04}") for number in range(80)]
SCOPE = ClientScope("google", None, INVALID_CLIENT)


class Server:
    """A refresher and its provider, which knows one client; the refresher presents ``client_id`` and ``secret``."""

    rotation = Rotation.non_rotating()
    spends = TokenKind.REFRESH_TOKEN

    def __init__(self):
        self.requests, self.client_id, self.secret = 0, "right", "right"
        self.accepts_all = False
        self.dead, self.foreign = (), ReauthorizationRequiredError(reason="invalid_grant")

    def client_id_of(self, account):
        return self.client_id

    async def refresh(self, request):
        self.requests += 1
        if self.secret != "right":
            raise ProviderConfigurationError(reason="invalid_client")
        if self.client_id != "right" and not self.accepts_all:
            raise self.foreign
        if request.account in self.dead:
            raise ReauthorizationRequiredError(reason="invalid_grant")
        return TokenSet("access", "refresh", expires_in=HOUR)


class Counting(Obstructed):
    """A repository that counts the calls of one method."""

    calls = 0

    async def obstruct(self):
        self.calls += 1


REJECTED = ReauthorizationRequiredError(reason="invalid_grant")
FOREIGN = [
    REJECTED,
    ReauthorizationRequiredError(reason="unauthorized_client"),
    *[
        ProviderConfigurationError(reason=code)
        for code in ("unauthorized_client", "invalid_scope", "invalid_request", "http_404", "unreadable_answer", None)
    ],
]
"""What providers answer to a refresh token that was issued to another client."""


def name_of(value):
    return f"{type(value).__name__}-{value.reason}" if isinstance(value, VaultError) else str(value)


@pytest.mark.parametrize(("known", "foreign"), [(False, REJECTED), *[(True, each) for each in FOREIGN]], ids=name_of)
async def test_many_accounts_survive_a_wrong_client(cases, known, foreign, caplog):
    server = Server()
    server.foreign = foreign
    right = cases.over(refreshers={"google": server})
    for account in FLEET:
        await (right if known else cases).connect(account)
    cases.clock.advance(HOUR)
    vaults = [right, cases.over(refreshers={"google": server})]
    server.client_id = "wrong"
    await minutes(vaults, cases.clock, 15)
    assert [record.levelno for record in caplog.records if "are paused" in record.message] == [logging.ERROR]
    server.secret = "wrong"
    await minutes(vaults, cases.clock, 16)
    assert server.requests <= 20 + 31
    paused = [event.code for event in cases.sink.events if event.action is AuditAction.CLIENT_PAUSED]
    assert paused == ["client_mismatch" if known else "mass_rejection", "invalid_client"]
    server.client_id = server.secret = "right"
    server.requests = 0
    await minutes(vaults, cases.clock, 6)
    assert server.requests == len(FLEET)
    states = {(await right.accounts.get(account)).state for account in FLEET}
    assert states == {ConnectionState.CONNECTED}


async def test_refusals_under_another_client_hold_back_only_that_clients_credentials(cases):
    server = Server()
    vault = cases.over(refreshers={"google": server})
    old, new = FLEET[:6], FLEET[6:12]
    for account in old:
        await vault.connect(account)
    server.client_id = "new"
    for account in new:
        await vault.connect(account)
    cases.clock.advance(HOUR)
    server.foreign = ProviderConfigurationError(reason="unauthorized_client")
    assert [await reason_of(vault, account) for account in old] == ["client_mismatch"] * 6
    assert server.requests == 3
    assert [await reason_of(vault, account) for account in new] == ["unauthorized_client"] * 6
    assert server.requests == 9
    assert [event.code for event in cases.sink.events if event.action is AuditAction.CLIENT_PAUSED] == [CLIENT_MISMATCH]
    server.client_id = "right"  # the provider accepts the grants of the old client again
    cases.clock.advance(MINUTE)
    assert await is_refreshed(vault, old[0])


async def test_a_success_of_another_clients_credential_ends_the_pause(cases):
    server = Server()
    vault = cases.over(refreshers={"google": server})
    for account in FLEET[:4]:
        await vault.connect(account)
    cases.clock.advance(HOUR)
    server.client_id, server.foreign = "new", ProviderConfigurationError(reason="unauthorized_client")
    for account in FLEET[:3]:
        assert await reason_of(vault, account) == CLIENT_MISMATCH
    vault.clock.advance(MINUTE)
    server.accepts_all = True
    assert await is_refreshed(vault, FLEET[3])
    actions = [event.action for event in cases.sink.events if event.code == CLIENT_MISMATCH]
    assert actions[-2:] == [AuditAction.CLIENT_PAUSED, AuditAction.CLIENT_RESUMED]


async def reason_of(vault, account):
    with pytest.raises(ProviderConfigurationError) as caught:
        await vault.refreshing.ensure(account, None, actor=None)
    return caught.value.reason


async def minutes(vaults, clock, count):
    for _ in range(count):
        for vault in vaults:
            await vault.sweeping.sweep(None, None, actor=None)
        clock.advance(MINUTE)


async def pause(cases):
    """Pause the client: store the refusals of three accounts, as another process would."""
    for number in range(3):
        await cases.counting.refuse(SCOPE, Account("t1", "google", f"refused {number}"))


async def test_refusals_of_one_of_several_tenants_are_an_incident_without_a_pause(cases):
    server = Server()
    vault = cases.over(refreshers={"google": server})
    own = [Account("t1", "google", f"{number}") for number in range(7)]
    for account in (*own, Account("t2", "google", "other")):
        await vault.connect(account)
    cases.clock.advance(HOUR)
    server.secret = "wrong"
    began = cases.clock.now()
    for number, account in enumerate(own):
        assert await reason_of(vault, account) == INVALID_CLIENT
        report = await health_of(vault)
        expected = (Incident("google", INVALID_CLIENT, began, began, pauses=False),) if number >= 2 else ()
        assert (report.incidents, report.status) == (expected, "refused" if expected else "ok")
    assert server.requests == 7
    [found] = [incident_finding(incident) for incident in report.incidents]
    assert (found.detail, "one tenant" in found.sentence, found.action) == (
        INVALID_CLIENT,
        True,
        "Check client id and secret.",
    )
    cases.clock.advance(11 * MINUTE)  # nobody is refused any more
    assert (await health_of(vault)).status == "ok"


async def health_of(vault):
    readiness = ReadinessService(vault.store.upkeep, vault.cipher, vault.tasks, vault.journal)
    opener = TokenOpener(vault.cipher, vault.sink, vault.store.accounts)
    return await HealthService(vault.store.pages, readiness, opener, MINUTE, vault.store.clients).report(None)


async def test_a_long_retry_after_keeps_nobody_away_once_the_provider_is_well(cases):
    class Away(Server):
        away, asked = True, ()

        async def refresh(self, request):
            if self.away:
                self.requests += 1
                self.asked = (*self.asked, request.account)
                raise RefreshFailedError(reason="temporarily_unavailable", retry_after=24 * HOUR)
            return await super().refresh(request)

    server = Away()
    vault = cases.over(refreshers={"google": server})
    for account in FLEET:
        await vault.connect(account)
    cases.clock.advance(HOUR)
    await minutes([vault], cases.clock, 4)
    assert server.requests == len(FLEET)
    before, server.requests = set(server.asked), 0
    assert before == set(FLEET)
    await minutes([vault], cases.clock, 40)
    assert 6 <= server.requests <= 9  # one account every five minutes or so
    with pytest.raises(RefreshFailedError) as caught:  # a caller is told when to ask again
        await vault.refreshing.ensure(FLEET[7], None, actor=None)
    assert caught.value.retry_after <= 5 * MINUTE
    server.away, server.requests = False, 0
    await minutes([vault], cases.clock, 20)
    assert server.requests == len(FLEET)
    assert {(await vault.accounts.get(account)).state for account in FLEET} == {ConnectionState.CONNECTED}


async def test_values_that_a_host_stores_hide_no_mass_rejection(cases):
    server = Server()
    vault = cases.over(refreshers={"google": server})
    for account in FLEET[:21]:
        await vault.connect(account)
    server.dead = FLEET[:9]
    cases.clock.advance(HOUR)
    for account in FLEET[9:21]:
        await vault.connect(account)  # replaces both tokens; the provider was not asked
    await vault.sweeping.sweep(None, None, actor=None)
    states = {(await vault.accounts.get(account)).state for account in FLEET[:9]}
    assert ConnectionState.REAUTHORIZATION_REQUIRED not in states
    assert [event.code for event in cases.sink.events if event.action is AuditAction.CLIENT_PAUSED] == [MASS_REJECTION]


@pytest.mark.parametrize("exchanged", [False, True])
async def test_only_a_code_that_was_exchanged_ends_invalid_client(cases, exchanged):
    server = Server()
    vault = cases.over(refreshers={"google": server})
    for account in FLEET[:6]:
        await vault.connect(account)
    cases.clock.advance(HOUR)
    server.secret = "wrong"
    other = cases.over(refreshers={"google": server})  # another process, which has not read any record
    for account in FLEET[:2]:
        assert await reason_of(vault, account) == INVALID_CLIENT
        cases.clock.advance(SECOND)
        state = OpenedState(FLEET[5].tenant_id, await data_key_of(cases, FLEET[5]), Secret("")) if exchanged else None
        await other.accounts.store_set(FLEET[5], answer(2), label=None, actor=None, state=state)
        cases.clock.advance(SECOND)
    assert await reason_of(vault, FLEET[2]) == INVALID_CLIENT
    paused = [event.code for event in cases.sink.events if event.action is AuditAction.CLIENT_PAUSED]
    assert paused == ([] if exchanged else [INVALID_CLIENT])
    assert [record.scope.reason for record in (await cases.store.clients.records()).records] == [INVALID_CLIENT]
    if not exchanged:
        state = OpenedState(FLEET[5].tenant_id, await data_key_of(cases, FLEET[5]), Secret(""))
        await other.accounts.store_set(FLEET[5], answer(3), label=None, actor=None, state=state)
        assert (await cases.store.clients.records()).records == []


async def test_of_many_processes_one_probes(connected, refresher):
    await pause(connected)
    refresher.then(ProviderConfigurationError(reason="invalid_client"))
    others = [Account("t1", "google", f"{number}") for number in range(5)]
    for account in others:
        await connected.connect(account)
    connected.clock.advance(HOUR)
    vaults = [connected.over() for _ in others]
    calls = [vault.refreshing.ensure(account, None, actor=None) for vault, account in zip(vaults, others, strict=True)]
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert {error.reason for error in errors} == {"invalid_client"}
    assert len(refresher.calls) == 1


async def test_a_process_reads_the_pauses_every_five_seconds_and_a_success_writes_none(connected, refresher):
    reads = Counting(connected.store.clients, "records")
    connected.store.clients = reads
    vault = connected.over()
    refresher.then(*[answer(number, lifetime=1) for number in range(4)])
    for seconds in (1, 1, 1, 2.5):
        await vault.refreshing.ensure(ACCOUNT, None, actor=None)
        connected.clock.advance(timedelta(seconds=seconds))
    assert reads.calls == 1
    refresher.then(answer(9))
    await vault.refreshing.ensure(ACCOUNT, None, actor=None)
    assert reads.calls == 2


@pytest.mark.parametrize(
    ("given", "port", "method", "expected"),
    [
        (ProviderConfigurationError(reason="invalid_client"), "clients", "change", ProviderConfigurationError),
        (ReauthorizationRequiredError(reason="invalid_grant"), "pages", "tokens", StorageError),
        (None, "clients", "change", None),
    ],
    ids=["refused", "rejected", "answered"],
)
async def test_a_store_that_fails_hides_no_answer_of_the_provider(connected, refresher, given, port, method, expected):
    class Broken(Obstructed):
        async def obstruct(self):
            raise StorageError

    await connected.counting.refuse(SCOPE, ACCOUNT)
    setattr(connected.store, port, Broken(getattr(connected.store, port), method))
    vault = connected.over()
    refresher.then(given or answer(1))
    if expected is None:
        assert (await vault.refreshing.ensure(ACCOUNT, None, actor=None)).value.reveal() == "access-1"
        return
    with pytest.raises(expected):
        await vault.refreshing.ensure(ACCOUNT, None, actor=None)


async def test_a_host_that_calls_in_a_loop_takes_no_probe_of_others(connected, refresher):
    await pause(connected)
    refresher.then(ProviderConfigurationError(reason="invalid_client"), answer(1))
    other = Account("t2", "google")
    await connected.connect(other)
    connected.clock.advance(HOUR)
    with pytest.raises(ProviderConfigurationError):
        await connected.refreshing.refresh(ACCOUNT, actor=None)
    connected.clock.advance(MINUTE)
    with pytest.raises(ProviderConfigurationError):
        await connected.refreshing.refresh(ACCOUNT, actor=None)
    assert len(refresher.calls) == 1
    assert (await connected.refreshing.ensure(other, None, actor=None)).value.reveal() == "access-1"


async def test_probes_of_dead_grants_keep_nobody_else_waiting(cases):
    """A mass rejection holds back rejected accounts only, even if a sweep has just sent a probe."""
    server = Server()
    vault = cases.over(refreshers={"google": server})
    *server.dead, alive = FLEET[:41]
    for account in server.dead:
        await vault.connect(account)
    await vault.connect(alive, lifetime=4 * 3600)
    cases.clock.advance(HOUR)
    await minutes([vault], cases.clock, 45)
    assert [event.code for event in cases.sink.events if event.action is AuditAction.CLIENT_PAUSED] == [MASS_REJECTION]
    before = server.requests
    await minutes([vault], cases.clock, 60)
    # If rejected accounts did not wait longer, there would be nearly one request per minute.
    assert 5 <= server.requests - before <= 25
    cases.clock.advance(75 * MINUTE)
    await vault.sweeping.sweep(None, None, actor=None)
    cases.clock.advance(MINUTE / 2)
    assert await is_refreshed(vault, alive)
    assert (await vault.accounts.get(alive)).state is ConnectionState.CONNECTED


async def test_what_is_not_held_back_takes_the_probe(cases):
    """A refresh that the pause does not hold back counts as a probe, because its answer says as much.

    So rejected accounts wait for a later probe.
    """
    server = Server()
    vault = cases.over(refreshers={"google": server})
    for account in FLEET[:6]:
        await vault.connect(account)
    server.dead = FLEET[:6]
    cases.clock.advance(HOUR)
    for account in FLEET[:5]:
        assert not await is_refreshed(vault, account)
    cases.clock.advance(MINUTE)
    assert not await is_refreshed(vault, FLEET[5])
    stored = await cases.store.clients.records("google")
    assert [record.probe_at for record in stored.records] == [stored.now]


async def is_refreshed(vault, account):
    try:
        await vault.refreshing.ensure(account, None, actor=None)
    except (ProviderConfigurationError, ReauthorizationRequiredError):
        return False
    return True


async def data_key_of(cases, account):
    return (await cases.store.keys.data_key(account.tenant_id, None)).key_id
