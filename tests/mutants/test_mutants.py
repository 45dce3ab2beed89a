"""The list of bugs fits the source, and the runner finds out which bugs the tests detect."""

import sys

import pytest
from attrs import evolve
from tests.mutants.entries import EntryError, Mutant, StaleError, chosen, load, stale
from tests.mutants.runs import Verdict, copy_of, mutated, run_tests, run_together

pytestmark = pytest.mark.tools

SOURCE = "def double(number):\n    return 2 * number\n"
TESTS = f"""
import subprocess
from sample import double

def test_before():
    assert double(2) == 4

def test_in_a_child_process():
    code = "from sample import double; print(double(3))"
    assert subprocess.run([{sys.executable!r}, "-c", code], capture_output=True).stdout == b"6\\n"
"""
BUG = Mutant("sample", "adds", "src/sample.py", "2 * number", "2 + number", ("tests/test_sample.py",))


@pytest.fixture
def tree(tmp_path):
    for name, text in {"src/sample.py": SOURCE, "tests/test_sample.py": TESTS, "pyproject.toml": ""}.items():
        path = tmp_path / "origin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "origin"


def test_no_entry_is_stale():
    assert list(stale(load()).values()) == []


def test_entries_can_be_chosen_by_the_beginning_of_their_title_or_by_a_pattern():
    mutants = load()
    titles = [mutant.title for mutant in mutants]
    assert chosen(mutants, []) == mutants
    assert {mutant.group for mutant in chosen(mutants, ["crypto/"])} == {"crypto"}
    assert chosen(mutants, [titles[0]]) == [mutants[0]]
    assert chosen(mutants, ["*/*"]) == mutants
    assert chosen(mutants, ["nothing"]) == []


def test_a_bug_is_seen_by_the_tests_that_run_over_it(tree):
    with copy_of(tree) as base:
        assert run_tests(base, BUG.tests, 60).verdict is Verdict.PASSED
        with mutated(base, BUG) as copy:
            run = run_tests(copy, ["tests/test_sample.py::test_in_a_child_process"], 60)
            assert (run.verdict, run.test) == (Verdict.FAILED, "tests/test_sample.py::test_in_a_child_process")
            assert run_tests(copy, ["tests/test_sample.py::test_gone"], 60).verdict is Verdict.BROKEN
    assert (tree / "src/sample.py").read_text() == SOURCE


def test_selections_without_a_bug_run_in_one_process(tree):
    selections = [("tests/test_sample.py::test_before",), BUG.tests]
    with copy_of(tree) as base:
        alone, both = run_together(base, selections, 60)
        assert (alone.verdict, both.verdict) == (Verdict.PASSED, Verdict.PASSED)
        assert 0 < alone.seconds <= both.seconds


def test_a_selection_that_fails_without_a_bug_hides_no_other(tree):
    selections = [("tests/test_sample.py::test_before",), ("tests/test_sample.py::test_gone",)]
    with copy_of(tree) as base:
        assert [run.verdict for run in run_together(base, selections, 60)] == [Verdict.PASSED, Verdict.BROKEN]


def test_tests_that_do_not_end_are_ended(tree):
    with copy_of(tree) as base, mutated(base, evolve(BUG, new="__import__('time').sleep(99)")) as copy:
        run = run_tests(copy, BUG.tests, 2)
    assert run.verdict is Verdict.HUNG
    assert run.seconds < 30


@pytest.mark.parametrize("text", ["", "return 2 * number, 2 * number"])
def test_a_text_that_does_not_stand_there_once_is_stale(text):
    with pytest.raises(StaleError):
        BUG.applied_to(text)


def test_in_a_file_of_sql_a_statement_may_be_named():
    text = "-- name: one\na AND b\n\n-- name: two\na AND b\n\n-- name: three\na\n"
    bug = Mutant("sample", "drops b", "src/a.sql", " AND b", "", ("tests",), query="two")
    assert bug.applied_to(text) == text.replace("two\na AND b", "two\na")
    for query in ("three", "four"):
        with pytest.raises(StaleError):
            evolve(bug, query=query).applied_to(text)


def test_what_is_no_longer_there_is_stale(tree):
    gone = [
        evolve(BUG, file="src/gone.py"),
        evolve(BUG, tests=("tests/test_gone.py",)),
        evolve(BUG, tests=("tests/test_sample.py::test_gone",)),
        evolve(BUG, old="3 * number"),
    ]
    assert list(stale([BUG, *gone], tree)) == gone


@pytest.mark.parametrize(
    "entry",
    [
        'name = "a"\nfile = "b"\nold = "c"\nnew = "d"',
        'name = "a"\nfile = "b"\nold = "c"\nnew = "c"\ntests = ["e"]',
        'name = "a"\nfile = "b"\nold = "c"\nnew = "d"\ntests = []',
        'name = "a"\nfile = "b"\nold = "c"\nnew = "d"\ntests = ["e"]\nother = 1',
    ],
    ids=["tests missing", "no bug", "no test", "unknown member"],
)
def test_bad_entries_are_refused(tmp_path, entry):
    (tmp_path / "sample.toml").write_text(f"[[mutant]]\n{entry}\n")
    with pytest.raises(EntryError):
        load(tmp_path)


def test_two_entries_of_one_name_are_refused(tmp_path):
    entry = '[[mutant]]\nname = "a"\nfile = "b"\nold = "c"\nnew = "d"\ntests = ["e"]\n'
    (tmp_path / "sample.toml").write_text(2 * entry)
    with pytest.raises(EntryError):
        load(tmp_path)
