"""A plugin of pytest that runs the collected tests once for each change of the source, in forks.

A module that mutmut has changed holds every changed copy of its functions; the variable MUTANT_UNDER_TEST names the one
that is called. So the tests are imported and collected once, and a change costs a fork and the tests that call the
function, the quickest first, until one of them fails.
"""

import gc
import json
import os
import resource
import signal
import time
from collections import defaultdict
from pathlib import Path

import hypothesis
import mutmut.mutation.trampoline
import pytest
from _pytest.runner import runtestprotocol

VARIABLE = "MUTANT_UNDER_TEST"
_MOST_EXAMPLES = 6
_SECONDS, _TIMES_SLOWER = 20, 20
_MOST_BYTES = 4 << 30
_PHASES = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
_called: set[str] = set()


def pytest_configure():
    """Note which functions the tests call, and let properties run the same few examples for each change.

    Hypothesis does not look for a smaller example once one has failed, because that takes most of the time.
    """
    mutmut.mutation.trampoline.record_trampoline_hit = lambda name, **_: _called.add(name)
    construct = hypothesis.settings.__init__

    def construct_few(self, parent=None, **given):
        most = given.get("max_examples")
        examples = min(most or _MOST_EXAMPLES, _MOST_EXAMPLES)
        few = {"max_examples": examples, "phases": _PHASES, "derandomize": True, "database": None}
        construct(self, parent, **{**given, **few})

    hypothesis.settings.__init__ = construct_few


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    """Write into the file with the names of changes whether a test noticed each."""
    file = Path(os.environ["MUTANTS_FILE"])
    tests, took = _tests_by_function(session.items)
    gc.collect()
    gc.freeze()
    results, running = {}, {}
    for name in json.loads(file.read_text()):
        chosen = sorted(tests[name.rpartition("__mutmut_")[0]], key=took.__getitem__)
        if not chosen:
            results[name] = "no test"
            continue
        running[_fork(name, chosen, sum(map(took.__getitem__, chosen)))] = name
        if len(running) >= (os.cpu_count() or 1):
            _wait(running, results)
    while running:
        _wait(running, results)
    file.write_text(json.dumps(results))
    return True


def _tests_by_function(items):
    tests, took = defaultdict(list), {}
    os.environ[VARIABLE] = "stats"
    for item in items:
        _called.clear()
        began = time.perf_counter()
        failed = [report.longreprtext for report in runtestprotocol(item, log=False) if report.failed]
        if failed:
            pytest.exit(f"{item.nodeid} fails without a change:\n{failed[0]}", returncode=1)
        took[item] = time.perf_counter() - began
        for function in _called:
            tests[function].append(item)
    return tests, took


def _fork(name, tests, seconds):
    process = os.fork()
    if process:
        return process
    os.environ[VARIABLE] = name
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))  # a loop without end may fill a list
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_VIRTUAL, _SECONDS + _TIMES_SLOWER * seconds)  # a loop without end is noticed too
    try:
        for test in tests:
            if any(report.failed for report in runtestprotocol(test, log=False)):
                os._exit(1)
        os._exit(0)
    finally:
        os._exit(1)


def _wait(running, results):
    process, status = os.wait()
    results[running.pop(process)] = "noticed" if status else "survived"
