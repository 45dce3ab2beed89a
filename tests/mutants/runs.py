"""Running chosen tests in a copy of the tree, so that they and their child processes use the mutated source."""

import enum
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import frozen
from tests.mutants.entries import Mutant

_NOT_COPIED = shutil.ignore_patterns(
    *(".git", ".venv", ".nox", ".hypothesis", ".*_cache", "__pycache__", "*.egg-info", "_build", "build", "dist")
)
_PYTEST = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not soak and not simulation"]
_SHOW_DURATIONS = ("--durations=0", "-vv")
_DURATION = re.compile(r"^([0-9.]+)s (?:setup|call|teardown) +(\S.*)$", re.MULTILINE)
_FIRST_FAILURE = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


class Verdict(enum.StrEnum):
    """The result of a run."""

    PASSED = "passed"
    FAILED = "failed"
    HUNG = "hung"
    """The tests did not end in time."""
    BROKEN = "broken"
    """No test was run: the tests could not be collected, or there are none."""


@frozen
class Run:
    """One run of pytest.

    Attributes:
        verdict: result of the run.
        seconds: duration of the run.
        test: the first test that failed; empty if none did.
        output: text that pytest wrote.
    """

    verdict: Verdict
    seconds: float
    test: str
    output: str


@contextmanager
def copy_of(tree: Path) -> Iterator[Path]:
    """Give a temporary copy of a tree."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder) / "tree"
        shutil.copytree(tree, copy, ignore=_NOT_COPIED)
        yield copy


@contextmanager
def mutated(base: Path, mutant: Mutant) -> Iterator[Path]:
    """Give a further copy of a tree that `copy_of` gave, with a bug in it; compiled files are copied along.

    The files are hard links, because copying them would take as long as most tests. Planting replaces a file instead of
    writing into it, so the given tree stays without the bug.
    """
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(base, tree, copy_function=os.link)
        mutant.plant(tree)
        yield tree


def run_tests(tree: Path, tests: Sequence[str], seconds: float, environment: Mapping[str, str] = os.environ) -> Run:
    """Run chosen tests in a tree, over the source in that tree.

    Args:
        tree: root of the tree.
        tests: arguments of pytest.
        seconds: longest time that they may take.
        environment: the tests' environment variables; PYTHONPATH is replaced.
    """
    # PYTHONPATH comes before the folder of an editable install, and child processes inherit it.
    environment = {**environment, "PYTHONPATH": str(tree / "src")}
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [*_PYTEST, *tests],
            cwd=tree,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            verdict = _VERDICTS.get(process.wait(seconds), Verdict.BROKEN)
        except subprocess.TimeoutExpired:
            verdict = Verdict.HUNG
        finally:
            _kill(process)
        output.seek(0)
        text = output.read().decode(errors="replace")
    first = _FIRST_FAILURE.search(text)
    return Run(verdict, time.monotonic() - started, first[1] if first else "", text)


def run_together(
    tree: Path, selections: Sequence[Sequence[str]], seconds: float, environment: Mapping[str, str] = os.environ
) -> list[Run]:
    """Run selections of tests in one process, so that it starts once; return a run for each of them.

    If a test fails, each selection runs again in a process of its own.

    Args:
        tree: root of the tree.
        selections: the tests.
        seconds: longest time that one selection may take.
        environment: see `run_tests`.
    """
    union = list(dict.fromkeys(test for selection in selections for test in selection))
    whole = run_tests(tree, [*_SHOW_DURATIONS, *union], seconds * len(selections), environment)
    if whole.verdict is not Verdict.PASSED:
        return [run_tests(tree, selection, seconds, environment) for selection in selections]
    took = [(float(number), test) for number, test in _DURATION.findall(whole.output)]
    started = max(0.0, whole.seconds - sum(number for number, _ in took))
    return [
        Run(Verdict.PASSED, started + sum(number for number, test in took if test.startswith(tuple(selection))), "", "")
        for selection in selections
    ]


_VERDICTS = {pytest.ExitCode.OK: Verdict.PASSED, pytest.ExitCode.TESTS_FAILED: Verdict.FAILED}


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the tests and all processes that they left running."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()
