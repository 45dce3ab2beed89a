"""A process that was stopped until after the deadline reads the answer in its socket, and sends no late request."""

import asyncio
import socket
import threading
import time
from contextlib import ExitStack

import httpx2
import pytest
from tests.adapters.providers.asking import failure, refreshed
from tests.support.scripted_provider import FOREVER, Answer, token_answer

from vault_adapters.providers import OAuth2Refresher, http
from vault_adapters.runtime.tasks import AsyncioTasks
from vault_adapters.runtime.time_limit import TimeLimit

DEADLINE, STOPPED = 1.0, 1.3


class Stop:
    """Blocks the event loop once the other side has reached a point; that side goes on meanwhile."""

    def __init__(self):
        self.reached, self.stopped = threading.Event(), threading.Event()

    def meet(self):
        """Called by the other side: it waits until the event loop is blocked."""
        self.reached.set()
        self.stopped.wait(10)

    async def block(self):
        await asyncio.to_thread(self.reached.wait, 10)
        self.stopped.set()
        time.sleep(STOPPED)  # noqa: ASYNC251 - this is the fault


@pytest.fixture
def stop():
    return Stop()


async def test_an_answer_that_came_during_a_stop_is_read(provider, stop):
    def answer(request):
        stop.meet()
        return token_answer("access-2", "refresh-2")

    provider.answer(answer)
    refresher = OAuth2Refresher(provider.token_url, "client", "secret")
    blocking = asyncio.create_task(stop.block())
    tokens = await AsyncioTasks().within(DEADLINE + 0.2, lambda: refreshed(refresher, deadline=DEADLINE))
    assert tokens.refresh_token.reveal() == "refresh-2"
    await blocking


async def test_a_stop_ends_the_exchange_soon_if_there_is_no_answer(provider, stop):
    def answer(request):
        stop.meet()
        return Answer(delay=FOREVER)

    provider.answer(answer)
    blocking = asyncio.create_task(stop.block())
    async with asyncio.timeout(30):
        error = await failure(OAuth2Refresher(provider.token_url, "client", "secret"), deadline=DEADLINE)
    assert error.outcome_unknown
    await blocking


@pytest.fixture
def arrival(stop):
    """A socket in which a byte arrives only while the event loop is blocked."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def write():
        stop.meet()
        theirs.send(b"x")

    thread = threading.Thread(target=write)
    with ours, theirs:
        thread.start()
        yield ours
        thread.join()


async def test_a_request_that_has_not_left_is_not_sent_after_a_stop(stop, arrival):
    sent = []

    async def connect_and_send(request):
        await asyncio.get_running_loop().sock_recv(arrival, 1)
        sent.append(request)
        return httpx2.Response(200, json={"access_token": "access-2"})

    blocking = asyncio.create_task(stop.block())
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(connect_and_send)) as client:
        refresher = OAuth2Refresher("https://provider.example/token", "client", "secret").with_client(client)
        error = await AsyncioTasks().within(DEADLINE + 0.2, lambda: failure(refresher, deadline=DEADLINE))
    assert error.outcome_unknown
    await blocking
    assert sent == []


async def test_a_limit_ends_its_block_in_time_and_leaves_other_cancellations_alone():
    with pytest.raises(TimeoutError):
        async with TimeLimit(0.01, lambda: True):
            await asyncio.sleep(60)
    task = asyncio.create_task(AsyncioTasks().within(60, lambda: asyncio.sleep(60)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with TimeLimit(60):
        pass


async def test_a_request_that_has_left_is_listened_to_after_the_limit_for_sending(provider):
    provider.answer(Answer(json=token_answer("access-2", "refresh-2").json, delay=1.4))
    async with httpx2.AsyncClient(trust_env=False) as client:  # made before the refresh, because making it takes long
        refresher = OAuth2Refresher(provider.token_url, "client", "secret").with_client(client)
        tokens = await refreshed(refresher, deadline=30, send_deadline=1)
    assert tokens.refresh_token.reveal() == "refresh-2"


@pytest.fixture
def full():
    """A TCP port at which further connections hang, because its queue is full."""
    with socket.socket() as listening, ExitStack() as waiting:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(3):
            pending = waiting.enter_context(socket.socket())
            pending.setblocking(False)
            pending.connect_ex(listening.getsockname())
        yield f"//127.0.0.1:{listening.getsockname()[1]}/token"


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_request_that_has_not_left_in_time_was_not_sent(full, scheme):
    async with asyncio.timeout(20):
        error = await failure(OAuth2Refresher(f"{scheme}:{full}", "client", "secret"), deadline=60, send_deadline=0.3)
    assert not error.outcome_unknown


async def slow_answer(request):
    await asyncio.sleep(0.6)
    return httpx2.Response(200, json={"access_token": "access-2", "refresh_token": "refresh-2"})


async def test_a_client_that_does_not_tell_what_it_sends_is_listened_to(monkeypatch):
    monkeypatch.setattr(http, "OVERSLEPT", 10.0)  # a busy machine is no stopped process
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(slow_answer)) as client:
        refresher = OAuth2Refresher("https://provider.example/token", "client", "secret").with_client(client)
        tokens = await refreshed(refresher, deadline=30, send_deadline=0.2)
    assert tokens.refresh_token.reveal() == "refresh-2"


async def test_a_client_that_does_not_tell_what_it_sends_sends_nothing_after_a_stop(stop, arrival):
    sent = []

    async def connect_and_send(request):
        await asyncio.get_running_loop().sock_recv(arrival, 1)
        sent.append(request)
        return httpx2.Response(200, json={"access_token": "access-2"})

    blocking = asyncio.create_task(stop.block())
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(connect_and_send)) as client:
        refresher = OAuth2Refresher("https://provider.example/token", "client", "secret").with_client(client)
        error = await failure(refresher, deadline=60, send_deadline=DEADLINE)
    assert error.outcome_unknown
    await blocking
    assert sent == []


class StoppedBeforeSending(httpx2.AsyncClient):
    """A client whose process is stopped between the call and the first byte of the request."""

    def __init__(self):
        super().__init__()
        self.sent = 0

    async def send(self, request, **_):
        time.sleep(STOPPED)  # noqa: ASYNC251 - this is the fault
        await request.extensions["trace"]("http11.send_request_headers.started", {})
        self.sent += 1
        raise httpx2.ReadError("reset")


async def test_a_process_that_was_stopped_right_before_sending_sends_nothing():
    async with StoppedBeforeSending() as client:
        error = await failure(
            OAuth2Refresher("http://127.0.0.1:9/token", "client", "secret", client=client), deadline=DEADLINE
        )
        assert (client.sent, error.outcome_unknown) == (0, False)
