"""Heads of an audit log, which `audit verify` reads from files, and the first seal, by which it finds its keys."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.fuzz.target import Run, Target

from vault_adapters.cli.commands.audit import parsed_heads
from vault_adapters.runtime.json_forms import as_json
from vault_domain.entities.audit_chain import AuditHead
from vault_domain.entities.errors import InvalidInputError
from vault_domain.rules.audit_chain import sealed_key


@contextmanager
def _opened() -> Iterator[Run]:
    yield _read


def _read(data: bytes) -> None:
    sealed_key(data)  # anybody may have made the first seal
    for head in parsed_heads(data.decode("latin-1")):
        assert AuditHead.of_json(as_json(head)) == head


HEADS = Target(
    "heads",
    _opened,
    (InvalidInputError,),
    (
        *(b'{"seal": ', b'"digest": ', b'"events": ', b'"latest": ', b'"chain": ', b'"chain_digest": ', b'"mac": '),
        *(
            b'{"key": ["',
            b'", "',
            b"null",
            b"1e9",
            b"-1",
            b"9223372036854775808",
            b'"2030-01-01T00:00:00Z"',
            b'"0001-01-01T00:00:00+14:00"',
        ),
        *(b"\n", b",", b"}", b"true", b"0" * 64, b"NaN"),
    ),
)
