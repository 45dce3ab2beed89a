"""Texts that a spreadsheet would run: CSV guards them, and an import restores them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vault_adapters.importing.formulas import guard, unguard

FORMULAS = [
    "=1+1",
    "+972501234567",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1",
    "\uff0b1",
    "\uff0d1",
    "\uff201",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(text):
    assert guard(text) == f"'{text}"
    assert guard(f"'{text}") == f"''{text}"


@pytest.mark.parametrize("text", ["", "ann@example.com", "a=b", "'", "'a", "''", " =1", "ünï"])
def test_other_texts_stay(text):
    assert guard(text) == unguard(text) == text


@given(st.text(st.sampled_from("'=+-@\t\r\na ")) | st.text())
@example("'=")
def test_every_text_comes_back(text):
    assert unguard(guard(text)) == text
