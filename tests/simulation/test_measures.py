"""A lost grant counts as unavoidable in no-false-reconnects.md if nobody could have stored its answer in time."""

import os
import subprocess
import sys
from random import Random
from types import SimpleNamespace

import pytest
from tests.simulation.ambush import Ambush
from tests.simulation.database import Link
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.measures import POLICY_SECONDS, RETURN_SECONDS, was_out_of_reach
from tests.simulation.oracle import Oracle
from tests.simulation.planted import ROOT
from tests.simulation.provider import STORE_SECONDS, Exchange

pytestmark = pytest.mark.tools

SPENT, CAME = 1000.0, 1000.2
REUSED = SPENT + POLICY_SECONDS

# A world in which processes are only cut off and killed, for 25 to 450 seconds, and most accounts lose their grants.
ONLY_INTERRUPTED = """
from tests.simulation.world import run
measures = run(2, "minutes", is_measured=True, days=0.15, only_fault="interrupted").measures
print(len(measures.lost), len(measures.unavoidable))
"""


def answered(**changes):
    return Exchange(**{"at": SPENT, "process": None, "refresh_token": "rt", "delivered": CAME} | changes)


@pytest.mark.parametrize("fault", ["last_stop", "last_cut"])
@pytest.mark.parametrize("since", [SPENT - 500.0, SPENT, CAME, CAME + STORE_SECONDS])
@pytest.mark.parametrize("until", [None, REUSED - RETURN_SECONDS])
def test_a_holder_that_could_never_store_its_answer_is_out_of_reach(fault, since, until):
    assert was_out_of_reach(answered(), REUSED, **{"last_stop": None, "last_cut": None} | {fault: (since, until)})


@pytest.mark.parametrize(
    ("exchange", "at", "absence"),
    [
        pytest.param(answered(), REUSED, None, id="never away"),
        pytest.param(answered(), REUSED, (SPENT, REUSED - RETURN_SECONDS - 0.1), id="back for long enough"),
        pytest.param(answered(), REUSED, (CAME + STORE_SECONDS + 0.1, None), id="away after it could store it"),
        pytest.param(answered(), REUSED - 1.0, (SPENT, None), id="presented again too early"),
        pytest.param(answered(delivered=None), REUSED, (SPENT, None), id="nobody has the answer"),
    ],
)
def test_a_holder_that_had_its_chance_is_not_out_of_reach(exchange, at, absence):
    assert not was_out_of_reach(exchange, at, absence, None)
    assert not was_out_of_reach(exchange, at, None, absence)


class Scene:
    """A host with one process, whose answer came at `CAME`; all of this in virtual time."""

    def __init__(self):
        self.loop = VirtualLoop(0)
        self.at(CAME)
        self.link, self.process = Link(self.loop, Random(0), Ambush(self.loop)), Process(self.loop, "host1.1")
        self.exchange = answered(process=self.process)
        host = SimpleNamespace(link=self.link)
        self._world = SimpleNamespace(
            loop=self.loop, violations=[], hosts=[host], processes_of=lambda _: [self.process]
        )

    def at(self, seconds):
        self.loop.now = seconds

    def is_out_of_reach(self):
        self.at(REUSED)
        return Oracle(self._world).was_out_of_reach(self.exchange)


@pytest.fixture
def scene():
    scene = Scene()
    yield scene
    scene.loop.close()


@pytest.mark.parametrize("fault", ["down", "silent"])
def test_a_host_that_is_cut_off_all_the_time_is_out_of_reach(scene, fault):
    scene.link.change({fault: True})
    scene.at(CAME + 30.0)
    scene.link.change({"slow": 0.5})
    assert scene.is_out_of_reach()


def test_a_host_that_reaches_the_database_in_between_is_not_out_of_reach(scene):
    scene.link.change({"down": True})
    scene.at(CAME + 30.0)
    scene.link.change({"down": False})
    scene.at(CAME + 31.0)
    scene.link.change({"down": True})
    assert not scene.is_out_of_reach()


def test_a_host_whose_database_is_slow_is_not_out_of_reach(scene):
    scene.link.change({"slow": 4.0, "lost": 0.3})
    assert not scene.is_out_of_reach()


def test_a_stopped_process_is_out_of_reach(scene):
    scene.process.freeze()
    assert scene.is_out_of_reach()


def test_a_process_that_continued_is_not_out_of_reach(scene):
    scene.process.freeze()
    scene.at(REUSED - RETURN_SECONDS - 1.0)
    scene.process.thaw()
    assert not scene.is_out_of_reach()


def test_a_process_that_was_killed_while_it_was_stopped_left_its_journal(scene):
    scene.process.freeze()
    scene.process.kill()
    assert not scene.is_out_of_reach()


def test_what_cuts_lose_is_unavoidable():
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-W", "ignore", "-c", ONLY_INTERRUPTED]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    lost, unavoidable = map(int, run.stdout.split())
    assert lost == unavoidable > 0
