"""A statement is fitted to what it writes: its parts and its rows."""

import re

import pytest

from vault_adapters.stores.postgres.shaping import Shape, row_of, shaped
from vault_adapters.stores.postgres.statements import load_statements

PARTS = "SELECT 1/*a*/, 2/*b*/, 3/*end b*//*end a*//*b*/, 4/*end b*/"
SQL = f"{PARTS} FROM (VALUES /*each x*/(%(x0_n)b, %(x0_m)b)/*end each*/)"
LAST = " FROM (VALUES (%(x0_n)b, %(x0_m)b))"


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [((), "SELECT 1"), (("a",), "SELECT 1, 2"), (("b",), "SELECT 1, 4"), (("a", "b"), "SELECT 1, 2, 3, 4")],
)
def test_a_part_stays_only_if_it_is_wanted(parts, wanted):
    assert shaped(SQL, Shape(frozenset(parts), (("x", range(1)),))) == wanted + LAST


def test_each_row_has_parameters_of_its_own():
    sql = shaped(SQL, Shape(frozenset(), (("x", range(1, 3)),)))
    assert sql.endswith("VALUES (%(x1_n)b, %(x1_m)b), (%(x2_n)b, %(x2_m)b))")


def test_a_row_casts_each_parameter():
    assert row_of({"kind": "text", "id": "uuid"}, "w") == "%(w0_kind)b::text, %(w0_id)b::uuid"


@pytest.mark.parametrize("distributed", [False, True])
@pytest.mark.parametrize("is_whole", [False, True])
def test_each_part_of_a_statement_ends(distributed, is_whole):
    """A part without an end would always stay."""
    queries = load_statements("vault", distributed=distributed)
    for name in queries:
        parts = re.findall(r"/\*(\w+)\*/", queries[name]) if is_whole else []
        rows = tuple((each, range(1)) for each in ("inserted", "updated", "event"))
        assert "/*" not in shaped(queries[name], Shape(frozenset(parts), rows)), name
