"""Statements seldom ask for the machine's start; otherwise, they would ask five times for each row of an account."""

from datetime import UTC, datetime, timedelta
from itertools import count

from vault_adapters.stores.sqlite.boot_clock import MachineStart, clock_functions, machine_boot_clock

NOW = datetime(2030, 1, 1, tzinfo=UTC)
OFFSET = (NOW - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) - 7_000_000


def step_of(boot):
    return {name: function for name, _, function in clock_functions(lambda: NOW, boot)}["vault_clock_step"]


def test_a_row_without_a_lease_asks_nothing_and_another_row_asks_once():
    asked = []

    def boot():
        asked.append(1)
        return "start", 7_000_000

    step = step_of(boot)
    assert [step(None, None), step("start", None), step(None, 5), len(asked)] == [0, 0, 0, 0]
    assert (step("start", OFFSET - 3_000_000), len(asked)) == (3_000_000, 1)
    assert step("another start", OFFSET - 3_000_000) == 0


def test_the_name_of_the_start_is_read_again_after_a_second_and_in_another_process():
    start = MachineStart(map("start-{}".format, count(1)).__next__)
    assert [start.name(pid=1, now=10.0), start.name(pid=1, now=10.9)] == ["start-1"] * 2
    assert [start.name(pid=1, now=11.1), start.name(pid=2, now=11.2)] == ["start-2", "start-3"]


def test_the_time_since_the_start_is_read_each_time():
    first, second = machine_boot_clock(), machine_boot_clock()
    assert first[0] == second[0]
    assert first[1] <= second[1]
