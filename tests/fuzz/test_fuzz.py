"""Each target with its corpus and with the same few inputs each time; `nox -s fuzz` adds random ones."""

import pytest
from hypothesis import HealthCheck, given, settings
from tests.fuzz.mutations import inputs_of
from tests.fuzz.target import check
from tests.fuzz.targets import TARGETS

TARGET = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
SHORT = settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


@TARGET
def test_the_corpus(target):
    assert target.corpus
    with target.opened() as run:
        for data in target.corpus:
            check(target, run, data)


# Hypothesis warns if its output is long. This warning must not hide why an input failed.
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
@TARGET
def test_the_same_inputs_each_time(target):
    with target.opened() as run:

        @SHORT
        @given(inputs_of(target))
        def run_all(data):
            check(target, run, data)

        run_all()
