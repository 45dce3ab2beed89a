"""The checker of histories: a good one passes, and each rule finds the history that breaks it."""

import os
import signal
import subprocess
import sys

import pytest
from attrs import evolve
from tests.support.history import RULES, Account, Action, Call, Event, Evidence, Limits, Process, Sample, check
from tests.support.history.recording import Recorder, read_process
from tests.support.processes import import_environment
from tests.support.strict_provider import ANSWERED, REUSED, Issued, Presented

pytestmark = pytest.mark.tools

NAME = "t0/user-0"
LIMITS = Limits(deadline=3, lease=10, quiescence=10, recovery=6, journaling=1, settling=30)
WRITES = ("access_token", "refresh_token")


def presented(at, sender, digest, outcome, **changes):
    usual = {"account": NAME, "family": 1, "answer_at": at + 0.1, "delivered": True}
    return Presented(at=at, sender=sender, digest=digest, outcome=outcome, **{**usual, **changes})


def call(op, begin, end, generation=None, **changes):
    usual = {"value": f"a{generation}", "token_id": "id", "generation": generation, "expires_at": 1000.0}
    return Call(op=op, account=NAME, begin=begin, end=end, **{**({} if generation is None else usual), **changes})


def good():
    """A run of two workers; the account is refreshed once, at 10, and all is over at 100."""
    return Evidence(
        limits=LIMITS,
        issued={
            f"{kind[0]}{generation}": Issued(NAME, 1, kind, generation * 10.0 - 10)
            for kind in ("access", "refresh")
            for generation in (1, 2)
        },
        presented=[presented(10, "w0.0", "r1", ANSWERED)],
        processes=[
            Process(
                "w0.0",
                started=0.0,
                opened=1.0,
                ended=100.0,
                calls=[
                    call("ensure", 5, 5.1, 1),
                    call("ensure", 10, 10.3, 2, limit=1.0),
                    call("get_token", 11, 11.1, 2),
                    call("get_access", 95, 95.1, 2),
                ],
                samples=[Sample(1, 50_000_000, 20, 4), Sample(99, 55_000_000, 24, 5)],
            ),
            Process("w1.0", started=0.0, opened=1.0, ended=100.0, calls=[call("ensure", 9, 9.1, 1)]),
        ],
        actions=[],
        events=[
            Event(NAME, kind, action, generation)
            for generation, action in ((1, "token_stored"), (2, "token_refreshed"))
            for kind in WRITES
        ],
        accounts=[
            Account(
                NAME,
                "connected",
                None,
                live=True,
                revoked=False,
                generations={"access_token": 2, "refresh_token": 2},
                settled=91.0,
            )
        ],
        calm=90.0,
    )


def with_calls(*calls):
    first, *others = good().processes
    return evolve(good(), processes=[evolve(first, calls=[*first.calls, *calls]), *others])


def with_again(at, *, sender="w1.0", actions=(), **changes):
    again = presented(at, sender, "r1", REUSED)
    return evolve(good(), **{"presented": [*good().presented, again], "actions": list(actions), **changes})


def with_account(**changes):
    return evolve(good(), accounts=[evolve(good().accounts[0], **changes)])


def killed(at, successor):
    holder, peer = good().processes
    return [evolve(holder, ended=at, killed=True), Process("w0.1", started=successor, ended=100.0), peer]


def rules(evidence):
    return {finding.rule for finding in check(evidence)}


def test_a_good_history_passes():
    assert check(good()) == []


SPENT, NEVER, BACK, TWO, EXPIRED, AUDIT, STATE, SETTLED, HELD, GROWS = RULES

EVENTS = good().events
BAD = {
    "presented again although the holder had a database": (SPENT, with_again(50)),
    "presented again before the quiescence was over": (SPENT, with_again(15)),
    "presented again soon after an outage": (
        SPENT,
        with_again(61, actions=[Action("restart", 9.5, 60)]),
    ),
    "presented again although the holder was killed long after the answer": (
        SPENT,
        with_again(50, processes=killed(15, 17)),
    ),
    "presented again, and nobody had spent it": (
        SPENT,
        with_again(10, presented=[*good().presented, presented(10, "w0.0", "r0", REUSED)]),
    ),
    "a value from nowhere": (NEVER, with_calls(call("get_token", 20, 20.1, 2, value="x", token_id="other"))),
    "a refresh token in place of an access token": (
        NEVER,
        with_calls(call("get_token", 20, 20.1, 2, value="r2", token_id="other")),
    ),
    "the value of another account": (
        NEVER,
        evolve(good(), issued={**good().issued, "a2": Issued("t0/user-1", 2, "access", 10.0)}),
    ),
    "an older generation": (BACK, with_calls(call("get_token", 20, 20.1, 1))),
    "nothing where there was a token": (BACK, with_calls(call("get_token", 20, 20.1))),
    "no usable token where there was one": (BACK, with_calls(call("get_access", 20, 20.1))),
    "two values": (TWO, with_calls(call("get_token", 20, 20.1, 2, value="a1"))),
    "expired when it was asked for": (EXPIRED, with_calls(call("ensure", 20, 20.1, 2, expires_at=19.9))),
    "expired by a clock that is ahead": (EXPIRED, with_calls(call("ensure", 20, 20.1, 2, offset=1000.0))),
    "expired long before the return": (EXPIRED, with_calls(call("ensure", 20, 25, 2, expires_at=21))),
    "a missing event": (AUDIT, evolve(good(), events=EVENTS[2:])),
    "an event twice": (AUDIT, evolve(good(), events=[*EVENTS, EVENTS[-1]])),
    "events out of order": (AUDIT, evolve(good(), events=[EVENTS[2], EVENTS[1], EVENTS[0], EVENTS[3]])),
    "a write without an event": (AUDIT, evolve(good(), events=EVENTS[:3])),
    "a refresh that never was": (AUDIT, evolve(good(), presented=[])),
    "connected without a live grant": (STATE, with_account(live=False)),
    "to be connected again with a live grant": (STATE, with_account(state="reauthorization_required")),
    "gone": (STATE, with_account(state="missing")),
    "never back at work": (SETTLED, with_account(settled=None)),
    "late back at work": (SETTLED, with_account(settled=130.0)),
    "longer than its timeout": (HELD, with_calls(call("ensure", 20, 25, 2, limit=1.0))),
    "longer than any call": (HELD, with_calls(call("store", 20, 85))),
    "never returned": (
        HELD,
        evolve(good(), processes=[evolve(good().processes[0], hung=[("ensure", NAME, 70.0)])]),
    ),
    "memory": (
        GROWS,
        evolve(good(), processes=[evolve(good().processes[0], samples=[Sample(1, 0, 1, 1), Sample(2, 2**30, 1, 1)])]),
    ),
    "descriptors": (
        GROWS,
        evolve(good(), processes=[evolve(good().processes[0], samples=[Sample(1, 0, 1, 1), Sample(2, 0, 99, 1)])]),
    ),
    "tasks": (
        GROWS,
        evolve(good(), processes=[evolve(good().processes[0], samples=[Sample(1, 0, 1, 1), Sample(2, 0, 1, 99)])]),
    ),
}


@pytest.mark.parametrize(("rule", "evidence"), BAD.values(), ids=BAD)
def test_a_bad_history_is_found_by_its_rule(rule, evidence):
    assert rules(evidence) == {rule}


def test_every_rule_has_a_bad_history():
    assert {rule for rule, _ in BAD.values()} == set(RULES)


REFRESHING = evolve(good().processes[1], calls=[call("refresh", 14.5, 15.5, error="refresh_failed")])
GOOD = {
    "the answer never arrived": with_again(
        50, presented=[presented(10, "w0.0", "r1", ANSWERED, delivered=False), presented(50, "w1.0", "r1", REUSED)]
    ),
    "the answer came after the deadline": with_again(
        50, presented=[presented(10, "w0.0", "r1", ANSWERED, answer_at=14), presented(50, "w1.0", "r1", REUSED)]
    ),
    "killed before it could write": with_again(50, processes=killed(10.5, 12)),
    "killed when its disk was full": with_again(50, processes=killed(20, 22), actions=[Action("full", 9, 21, "w0")]),
    "nobody came back for its journal": with_again(50, processes=killed(12, 46)),
    "the holder was stopped": with_again(50, actions=[Action("stop", 10, 49, "w0")]),
    "the holder was cut off": with_again(50, actions=[Action("refuse", 10.2, 49, "w0")]),
    "a person asked for it": with_again(15, processes=[good().processes[0], REFRESHING]),
    "a stop is not the vault's time": evolve(
        with_calls(call("ensure", 20, 30, 2, limit=1.0)), actions=[Action("stop", 20.5, 29.5, "w0")]
    ),
    "calls that overlap": with_calls(call("get_token", 10.1, 10.4, 1)),
    "no usable token after a step of the clock": with_calls(call("get_access", 20, 20.1, offset=2000.0)),
    "no usable token after a newer one": evolve(
        with_calls(call("get_access", 20, 20.1)),
        events=[*EVENTS, *(Event(NAME, kind, "token_refreshed", 3, at=19.0) for kind in WRITES)],
        presented=[presented(10, "w0.0", "r1", ANSWERED), presented(18, "w0.0", "r2", ANSWERED)],
        accounts=[evolve(good().accounts[0], generations={"access_token": 3, "refresh_token": 3})],
    ),
    "a new token id": with_calls(call("get_token", 20, 20.1, 1, token_id="new")),
}


@pytest.mark.parametrize("evidence", GOOD.values(), ids=GOOD)
def test_what_nobody_can_help_is_no_finding(evidence):
    assert check(evidence) == []


WRITER = """
import sys, time, resource
from pathlib import Path
from tests.support.history.recording import Recorder
recorder = Recorder(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
recorder.write("started")
recorder.write("begin", op="refresh", account="a")
recorder.write("call", op="refresh", account="a", begin=1.0, value="v")
recorder.write("hung", op="ensure", account="a", begin=2.0)
print("written", flush=True)
time.sleep(60)
"""


def test_a_history_outlives_a_kill_and_a_full_disk(tmp_path):
    path = tmp_path / "w0.0.history"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, env=import_environment()
    )
    with process:
        assert process.stdout.readline() == b"written\n"
        os.kill(process.pid, signal.SIGKILL)
    read = read_process(path)
    assert (read.name, read.worker, read.opened) == ("w0.0", "w0", None)
    assert read.started > 0
    assert [(each.op, each.value) for each in read.calls] == [("refresh", "v")]
    assert [each[:2] for each in read.begun] == [("refresh", "a")]
    assert read.hung == [("ensure", "a", 2.0)]


def test_a_line_that_a_kill_cut_off_is_not_read(tmp_path):
    path = tmp_path / "w0.0.history"
    recorder = Recorder(path)
    recorder.write("opened")
    recorder._memory[recorder._at : recorder._at + 5] = b'{"rec'
    assert read_process(path).opened is not None
