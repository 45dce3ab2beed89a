"""What an API says in ``WWW-Authenticate`` when it asks the user for more."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.fuzz.target import CANARY, Run, Target

from vault_adapters.clients.challenges import asked_for
from vault_adapters.connect.arguments import challenged
from vault_domain.entities.account import Account

_ACCOUNT = Account("tenant", "acme", "ann")


@contextmanager
def _opened() -> Iterator[Run]:
    yield _read


def _read(data: bytes) -> None:
    error = asked_for(data.decode("latin-1").split("\n"), _ACCOUNT)
    if error is None:
        return
    assert CANARY not in f"{error} {error!r}"
    account, scopes, parameters = challenged(error, None)  # whatever an API asks for can be requested
    assert (account, bool(scopes or parameters)) == (_ACCOUNT, True)
    assert isinstance(json.loads(parameters.get("claims", "{}")), dict)
    assert all(text.isascii() and text.isprintable() for text in (*scopes, *parameters.values()))


CHALLENGES = Target(
    "challenges",
    _opened,
    (),
    (
        *(b"Bearer ", b'error="insufficient_scope"', b'error="insufficient_claims"', b"scope=", b'claims="e30"'),
        *(b"acr_values=", b"max_age=", b'"', b"\\", b"=", b",", b" ", b"\n", b"eyJhIjpb", b"-_", CANARY.encode()),
    ),
)
