"""Tests derive cheaply unless they are marked, and their children derive as they do."""

import hashlib

import pytest
from tests.support.processes import Call, run_processes

pytestmark = pytest.mark.tools

# RFC 7914 section 12; the test vectors' third line.
PUBLISHED = "fdbabe1c9d347200"


def derived() -> str:
    return hashlib.scrypt(b"password", salt=b"NaCl", n=1024, r=8, p=16, dklen=64).hex()[:16]


def test_a_test_derives_cheaply_and_so_does_its_child() -> None:
    assert derived() != PUBLISHED
    assert run_processes([Call(derived)]) == [derived()]


@pytest.mark.real_scrypt
def test_a_marked_test_derives_as_in_production_and_so_does_its_child() -> None:
    assert derived() == PUBLISHED
    assert run_processes([Call(derived)]) == [PUBLISHED]
