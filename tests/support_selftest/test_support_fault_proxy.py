"""The proxy's faults, with a real server behind it."""

import socket
import threading
import time

import psycopg
import pytest
from tests.support.fault_proxy import fault_proxy

pytestmark = pytest.mark.tools

SHORT = 0.3
LONG = 20.0


@pytest.fixture
def proxy(postgres):
    with fault_proxy(postgres.create_database(f"proxy_{time.monotonic_ns()}")) as proxy:
        yield proxy


def connect(proxy, **options):
    return psycopg.connect(proxy.url, autocommit=True, connect_timeout=10, **options)


def ask(connection):
    return connection.execute("SELECT 1").fetchone()


class Question:
    """A question in a thread; it may hang for as long as the proxy wants."""

    def __init__(self, connection):
        self.outcome = None
        self.thread = threading.Thread(target=self._ask, args=[connection])
        self.thread.start()

    def _ask(self, connection):
        try:
            self.outcome = ask(connection)
        except psycopg.OperationalError as error:
            self.outcome = error

    def hangs(self):
        self.thread.join(SHORT)
        return self.thread.is_alive()

    def answer(self):
        self.thread.join(LONG)
        assert not self.thread.is_alive()
        return self.outcome


def test_it_passes_everything(proxy):
    with connect(proxy) as connection:
        assert ask(connection) == (1,)
        assert connection.execute("SELECT repeat('x', 3000000)").fetchone() == ("x" * 3_000_000,)
        assert proxy.connections == 1


def test_freeze_holds_old_and_new_connections_until_it_heals(proxy):
    with connect(proxy) as connection:
        proxy.freeze()
        question = Question(connection)
        assert question.hangs()
        with socket.create_connection(("127.0.0.1", connection.info.port), timeout=LONG) as other:
            other.settimeout(SHORT)
            other.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f")  # SSLRequest; a server answers it with one byte
            with pytest.raises(TimeoutError):
                other.recv(1)
        proxy.heal()
        assert question.answer() == (1,)


def test_silence_is_for_the_old_connections_only_and_for_ever(proxy):
    old = connect(proxy)
    proxy.silence()
    question = Question(old)
    with connect(proxy) as new:
        assert ask(new) == (1,)
        proxy.heal()
        assert question.hangs()
        proxy.reset()  # only so that the thread ends
        assert isinstance(question.answer(), psycopg.OperationalError)


def test_reset_ends_the_old_connections(proxy):
    old = connect(proxy)
    proxy.reset()
    with pytest.raises(psycopg.OperationalError):
        ask(old)
    with connect(proxy) as new:
        assert ask(new) == (1,)


def test_refuse_lets_nobody_in_until_it_heals_on_the_same_port(proxy):
    old, url = connect(proxy), proxy.url
    proxy.refuse()
    with pytest.raises(psycopg.OperationalError):
        ask(old)
    with pytest.raises(psycopg.OperationalError):
        connect(proxy)
    proxy.heal()
    assert proxy.url == url
    with connect(proxy) as new:
        assert ask(new) == (1,)


def test_slow_delays_each_direction(proxy):
    with connect(proxy) as connection:
        proxy.slow(SHORT)
        begin = time.monotonic()
        assert ask(connection) == (1,)
        assert time.monotonic() - begin >= 2 * SHORT
        proxy.heal()
        assert ask(connection) == (1,)
