"""`check` reports a target that breaks a promise, and fuzzing finds the input and keeps it."""

import logging
import random
import time
from contextlib import nullcontext

import pytest
from hypothesis import HealthCheck, Phase, find, settings
from tests.fuzz import __main__ as session
from tests.fuzz import target as limits
from tests.fuzz.__main__ import fuzz
from tests.fuzz.mutations import inputs_of
from tests.fuzz.reading.envelope import ENVELOPE, known
from tests.fuzz.target import CANARY, Target, check

ANY = settings(
    max_examples=5000, derandomize=True, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)


def checked(run, data=b"x", refusals=(ValueError,)):
    check(Target("made-up", lambda: nullcontext(run), refusals), run, data)


def raising(error, cause=None):
    def run(data):
        raise error from cause

    return run


def test_a_refusal_and_an_answer_are_right():
    checked(lambda data: None)
    checked(raising(ValueError("the input is not right")))


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError(), MemoryError()])
def test_another_error_is_reported(error):
    with pytest.raises(type(error)):
        checked(raising(error))


@pytest.mark.parametrize(
    "run",
    [
        raising(ValueError(f"bad: {CANARY}")),
        raising(ValueError("bad", CANARY.encode().hex())),
        raising(ValueError("bad"), KeyError(CANARY)),
        lambda data: logging.getLogger("vault_adapters.runtime").debug("read %s", CANARY),
    ],
    ids=["message", "argument", "cause", "log"],
)
def test_a_secret_that_is_shown_is_reported(run):
    with pytest.raises(AssertionError, match="a secret is shown"):
        checked(run)


def test_an_attribute_with_a_secret_is_reported():
    error = ValueError("bad")
    error.value = CANARY
    with pytest.raises(AssertionError, match="a secret is shown"):
        checked(raising(error))


def test_a_slow_target_is_reported(monkeypatch):
    monkeypatch.setattr(limits, "MOST_SECONDS", 0.05)

    def work(data):
        end = time.process_time() + 0.1
        while time.process_time() < end:
            pass

    with pytest.raises(AssertionError, match="of a processor"):
        checked(work)


def test_time_on_the_clock_is_not_time_of_a_processor(monkeypatch):
    monkeypatch.setattr(limits, "MOST_SECONDS", 0.1)
    checked(lambda data: time.sleep(0.2))


def test_a_target_that_needs_much_memory_is_reported():
    with pytest.raises(AssertionError, match="of memory"):
        checked(lambda data: bytes(limits.MOST_BYTES + 1000))


def test_levels_of_loggers_are_as_before():
    before = [logging.getLogger(name).level for name in ("vault_adapters", "vault_domain")]
    checked(raising(ValueError()))
    assert [logging.getLogger(name).level for name in ("vault_adapters", "vault_domain")] == before


# Hypothesis warns if its output is long.
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
@pytest.mark.parametrize(
    "wanted",
    [
        lambda data: data in known(),
        lambda data: data[:4] == b"\xe7\x01\x01\x01" and data not in known() and len(data) > 150,
        lambda data: len(data) > 50_000,
        lambda data: 0 < len(data) < 80 and data[:1] == b"\xe7",
    ],
    ids=["unchanged", "changed", "long", "short"],
)
def test_mutations_reach_inputs_of_each_kind(wanted):
    assert wanted(find(inputs_of(ENVELOPE), wanted, settings=ANY))


def test_what_breaks_a_promise_is_shrunk_and_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(limits, "_CORPUS", tmp_path)
    monkeypatch.setattr(session, "random", random.Random(4))  # how far an input shrinks depends on the numbers drawn
    (tmp_path / "made-up").mkdir()
    (tmp_path / "made-up" / "seed").write_bytes(b"a" * 50)

    def run(data):
        if b"b" in data:
            raise KeyError

    target = Target("made-up", lambda: nullcontext(run), words=(b"b",))
    assert not fuzz(target, 60)
    [kept] = (tmp_path / "made-up").glob("found-*")
    assert b"b" in kept.read_bytes()
    assert len(kept.read_bytes()) <= 51  # the seed and one inserted word, or less
    assert kept.name in capsys.readouterr().out


def test_a_target_that_keeps_its_promises_runs_until_the_time_is_over(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(limits, "_CORPUS", tmp_path)
    monkeypatch.setattr(session, "random", random.Random(4))  # how far an input shrinks depends on the numbers drawn
    (tmp_path / "made-up").mkdir()
    (tmp_path / "made-up" / "seed").write_bytes(b"a")
    assert fuzz(Target("made-up", lambda: nullcontext(lambda data: None)), 0.1)
    assert "made-up: 500 inputs" in capsys.readouterr().out
