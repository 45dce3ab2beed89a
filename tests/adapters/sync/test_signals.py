"""Whether a signal handler is running is told by the frames of the main thread."""

import functools
import signal
import threading

import pytest

from vault_adapters.sync.signals import in_signal_handler


class Callable:
    def __init__(self):
        self.seen = []

    def __call__(self, *_):
        self.seen.append(in_signal_handler())

    def method(self, *_):
        self.seen.append(in_signal_handler())


@pytest.fixture(params=["object", "method", "partial", "lambda"])
def handler(request):
    found = Callable()
    kinds = {
        "object": found,
        "method": found.method,
        "partial": functools.partial(found.method, None),
        "lambda": lambda *_: found.method(),
    }
    before = signal.signal(signal.SIGUSR1, kinds[request.param])
    yield found
    signal.signal(signal.SIGUSR1, before)


def test_inside_and_outside(handler):
    assert not in_signal_handler()
    signal.raise_signal(signal.SIGUSR1)
    assert handler.seen == [True]
    assert not in_signal_handler()


def test_another_thread_is_in_none(handler):
    thread = threading.Thread(target=handler.method)
    thread.start()
    thread.join()
    assert handler.seen == [False]
