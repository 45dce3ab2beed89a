"""The page about reconnects has a table for each kind of provider that is measured; its chart shows these tables."""

from pathlib import Path

import pytest
from tests.simulation.chart import draw
from tests.simulation.oracle import RULES
from tests.simulation.table import (
    ALGORITHMS,
    BEGIN,
    END,
    LIBRARIES_BEGIN,
    LIBRARIES_END,
    LIBRARY_KINDS,
    TITLES,
    WITH_LIBRARIES,
    bars,
)

PATH = Path(__file__).resolve().parents[2] / "docs/explanation/no-false-reconnects.md"
WHOLE = PATH.read_text()
OF_LIBRARIES = WHOLE[WHOLE.index(LIBRARIES_BEGIN) : WHOLE.index(LIBRARIES_END)]
PAGE = WHOLE.replace(OF_LIBRARIES, "")
MEASURED = PAGE[PAGE.index(BEGIN) : PAGE.index(END)]
SHOWN = bars(MEASURED)


def test_each_kind_of_provider_has_a_table():
    assert list(SHOWN) == list(TITLES.values())


@pytest.mark.parametrize("title", TITLES.values())
def test_each_algorithm_has_a_row(title):
    assert list(SHOWN[title]) == list(ALGORITHMS.values())


def test_the_chart_is_drawn_from_the_tables():
    assert PATH.with_suffix(".svg").read_text() == draw(SHOWN, list(ALGORITHMS.values()))


@pytest.mark.parametrize("name", ALGORITHMS.values())
def test_each_algorithm_is_explained(name):
    assert PAGE.count(f"\n| {name} | ") == len(TITLES) + 1


def test_each_library_has_a_row_in_each_table_of_libraries():
    shown = bars(OF_LIBRARIES)
    assert list(shown) == [TITLES[kind] for kind in LIBRARY_KINDS]
    assert all(list(rows) == list(WITH_LIBRARIES.values()) for rows in shown.values())


def test_each_rule_is_explained():
    head = "| rule | means |\n| --- | --- |\n"
    rows = PAGE[PAGE.index(head) + len(head) :].partition("\n\n")[0].splitlines()
    assert sorted(row.split(" | ")[0].removeprefix("| ") for row in rows) == sorted(RULES)
