"""The page about faults has a row for each fault that is measured, and names each rule of the checker."""

from pathlib import Path

import pytest
from tests.storms.peers import PEER_FAULTS
from tests.storms.scenes import FAULTS
from tests.storms.table import BEGIN, END
from tests.support.history import RULES

PAGE = (Path(__file__).resolve().parents[2] / "docs/explanation/faults.md").read_text()


@pytest.mark.parametrize("title", [*(fault.title for fault in FAULTS), *PEER_FAULTS])
def test_a_measured_fault_has_one_row(title):
    measured = PAGE[PAGE.index(BEGIN) : PAGE.index(END)]
    assert measured.count(f"\n| {title} | ") == 1


def test_each_rule_is_explained():
    head = "| rule | means |\n| --- | --- |\n"
    table = PAGE[PAGE.index(head) + len(head) :].partition("\n\n")[0]
    assert len(table.splitlines()) == len(RULES)
