"""Which answers that cannot be read may hold tokens, and how long it takes to tell."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from vault_domain import Rotation
from vault_domain.entities.secret import Secret
from vault_domain.entities.unread_answer import UnreadAnswer
from vault_domain.rules.unread import UNREAD_HOLD, hold_of, holds_tokens


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":"Zx81bQ-7.k"}',
        b"a=Zx81bQ-7",
        b"<a>Zx81bQ-7</a>",
        b"'Zx81bQ-7 '",
        b'{"access_token":1}',
        b"a==Zx81bQ-7&b=1",
    ],
)
def test_what_looks_like_a_token(body):
    assert holds_tokens(body)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{}", b"Zx81bQ-7", b'{"a":"Zx81bQ"}', b'{"a":"maintenance"}', b'{"at":"2026-12-01T10:00:00Z"}'),
        *(b'{"id":"01234567-89ab-cdef-0123-456789abcdef"}', b'{"a":"Zx81bQ-7!"}', b"<!doctype html><a>Zx81bQ-7</a>"),
    ],
)
def test_what_looks_like_no_token(body):
    assert not holds_tokens(body)


@pytest.mark.parametrize("part", [b"=", b"=a", b'"', b": ", b"aaaaaaaa", b"=aaaaaaaa "])
def test_no_text_of_an_endpoint_takes_long(part):
    """A tenant's own instance may send anything, and the event loop stands still meanwhile."""
    started = time.thread_time()
    holds_tokens(part * (16_000 // len(part)) + b"!")
    assert time.thread_time() - started < 1.0


@pytest.mark.parametrize(
    ("rotation", "body", "hold"),
    [
        (Rotation.strict(), '{"access_token":1}', UNREAD_HOLD),
        (Rotation.grace(60), '{"access_token":1}', UNREAD_HOLD),
        (Rotation.strict(), "{}", timedelta(0)),
        (Rotation.non_rotating(), '{"access_token":1}', timedelta(0)),
    ],
)
def test_a_credential_whose_replacement_is_in_a_kept_answer_is_held_back(rotation, body, hold):
    assert hold_of(rotation, UnreadAnswer(200, Secret(body), datetime(2030, 1, 1, tzinfo=UTC))) == hold
