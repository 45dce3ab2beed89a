import gzip
import http.client
import json
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from tests.support.scripted_provider import (
    FOREVER,
    Answer,
    ReceivedRequest,
    error_answer,
    gzip_bomb,
    oversized_answer,
    redirect_answer,
    refused_url,
    scripted_provider,
    token_answer,
)

pytestmark = pytest.mark.tools

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def exchange(
    url: str, body: bytes = b"", headers: Mapping[str, str] = {}, timeout: float = 10
) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, dict(headers))
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read()
    finally:
        connection.close()


def test_answers_come_in_their_order_then_the_default() -> None:
    with scripted_provider(default=lambda request: token_answer(request.form["n"])) as provider:
        provider.answer(token_answer("a", "r", expires_in=5), error_answer("invalid_grant", description="no"))
        assert provider.unused == 2
        first = exchange(provider.token_url, b"n=1", FORM)
        second = exchange(provider.token_url, b"n=2", FORM)
        third = exchange(provider.token_url, b"n=3", FORM)
    assert first[0] == 200
    assert first[1]["Content-Type"] == "application/json"
    assert json.loads(first[2]) == {
        "access_token": "a",
        "refresh_token": "r",
        "token_type": "Bearer",
        "expires_in": 5,
    }
    assert second[0] == 400
    assert json.loads(second[2]) == {"error": "invalid_grant", "error_description": "no"}
    assert json.loads(third[2])["access_token"] == "3"
    assert provider.unused == 0


def test_requests_are_recorded() -> None:
    with scripted_provider(Answer()) as provider:
        credentials = {"Authorization": "Basic YSUzQWI6cyUyMHQ=", **FORM}  # a%3Ab:s%20t
        exchange(f"{provider.resource_url}?q=1", b"grant_type=refresh_token&x=%C3%A9&empty=", credentials)
        (request,) = provider.wait_for_requests(1)
    assert request.method == "POST"
    assert request.path == "/resource"
    assert request.query == {"q": "1"}
    assert request.form == {"grant_type": "refresh_token", "x": "é", "empty": ""}
    assert request.basic_auth == ("a:b", "s t")
    assert abs((datetime.now(UTC) - request.received_at).total_seconds()) < 10


def test_a_path_has_answers_of_its_own() -> None:
    with scripted_provider(Answer(status=204)) as provider:
        provider.answer(Answer(status=503), path="/revoke")
        status, headers, _ = exchange(provider.token_url)
        assert status == 204
        assert "Content-Length" not in headers
        assert exchange(provider.revocation_url)[0] == 503
        assert exchange(provider.revocation_url)[0] == 204


def test_an_unscripted_request_fails_the_test() -> None:
    with pytest.raises(AssertionError, match=r"POST /token.*nothing scripted"), scripted_provider() as provider:
        assert exchange(provider.token_url)[0] == 500


def test_a_script_that_raises_fails_the_test() -> None:
    def broken(request: ReceivedRequest) -> Answer:
        raise ZeroDivisionError

    with pytest.raises(AssertionError, match="ZeroDivisionError"), scripted_provider(broken) as provider:
        exchange(provider.token_url)


@pytest.mark.parametrize("chunked", [False, True])
def test_ten_mebibytes(chunked: bool) -> None:
    with scripted_provider(oversized_answer(chunked=chunked)) as provider:
        _, headers, body = exchange(provider.token_url)
    assert len(body) > 10 * 1024 * 1024
    assert ("Content-Length" in headers) is not chunked


def test_a_gzip_bomb_is_small_on_the_wire() -> None:
    with scripted_provider(gzip_bomb(16)) as provider:
        _, headers, body = exchange(provider.token_url)
    assert headers["Content-Encoding"] == "gzip"
    assert len(body) < 64 * 1024
    assert len(gzip.decompress(body)) == 16 * 1024 * 1024


def test_headers_redirects_and_retry_after() -> None:
    with scripted_provider() as provider:
        provider.answer(
            redirect_answer(f"{provider.base_url}/elsewhere"),
            error_answer("temporarily_unavailable", status=503).with_headers(Retry_After="7"),
        )
        assert exchange(provider.token_url)[1]["Location"].endswith("/elsewhere")
        assert exchange(provider.token_url)[1]["Retry-After"] == "7"


def test_delays_before_and_within_the_body() -> None:
    with scripted_provider() as provider:
        provider.answer(Answer(delay=0.2, body=b"late"), Answer(body_delay=0.2, body=b"in two parts"))
        for body in (b"late", b"in two parts"):
            started = time.monotonic()
            assert exchange(provider.token_url)[2] == body
            assert time.monotonic() - started >= 0.2


def test_a_client_that_gives_up_does_no_harm() -> None:
    with scripted_provider(token_answer("next")) as provider:
        provider.answer(Answer(delay=0.3, body=b"late"))
        with pytest.raises(TimeoutError):
            exchange(provider.token_url, timeout=0.05)
        assert exchange(provider.token_url)[0] == 200


def test_dropped_connections() -> None:
    with scripted_provider() as provider:
        provider.answer(Answer(drop="rst"), Answer(drop="fin"), Answer(drop="fin", drop_after=3, body=b"abcdef"))
        provider.answer(Answer(drop="rst", drop_after=3, body=b"abcdef", body_delay=0.05))
        with pytest.raises(ConnectionResetError):
            exchange(provider.token_url)
        with pytest.raises(http.client.RemoteDisconnected):
            exchange(provider.token_url)
        with pytest.raises(http.client.IncompleteRead) as cut:
            exchange(provider.token_url)
        assert cut.value.partial == b"abc"
        with pytest.raises(ConnectionResetError):
            exchange(provider.token_url)
        assert len(provider.requests) == 4


def test_closing_interrupts_whoever_waits() -> None:
    failures: list[BaseException] = []

    def wait_for_ever(url: str) -> None:
        try:
            exchange(url, timeout=30)
        except (OSError, http.client.HTTPException) as error:
            failures.append(error)

    started = time.monotonic()
    with scripted_provider(Answer(delay=FOREVER)) as provider:
        client = threading.Thread(target=wait_for_ever, args=(provider.token_url,))
        client.start()
        provider.wait_for_requests(1)
    client.join()
    assert failures
    assert time.monotonic() - started < 5


def test_one_connection_serves_many_requests_and_many_clients_at_once() -> None:
    with scripted_provider(lambda request: Answer(body=request.body)) as provider:

        def client(number: int) -> None:
            connection = http.client.HTTPConnection(urlsplit(provider.base_url).netloc, timeout=10)
            for turn in range(20):
                sent = f"{number}-{turn}".encode()
                connection.request("POST", "/", sent)
                assert connection.getresponse().read() == sent
            connection.close()

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(client, range(16)))
        assert len(provider.requests) == 320


def test_refused_url() -> None:
    with refused_url() as url, pytest.raises(ConnectionRefusedError):
        exchange(url)


def test_a_request_whose_client_dies_while_it_sends_is_no_request():
    with scripted_provider(lambda request: Answer(body=request.body)) as server:
        port = int(server.base_url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123")
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1000) == b""
        assert server.requests == []
