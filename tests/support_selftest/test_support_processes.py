import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from tests.support.processes import (
    Call,
    Module,
    ProcessFailedError,
    Script,
    run_processes,
    start_processes,
)

pytestmark = pytest.mark.tools


def report(label: str) -> list[object]:
    return [label, os.getpid(), time.time()]


async def report_later(label: str) -> str:
    await asyncio.sleep(0.01)
    return label


def fail() -> None:
    print("on its way out", file=sys.stderr)
    raise LookupError("this went wrong")


def hang(path: str) -> None:
    print("holding", flush=True)
    time.sleep(60)
    Path(path).touch()


def test_processes_are_several_and_start_together() -> None:
    values = run_processes([Call(report, [f"p{number}"]) for number in range(8)])
    assert [label for label, _, _ in values] == [f"p{number}" for number in range(8)]
    assert len({pid for _, pid, _ in values} | {os.getpid()}) == 9
    moments = [moment for _, _, moment in values]
    assert max(moments) - min(moments) < 1.0


def test_coroutine_functions_run_in_a_loop_of_their_own() -> None:
    assert run_processes([Call(report_later, ["x"])]) == ["x"]


def test_nothing_runs_before_go() -> None:
    with start_processes([Call(report, ["x"])]) as group:
        time.sleep(0.3)
        before = time.time()
        group.go()
        ((_, _, moment),) = group.results()
    assert moment >= before


def test_scripts_and_modules() -> None:
    script = Script("import sys, os\nresult = [sys.argv[1:], os.environ['GREETING']]", ["a", "b"])
    module = Module("json.tool", ["--help"])
    with start_processes([script, module], env={"GREETING": "hello"}) as group:
        group.go()
        first, second = group.wait()
    assert first.value == [["a", "b"], "hello"]
    assert (second.returncode, second.value) == (0, None)
    assert "usage:" in second.stdout


def test_each_process_has_its_own_session_environment_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import os, sys\nresult = [os.environ.get('ONLY_HERE'), os.getcwd(), os.getsid(0) == os.getpid()]"
    monkeypatch.chdir(tmp_path)
    assert run_processes([Script(code)], env={"ONLY_HERE": "x"}) == [["x", str(tmp_path), True]]
    assert run_processes([Script(code)]) == [[None, str(tmp_path), True]]


def test_a_variable_of_the_interpreter_takes_effect() -> None:
    assert run_processes([Script("import sys\nresult = sys.flags.optimize")], env={"PYTHONOPTIMIZE": "1"}) == [1]


def test_a_failure_carries_stderr() -> None:
    with pytest.raises(ProcessFailedError) as failure:
        run_processes([Call(report, ["fine"]), Call(fail)])
    assert "on its way out" in str(failure.value)
    assert "LookupError: this went wrong" in str(failure.value)


def test_a_child_that_cannot_get_ready_says_why() -> None:
    with pytest.raises(ProcessFailedError, match="SyntaxError"):
        run_processes([Script("not python:")])


def test_too_slow_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ProcessFailedError, match="still ran after"):
        run_processes([Call(hang, [str(tmp_path / "never")])], timeout=0.3)


def test_kill_at_a_moment(tmp_path: Path) -> None:
    with start_processes([Call(hang, [str(tmp_path / "never")]), Call(report, ["other"])]) as group:
        group.go()
        group[0].wait_for_output("holding")
        group[0].kill()
        killed, other = group.wait()
        assert killed.returncode == -signal.SIGKILL
        assert other.value[0] == "other"
        assert group.results()[0] is None
    assert not (tmp_path / "never").exists()


def test_paused_processes_stand_still() -> None:
    code = "import time\nfor n in range(100): print(n, flush=True); time.sleep(0.01)\nresult = 'done'"
    with start_processes([Script(code)]) as group:
        group.go()
        group[0].wait_for_output("3")
        group[0].pause()
        time.sleep(0.1)
        before = group[0].stdout
        time.sleep(0.2)
        assert group[0].stdout == before
        group[0].resume()
        assert group.results() == ["done"]


def test_children_end_with_their_parent() -> None:
    parent = (
        "import time\n"
        "from tests.support.processes import Script, start_processes\n"
        "with start_processes([Script('import time; time.sleep(60)')]) as group:\n"
        "    group.go()\n"
        "    print(group[0].pid, 'ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with start_processes([Script(parent)]) as group:
        group.go()
        group[0].wait_for_output("ready")
        grandchild = Path("/proc") / group[0].stdout.split()[0] / "cmdline"
        assert grandchild.read_bytes()
        group[0].kill()
        deadline = time.monotonic() + 120
        while grandchild.exists() and grandchild.read_bytes() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not grandchild.exists() or not grandchild.read_bytes()
