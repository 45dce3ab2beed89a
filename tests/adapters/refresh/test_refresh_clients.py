"""A fault of the OAuth client, or of the provider, is an incident: it condemns no account, and ends by itself."""

import logging
from collections import Counter
from contextlib import AsyncExitStack

import pytest
from tests.adapters.refresh.refresh_kit import HOUR, MINUTE, SECOND, failure, store, stored
from tests.support.databases import both_stores
from tests.support.scripted_provider import error_answer, token_answer

from vault_adapters import (
    Account,
    AuditAction,
    ConnectionState,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    Rotation,
    SweepReport,
    TokenKind,
    TokenSet,
    open_vault,
)
from vault_adapters.providers import OAuth2Refresher

CLIENT_EVENTS = {AuditAction.CLIENT_PAUSED, AuditAction.CLIENT_RESUMED}
FLEET = [Account(f"t{number % 7}", "acme", f"user-{number:03}") for number in range(40)]


class Server:
    """A provider with one registered client. It answers a wrong client id and a wrong secret as providers do."""

    def __init__(self):
        self.requests, self.dead = 0, {}
        self.foreign = ReauthorizationRequiredError(reason="invalid_grant")

    def refresher(self, client_id="right", secret="right"):
        return Client(self, client_id, secret)

    def answer(self, account, client_id, secret):
        self.requests += 1
        if secret != "right":
            raise ProviderConfigurationError(reason="invalid_client")
        if client_id != "right":
            raise self.foreign
        if account in self.dead:
            raise self.dead[account]
        return TokenSet(f"access of {account.identifier}", "refresh", expires_in=HOUR)


class Client:
    rotation = Rotation.non_rotating()
    spends = TokenKind.REFRESH_TOKEN

    def __init__(self, server, client_id, secret):
        self._server, self._client_id, self._secret = server, client_id, secret

    def client_id_of(self, account):
        return self._client_id

    async def refresh(self, request):
        return self._server.answer(request.account, self._client_id, self._secret)


@pytest.fixture
def server():
    return Server()


async def connect(vault, accounts, lifetime=HOUR):
    for account in accounts:
        await vault.store_token_set(account, TokenSet("access", "refresh", expires_in=lifetime))


async def states_of(vault, accounts=FLEET):
    return Counter([(await vault.get_account(account)).state for account in accounts])


async def events_of(vault, actions=CLIENT_EVENTS):
    return [(event.action, event.code) async for event in vault.iter_audit_events() if event.action in actions]


def errors_in(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


async def minutes(vaults, clock, count):
    """Let all vaults sweep every minute."""
    for _ in range(count):
        for vault in vaults:
            await vault.refresh_due()
        clock.advance(MINUTE)


@pytest.mark.parametrize("known", [True, False], ids=["known_client", "unknown_client"])
async def test_an_hour_with_a_wrong_client_id_and_then_a_wrong_secret(config, clock, server, caplog, known):
    server.foreign = ReauthorizationRequiredError(reason="invalid_grant")
    async with AsyncExitStack() as stack:

        async def two(**client):
            return [
                await stack.enter_async_context(
                    open_vault(config, refreshers={"acme": server.refresher(**client)}, clock=clock)
                )
                for _ in range(2)
            ]

        reader = await stack.enter_async_context(open_vault(config, clock=clock))
        [right, other] = await two()
        await connect(right if known else reader, FLEET)
        clock.advance(HOUR)

        wrong = await two(client_id="wrong")
        await minutes(wrong, clock, 60)
        reason = "client_mismatch" if known else "mass_rejection"
        assert await events_of(reader) == [(AuditAction.CLIENT_PAUSED, reason)]
        [incident] = (await reader.health()).incidents
        assert (incident.provider, incident.reason) == ("acme", reason)
        assert len(errors_in(caplog)) == 1
        assert "acme" in errors_in(caplog)[0]
        assert server.requests <= 20 + 60  # the first calls that run at once, and a probe a minute
        error = await failure(wrong[1].ensure_access_token(FLEET[-1]))
        assert (type(error), error.reason) == (ProviderConfigurationError, reason)

        server.requests = 0
        wrong = await two(client_id="wrong", secret="wrong")
        await minutes(wrong, clock, 20)
        paused = [(AuditAction.CLIENT_PAUSED, reason), (AuditAction.CLIENT_PAUSED, "invalid_client")]
        assert await events_of(reader) == paused
        assert {each.reason for each in (await reader.health()).incidents} == {reason, "invalid_client"}
        assert len(errors_in(caplog)) == 2
        assert server.requests <= 21
        assert set(await states_of(reader)) <= {ConnectionState.CONNECTED, ConnectionState.RETRYING}

        await minutes([right, other], clock, 6)
        assert await states_of(right) == {ConnectionState.CONNECTED: len(FLEET)}
        for account in FLEET:
            assert (await right.get_access_token(account)).token.value.reveal() == f"access of {account.identifier}"
        assert len(await events_of(reader, {AuditAction.TOKEN_INVALIDATED})) <= (0 if known else 4)

        clock.advance(HOUR)
        await minutes([right, other], clock, 2)  # nobody uses the wrong client any more
        resumed = [(AuditAction.CLIENT_RESUMED, code) for code in sorted({reason, "invalid_client"})]
        assert sorted((await events_of(reader))[2:]) == resumed
        assert (await reader.health()).incidents == ()
        assert len(errors_in(caplog)) == 2


async def test_a_grant_that_is_rejected_for_days_is_shown_though_others_keep_ending_the_pause(opened, clock, server):
    """Most grants of a small fleet have ended: a mass rejection, which each success of the other accounts ends."""
    dead, alive = FLEET[:6], FLEET[6:8]
    server.dead = dict.fromkeys(dead, ReauthorizationRequiredError(reason="invalid_grant"))
    vault = await opened(server.refresher())
    await connect(vault, [*dead, *alive])

    async def days(count):
        for _ in range(12 * count):
            clock.advance(2 * HOUR)
            await vault.refresh_due()
        return (await states_of(vault, dead))[ConnectionState.REAUTHORIZATION_REQUIRED]

    assert await days(3) == 0
    assert {AuditAction.CLIENT_PAUSED, AuditAction.CLIENT_RESUMED} == {action for action, _ in await events_of(vault)}
    assert await days(3) == len(dead)
    assert ConnectionState.REAUTHORIZATION_REQUIRED not in await states_of(vault, alive)


CODES = ["unauthorized_client", "invalid_scope", "invalid_grant", "invalid_client", "invalid_request", None]


@pytest.mark.parametrize("code", CODES)
async def test_a_tenant_in_a_loop_refuses_no_other(opened, clock, server, code):
    bad, good = FLEET[0], FLEET[1:]
    kind = ReauthorizationRequiredError if code == "invalid_grant" else ProviderConfigurationError
    server.dead[bad] = kind(reason=code)
    vaults = [await opened(server.refresher()) for _ in range(2)]
    await connect(vaults[0], [bad, *good[:6]])
    clock.advance(HOUR)
    for vault, account in zip(vaults * 3, good[:6], strict=True):
        for _ in range(4):
            assert isinstance(await failure(vault.refresh_account(bad)), kind)
        assert (await vault.ensure_access_token(account)).value.reveal() == f"access of {account.identifier}"
    assert await events_of(vaults[0]) == []


@both_stores
async def test_a_mended_secret_ends_the_pause_with_one_probe(opened, clock, server):
    wrong, right = await opened(server.refresher(secret="wrong")), await opened(server.refresher())
    await connect(right, FLEET[:6])
    clock.advance(HOUR)
    for account in FLEET[:3]:
        assert (await failure(wrong.ensure_access_token(account))).reason == "invalid_client"
    assert server.requests == 3
    for vault in (wrong, right):
        assert (await failure(vault.ensure_access_token(FLEET[3]))).reason == "invalid_client"
    assert server.requests == 3
    clock.advance(MINUTE)
    # FLEET[0] was refused lately, so it must wait until other accounts have had time to probe.
    assert (await failure(right.ensure_access_token(FLEET[0]))).reason == "invalid_client"
    assert (await right.ensure_access_token(FLEET[3])).value.reveal() == "access of user-003"
    assert (await right.ensure_access_token(FLEET[4])).value.reveal() == "access of user-004"
    assert await events_of(right) == [
        (AuditAction.CLIENT_PAUSED, "invalid_client"),
        (AuditAction.CLIENT_RESUMED, "invalid_client"),
    ]


async def test_a_code_that_was_exchanged_ends_the_pause_of_an_unknown_client(opened, clock, server):
    wrong, right = await opened(server.refresher(secret="wrong")), await opened(server.refresher())
    await connect(right, FLEET[:6])
    clock.advance(HOUR)
    for account in FLEET[:3]:
        assert (await failure(wrong.ensure_access_token(account))).reason == "invalid_client"
    state = await right.states.seal(FLEET[5], "content", bound_to="session")
    await right.store_token_set(FLEET[5], TokenSet("access", "refresh"))  # a host's own tokens say nothing
    assert [reason for _, reason in await events_of(right)] == ["invalid_client"]
    begun = await right.states.open(state, bound_to="session")
    await right.store_token_set(FLEET[5], TokenSet("access", "refresh"), state=begun)
    assert [action for action, _ in await events_of(right)] == [AuditAction.CLIENT_PAUSED, AuditAction.CLIENT_RESUMED]
    assert (await right.ensure_access_token(FLEET[4])).value.reveal() == "access of user-004"


async def test_a_sweep_probes_a_paused_client_once_a_minute(opened, clock, server):
    wrong = [await opened(server.refresher(secret="wrong")) for _ in range(2)]
    await connect(wrong[0], FLEET[:8])
    clock.advance(HOUR)
    await minutes(wrong, clock, 1)
    for _ in range(3):
        server.requests = 0
        for vault in wrong:
            await vault.refresh_due()
        clock.advance(30 * SECOND)
        assert server.requests == 1
        for vault in wrong:
            await vault.refresh_due()
        clock.advance(30 * SECOND)
        assert server.requests == 1


async def test_a_refresh_that_somebody_asks_for_says_that_nothing_is_sent_or_is_the_probe(opened, clock, server):
    wrong, right = await opened(server.refresher(secret="wrong")), await opened(server.refresher())
    await connect(wrong, FLEET[:8])
    paused_at = clock.now()
    for account in FLEET[:3]:
        await failure(wrong.refresh_account(account))
    server.requests = 0
    for account, seconds in ((FLEET[0], 180), (FLEET[3], 60)):
        error = await failure(right.refresh_account(account))
        assert (type(error), error.reason, error.refused) == (ProviderConfigurationError, "invalid_client", False)
        assert str(error) == (
            f"nothing was sent, because the client is paused since {paused_at:%Y-%m-%d %H:%M:%S} UTC;"
            f" sweeps probe it, and this account may probe in {seconds} s (acme, invalid_client)"
        )
    clock.advance(MINUTE)
    assert "the provider refuses" in str(await failure(wrong.refresh_account(FLEET[3])))
    for account in FLEET[:8]:  # the slot of this minute is taken, whoever asks
        assert "nothing was sent" in str(await failure(wrong.refresh_account(account)))
    assert server.requests == 1
    clock.advance(MINUTE)
    assert (await right.refresh_account(FLEET[4])).value.reveal() == f"access of {FLEET[4].identifier}"
    assert (await right.health()).incidents == ()


async def test_a_sweep_takes_nothing_while_its_client_is_paused(opened, clock, server):
    vault = await opened(server.refresher(secret="wrong"))
    await connect(vault, FLEET[:30])
    clock.advance(HOUR)
    for account in FLEET[:3]:
        await failure(vault.ensure_access_token(account))
    assert await vault.refresh_due() == SweepReport()
    clock.advance(MINUTE)
    assert await vault.refresh_due() == SweepReport(claimed=1, failed=1)


@both_stores
async def test_another_clients_grants_are_left_alone_and_its_own_go_on(opened, clock, server):
    old = await opened(server.refresher(client_id="old"))
    await connect(old, FLEET[:6])
    new = await opened(server.refresher())
    await connect(new, FLEET[6:9])
    server.dead = dict.fromkeys(FLEET[:6], ReauthorizationRequiredError(reason="invalid_grant"))
    clock.advance(HOUR)
    for account in FLEET[:6]:
        error = await failure(new.ensure_access_token(account))
        assert (type(error), error.reason) == (ProviderConfigurationError, "client_mismatch")
    assert server.requests == 3
    for account in FLEET[6:9]:
        assert (await new.ensure_access_token(account)).value.reveal() == f"access of {account.identifier}"
    assert await events_of(new) == [(AuditAction.CLIENT_PAUSED, "client_mismatch")]
    assert await states_of(new, FLEET[:3]) == {ConnectionState.RETRYING: 3}
    server.dead = {}  # the provider accepts the grants of the old client, too
    clock.advance(MINUTE)
    for account in FLEET[3:6]:
        await new.ensure_access_token(account)
    assert (await events_of(new))[1:] == [(AuditAction.CLIENT_RESUMED, "client_mismatch")]


@both_stores
async def test_few_dead_grants_are_dead(opened, clock, server):
    vault = await opened(server.refresher())
    await connect(vault, FLEET[:12])
    clock.advance(HOUR)
    server.dead = dict.fromkeys(FLEET[:6], ReauthorizationRequiredError(reason="invalid_grant"))
    for account in FLEET[6:12]:
        await vault.ensure_access_token(account)
    for account in FLEET[:6]:
        assert isinstance(await failure(vault.ensure_access_token(account)), ReauthorizationRequiredError)
    assert await events_of(vault) == []


async def test_every_value_carries_its_client(opened, provider, clock):
    vault = await opened(OAuth2Refresher(provider.token_url, "client", "client-secret"))
    provider.answer(token_answer("access-1", refresh_token="refresh-1"))
    account = FLEET[0]
    keys = [account.key(kind) for kind in (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN)]
    await store(vault, account=account)
    clients = {(await vault.get_token(key)).info.client for key in keys}
    for key in keys:
        await vault.store_token(key, "x")
        clients.add((await vault.get_token(key)).info.client)
    await vault.store_tokens([(key, "y") for key in keys])
    clients |= {(await vault.get_token(key)).info.client for key in keys}
    await vault.refresh_account(account)
    assert await stored(vault, account) == {"access_token": "access-1", "refresh_token": "refresh-1"}
    clients |= {(await vault.get_token(key)).info.client for key in keys}
    [client] = clients
    assert len(client) == 16
    await vault.store_token(account.key(TokenKind.API_KEY), "key")
    assert (await vault.get_token(account.key(TokenKind.API_KEY))).info.client is None


@pytest.mark.parametrize(("code", "status"), [("invalid_grant", 400), ("unauthorized_client", 401), ("odd", 400)])
async def test_a_real_client_that_is_wrong_condemns_nothing(opened, provider, clock, code, status):
    right = await opened(OAuth2Refresher(provider.token_url, "right", "secret"))
    await connect(right, FLEET[:2])
    clock.advance(HOUR)
    wrong = await opened(OAuth2Refresher(provider.token_url, "wrong", "secret"))
    provider.answer(error_answer(code, status=status), token_answer("access-1"))
    error = await failure(wrong.ensure_access_token(FLEET[0]))
    assert (type(error), error.reason) == (ProviderConfigurationError, "client_mismatch")
    assert (await right.get_account(FLEET[0])).reason == "client_mismatch"
    clock.advance(5 * MINUTE)
    assert (await right.ensure_access_token(FLEET[0])).value.reveal() == "access-1"


async def test_a_refresher_that_cannot_name_its_client_refreshes_all_the_same(opened, clock, server, caplog):
    class Broken(Client):
        def client_id_of(self, account):
            raise RuntimeError("secret in a text")

    vault = await opened(Broken(server, "right", "right"))
    await connect(vault, FLEET[:1])
    clock.advance(HOUR)
    assert (await vault.ensure_access_token(FLEET[0])).value.reveal() == "access of user-000"
    assert "RuntimeError" in caplog.text
    assert "secret in a text" not in caplog.text


async def late(text):
    return text


@pytest.mark.parametrize(("name", "kind"), [(late, "coroutine"), (str.encode, "bytes"), (list, "list")])
async def test_a_client_that_is_named_by_no_text_has_no_fingerprint(opened, clock, server, caplog, name, kind):
    class Wrong(Client):
        def client_id_of(self, account):
            return name("secret in a text")

    vault = await opened(Wrong(server, "right", "right"))
    await connect(vault, FLEET[:1])
    clock.advance(HOUR)
    assert (await vault.ensure_access_token(FLEET[0])).value.reveal() == "access of user-000"
    assert (await vault.get_token(FLEET[0].key(TokenKind.REFRESH_TOKEN))).info.client is None
    assert f"could not name its client ({kind})" in caplog.text
    assert "secret in a text" not in caplog.text


async def test_an_outage_is_no_fault_of_the_client(opened, clock, server):
    vault = await opened(server.refresher())
    await connect(vault, FLEET[:6])
    clock.advance(HOUR)
    server.dead = {account: RefreshFailedError(reason="temporarily_unavailable") for account in FLEET[:6]}
    for account in FLEET[:6]:
        assert isinstance(await failure(vault.ensure_access_token(account)), RefreshFailedError)
    assert server.requests == 6
    assert await events_of(vault) == []
