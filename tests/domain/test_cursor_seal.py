"""Cursors of the audit log give back the exact position, do not show it, and are accepted by one listing only."""

import base64
import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.domain.leaks import assert_refused, run

from vault_domain.entities.cursor_seal import CursorSeal
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.key_records import MasterKeyRecord, MasterKeyState
from vault_domain.services.tokens.vault_seal import VaultSeal

SEAL = CursorSeal(b"material of one vault")
NUMBERS = st.integers(-(2**63), 2**63 - 1)
TENANTS = st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=255)


def decoded(cursor):
    return base64.b64decode(cursor + "=", b"._", validate=True)


def test_no_cursor_looks_like_an_option_of_a_command_line():
    cursors = [SEAL.seal((1, number), "t1") for number in range(500)]
    assert not any(cursor.startswith("-") for cursor in cursors)


@given(NUMBERS, NUMBERS, TENANTS)
def test_every_position_comes_back(first, second, tenant):
    cursor = SEAL.seal((first, second), tenant)
    assert len(cursor) == 43
    assert SEAL.open(cursor, tenant) == (first, second)
    assert CursorSeal(b"material of one vault").seal((first, second), tenant) == cursor


@pytest.mark.parametrize("tenant", ["t2", None, "T1", "t1 "])
def test_a_cursor_is_for_one_listing_of_one_vault(tenant):
    cursor = SEAL.seal((7, 9), "t1")
    with pytest.raises(InvalidInputError):
        SEAL.open(cursor, tenant)
    with pytest.raises(InvalidInputError):
        CursorSeal(b"another vault").open(cursor, "t1")


def test_neighbours_look_unrelated():
    bits = [int.from_bytes(decoded(SEAL.seal((1, number), "t1"))) for number in range(200)]
    distances = [(a ^ b).bit_count() for a, b in itertools.pairwise(bits)]
    assert min(distances) > 80  # of 256
    assert 120 < sum(distances) / len(distances) < 136
    assert bits != sorted(bits)


def test_every_changed_bit_is_refused():
    raw = decoded(SEAL.seal((7, 9), "t1"))
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InvalidInputError):
            SEAL.open(base64.b64encode(changed, b"._").decode().rstrip("="), "t1")


@pytest.mark.parametrize("after", ["canary" * 7 + "A", "canary" * 7 + "=", "canary é" * 5 + "ééé", "canary" * 20_000])
def test_an_invented_cursor_is_refused_without_a_trace(after):
    assert_refused(lambda: SEAL.open(after, "t1"), "canary")


@pytest.mark.parametrize("after", ["", "x", 5, b"A" * 43, "WzEsMV0", ["A" * 43]])
def test_what_is_no_cursor_is_refused(after):
    with pytest.raises(InvalidInputError):
        SEAL.open(after, "t1")


def test_no_cursor_is_the_beginning():
    assert SEAL.open(None, "t1") is None


class Keys:
    """The records of master keys."""

    def __init__(self, *records):
        self._records = list(records)
        self.reads = 0

    async def master_keys(self):
        self.reads += 1
        return self._records


NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
FIRST = MasterKeyRecord(b"f" * 16, "local", check_value=b"c" * 32, created_at=NOON)
SECOND = MasterKeyRecord(b"a" * 16, "local", check_value=b"d" * 32, created_at=NOON + timedelta(days=1))


def cursor_of(keys):
    return run(VaultSeal(keys).get()).seal((7, 9), "t1")


def test_a_rotation_of_master_keys_leaves_cursors_as_they_are():
    retired = MasterKeyRecord(
        FIRST.key_id, "local", check_value=FIRST.check_value, state=MasterKeyState.RETIRED, created_at=NOON
    )
    assert cursor_of(Keys(FIRST)) == cursor_of(Keys(SECOND, retired))
    assert cursor_of(Keys(FIRST)) != cursor_of(Keys(SECOND))


def test_the_records_are_read_once():
    keys = Keys(FIRST)
    seal = VaultSeal(keys)
    assert run(seal.get()) is run(seal.get())
    assert keys.reads == 1
