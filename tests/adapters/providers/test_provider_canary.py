"""A provider that echoes credentials everywhere leaves no trace of them."""

import asyncio
import logging
import traceback
from contextlib import asynccontextmanager, contextmanager

import anyio
import httpx
import httpx2
import pytest
from attrs import evolve
from tests.adapters.providers import asking
from tests.adapters.providers.asking import failure, refreshed, request_for, revocation_of
from tests.support.scripted_provider import FOREVER, Answer, error_answer, redirect_answer, token_answer

from vault_adapters.providers import (
    ClientCredentialsRefresher,
    GreenInvoiceRefresher,
    MetaTokenExchangeRefresher,
    OAuth2Refresher,
)
from vault_domain.entities.errors import VaultError
from vault_domain.entities.secret import Secret

CANARIES = {
    "refresh": "canary-refresh-4711",
    "secret": "canary-secret-4711",
    "access": "canary-access-4711",
    "next": "canary-next-4711",
}
ECHO = " ".join(CANARIES.values())
ECHOING_HEADERS = {"X-Debug": ECHO, "Set-Cookie": f"t={CANARIES['next']}", "WWW-Authenticate": f'Bearer error="{ECHO}"'}
MARK = "canary-"
OWN_FILES = {__file__, asking.__file__}


def echoing(answer):
    return evolve(answer, headers={**answer.headers, **ECHOING_HEADERS})


FAILURES = {
    "invalid_grant": error_answer("invalid_grant", description=ECHO),
    "invalid_client": error_answer("invalid_client", status=401, description=ECHO),
    "unregistered": error_answer(CANARIES["refresh"], description=ECHO),
    "success_with_error": Answer(json={"error": "invalid_scope", "error_uri": f"https://p.example/{ECHO}"}),
    "server_error": Answer(status=500, body=ECHO.encode()),
    "busy": Answer(status=503, headers={"Retry-After": ECHO}),
    "redirect": redirect_answer(f"https://elsewhere.example/?token={CANARIES['refresh']}"),
    "html": Answer(body=f"<html>{ECHO}".encode()),
    "cut": Answer(json={"access_token": CANARIES["access"]}, drop="rst", drop_after=20),
    "not_http": Answer(headers={"Content-Length": CANARIES["access"]}),
    "no_access_token": Answer(json={"refresh_token": CANARIES["next"], "error": ECHO}),
    "unusable": Answer(json={"access_token": [CANARIES["access"]], "scope": ECHO}),
    "slow": Answer(delay=FOREVER),
    "dropped": Answer(drop="fin"),
}


@pytest.fixture(autouse=True)
def records():
    """All log records, from DEBUG on."""
    kept = []

    class Keeper(logging.Handler):
        def emit(self, record):
            kept.append(record)

    handler = Keeper()
    # A host that sets the level of the logger for descriptions itself asks for what the provider says.
    asked = {"vault_adapters.providers.descriptions"}
    names = {*logging.root.manager.loggerDict, "httpx", "httpx2"} - asked
    loggers = [logging.root, *(logging.getLogger(name) for name in names)]
    before = [(logger, logger.level) for logger in loggers]
    logging.root.addHandler(handler)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    yield kept
    logging.root.removeHandler(handler)
    for logger, level in before:
        logger.setLevel(level)


def logged(records):
    formatter = logging.Formatter("%(name)s %(message)s")
    return "\n".join(formatter.format(record) + repr(record.__dict__) for record in records)


@asynccontextmanager
async def own_client():
    yield None


CLIENTS = {"own": own_client, "httpx2": httpx2.AsyncClient, "httpx": httpx.AsyncClient}


def refreshers(provider):
    fields = Secret.from_fields
    return [
        (OAuth2Refresher(provider.token_url, "client", CANARIES["secret"]), Secret(CANARIES["refresh"])),
        (
            OAuth2Refresher(
                provider.token_url, "client", CANARIES["secret"], auth_method="client_secret_post", extra={"k": "v"}
            ),
            Secret(CANARIES["refresh"]),
        ),
        (
            ClientCredentialsRefresher(provider.token_url),
            fields(client_id="machine", client_secret=CANARIES["secret"]),
        ),
        (
            MetaTokenExchangeRefresher("app", CANARIES["secret"], token_url=provider.token_url),
            Secret(CANARIES["access"]),
        ),
        (GreenInvoiceRefresher(provider.token_url), fields(id="key", secret=CANARIES["secret"])),
    ]


def rendered(error):
    """Show an error and its chain with the locals of all frames, without the frames of the code that asked."""
    shown = []
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename in OWN_FILES:
            frames = frames.tb_next
        trace = traceback.TracebackException(type(error), error, frames, capture_locals=True)
        shown += ["".join(trace.format()), repr(error), str(error), repr(error.args), repr(vars(error))]
        error = error.__cause__ or error.__context__
    return "\n".join(shown)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("kind", FAILURES)
async def test_a_failure_shows_nothing(provider, records, kind, client):
    asyncio.get_running_loop().set_debug(True)
    async with CLIENTS[client]() as http:
        for refresher, credential in refreshers(provider):
            provider.answer(echoing(FAILURES[kind]))
            error = await failure(refresher.with_client(http), credential, deadline=0.2 if kind == "slow" else 5)
            assert MARK not in rendered(error)
            assert (error.__cause__, error.__context__) == (None, None)
    assert records
    assert MARK not in logged(records)


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_success_shows_nothing(provider, records, client):
    async with CLIENTS[client]() as http:
        for refresher, credential in refreshers(provider):
            answer = token_answer(CANARIES["access"], CANARIES["next"], token=CANARIES["access"])
            provider.answer(echoing(answer))
            tokens = await refreshed(refresher.with_client(http), credential)
            assert tokens.access_token.reveal() == CANARIES["access"]
            assert MARK not in repr(tokens)
            assert MARK not in repr(refresher)
    assert MARK not in logged(records)


async def test_a_revocation_shows_nothing(provider, records):
    for answer in (Answer(), error_answer("invalid_request", description=ECHO), Answer(drop="rst")):
        provider.answer(echoing(answer))
        refresher = OAuth2Refresher(
            provider.token_url, "client", CANARIES["secret"], revocation_url=provider.revocation_url
        )
        await refresher.revoke(revocation_of(CANARIES["refresh"]))
    assert MARK not in logged(records)


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_cancellation_shows_nothing(provider, records, client):
    async with CLIENTS[client]() as http:
        for refresher, credential in refreshers(provider):
            provider.answer(Answer(delay=FOREVER))
            seen = len(provider.requests)
            call = asyncio.create_task(refresher.with_client(http).refresh(request_for(refresher, credential)))
            await anyio.to_thread.run_sync(provider.wait_for_requests, seen + 1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await call
            assert MARK not in rendered(caught.value)
    assert MARK not in logged(records)


async def test_a_cancellation_in_the_middle_of_sending_shows_nothing():
    sending = asyncio.Event()

    async def hangs(request):
        body = request.content
        sending.set()
        await asyncio.sleep(60)
        return httpx2.Response(200, content=body)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(hangs)) as client:
        refresher = OAuth2Refresher("https://p.example/token", "client", CANARIES["secret"]).with_client(client)
        call = asyncio.create_task(refresher.refresh(request_for(refresher, Secret(CANARIES["refresh"]))))
        await sending.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await call
    assert "in refresh" in rendered(caught.value)
    assert MARK not in rendered(caught.value)


async def test_a_broken_client_shows_nothing(records):
    async def breaks(request):
        raise LookupError(CANARIES["refresh"], request.content)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(breaks)) as client:
        refresher = OAuth2Refresher("https://p.example/token", "client", CANARIES["secret"]).with_client(client)
        error = await failure(refresher, Secret(CANARIES["refresh"]))
    assert error.outcome_unknown
    assert MARK not in rendered(error)


def test_a_wrong_argument_shows_nothing():
    url = f"http://p.example/{CANARIES['refresh']}"
    for arguments in ((url, "client", CANARIES["secret"]), ("https://p.example", "client\n", CANARIES["secret"])):
        with pytest.raises(VaultError) as caught:
            OAuth2Refresher(*arguments)
        assert MARK not in rendered(caught.value)


@contextmanager
def _listening(name):
    kept = []
    handler = logging.Handler()
    handler.emit = kept.append
    logging.getLogger(name).addHandler(handler)
    yield kept
    logging.getLogger(name).removeHandler(handler)


@pytest.mark.parametrize("name", ["httpx2", "httpcore2.http11"])
async def test_a_hosts_own_requests_are_logged_as_ever(provider, name):
    provider.answer_always(lambda request: token_answer("access-2") if request.method == "POST" else Answer(delay=0.2))
    logger = logging.getLogger(name)
    with _listening(name) as kept:
        async with httpx2.AsyncClient() as client, anyio.create_task_group() as tasks:
            refresher = OAuth2Refresher(provider.token_url, "client", "secret").with_client(client)
            tasks.start_soon(client.get, provider.resource_url)
            tasks.start_soon(refreshed, refresher)
        assert kept
        assert all("/token" not in record.getMessage() for record in kept)
    assert logger.filters == []


@pytest.mark.parametrize("name", ["httpx2", "httpcore2.http11"])
async def test_a_hosts_own_requests_are_logged_in_the_middle_of_an_exchange(provider, name):
    provider.answer_always(lambda request: Answer(delay=FOREVER) if request.method == "POST" else Answer())
    with _listening(name) as kept:
        async with httpx2.AsyncClient() as client, anyio.create_task_group() as tasks:
            refresher = OAuth2Refresher(provider.token_url, "client", "secret").with_client(client)
            tasks.start_soon(refreshed, refresher)
            while not provider.requests:  # noqa: ASYNC110 - the server runs in a thread of its own
                await anyio.sleep(0.005)
            assert kept == []
            await client.get(provider.resource_url)
            assert kept != []
            tasks.cancel_scope.cancel()
