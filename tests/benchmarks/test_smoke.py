"""Each benchmark case that needs no peers runs, with next to nothing to do."""

import asyncio

import pytest
from tests.benchmarks.__main__ import run_cases
from tests.benchmarks.bench import Bench
from tests.benchmarks.cases import CASES
from tests.benchmarks.chart import draw
from tests.benchmarks.findings import Bar, Goal
from tests.benchmarks.page import render
from tests.benchmarks.timing import Contestant, Series, interleave

pytestmark = pytest.mark.tools


@pytest.mark.parametrize("case", [case for case in CASES if not case.needs_peers], ids=lambda case: case.name)
def test_each_case_runs_and_shows_on_the_page(case, postgres):
    bench = Bench(postgres, quick=True, profiled=case.name == "crypto", say=lambda line: None)
    asyncio.run(run_cases(bench, [case]))
    page = render(bench, [case], "a server", None)
    assert bench.findings
    assert all(finding.subject in page for finding in bench.findings)


def test_contestants_take_turns_and_the_first_round_does_not_count():
    turns = []

    def contestant(name):
        async def work():
            turns.append(name)
            return 1

        return Contestant(name, work)

    series = asyncio.run(interleave([contestant("a"), contestant("b")], 2))
    assert sorted(turns[:2]) == sorted(turns[2:4]) == sorted(turns[4:]) == ["a", "b"]
    assert turns[2:4] != turns[4:]
    assert {name: len(found.seconds) for name, found in series.items()} == {"a": 2, "b": 2}


def test_a_ratio_compares_blocks_of_the_same_round():
    spread = Series((2.0, 20.0, 200.0)).over(Series((1.0, 10.0, 100.0)))
    assert (spread.low, spread.middle, spread.high) == (2.0, 2.0, 2.0)


def test_goals_are_limits_from_above_or_from_below():
    assert Goal(1.3).met_by(1.3)
    assert not Goal(1.3).met_by(1.31)
    assert Goal(3, at_least=True).met_by(3)
    assert not Goal(3, at_least=True).met_by(2.9)


def test_the_chart_escapes_its_labels():
    assert "a &lt; b" in draw([Bar("one", "a < b", 0.1), Bar("one", "c", 30.0, ours=True)], "times")
