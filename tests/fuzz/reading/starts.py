"""How a provider answers when a connection begins: to a pushed request, and to a request for a code for devices."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from tests.fuzz.target import CANARY, Run, Target

from vault_adapters.connect.authorization import _reference
from vault_adapters.connect.device import _start
from vault_adapters.providers.http import Incoming
from vault_domain.entities.account import Account
from vault_domain.entities.errors import ConnectError, ProviderConfigurationError

_OWNER = Account("t1", "local")


@contextmanager
def _opened() -> Iterator[Run]:
    yield _read


def _read(data: bytes) -> None:
    status = 400 if data.startswith(b"4") else 200
    answer = Incoming(status, {}, data, datetime.now(UTC))
    refusal = None
    try:
        assert _reference(answer).isprintable()
    except (ConnectError, ProviderConfigurationError) as error:
        refusal = error
    start = _start(answer, _OWNER, ())
    assert start.user_code.isprintable()
    assert start.verification_uri.startswith(("https://", "http://"))
    assert 1 <= start.interval <= 60
    assert CANARY not in f"{refusal}{start!r}" or CANARY in start.verification_uri


STARTS = Target(
    "starts",
    _opened,
    (ConnectError, ProviderConfigurationError),
    (
        *(b'"request_uri":', b'"device_code":', b'"user_code":', b'"verification_uri":', b'"verification_url":'),
        *(b'"expires_in":', b'"interval":', b'"verification_uri_complete":', b'"https://a.example/"', b"1e999", b"-1"),
        *(b"null", b"[", b"{", b"}", b'"\\ud800"', b'"\\u001b"', b"4", CANARY.encode()),
    ),
)
