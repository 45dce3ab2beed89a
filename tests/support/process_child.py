"""The program of a child process: prepare, wait at the barrier, do the job, write its value to a file."""

import asyncio
import importlib
import importlib.util
import inspect
import json
import os
import runpy
import shutil
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from tests.support.scrypt import derive_as_the_parent

_ABANDONED = 70


def _prepare(job: dict[str, Any]) -> Callable[[], Any]:
    """Do the slow part, imports and compiling, before the barrier; return the function that does the job."""
    if job["kind"] == "call":
        return _prepare_call(job)
    sys.argv = job["argv"]
    if job["kind"] == "script":
        return _prepare_script(compile(job["code"], "<script>", "exec"))

    def run_module() -> None:
        runpy.run_module(job["module"], run_name="__main__", alter_sys=True)

    return run_module


def _prepare_call(job: dict[str, Any]) -> Callable[[], Any]:
    function = getattr(_load(job["module"], job["file"]), job["name"])

    def call() -> Any:
        result = function(*job["arguments"])
        return asyncio.run(result) if inspect.iscoroutine(result) else result

    return call


def _prepare_script(code: types.CodeType) -> Callable[[], Any]:
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main

    def run_script() -> Any:
        exec(code, main.__dict__)
        return main.__dict__.get("result")

    return run_script


def _load(name: str, file: str) -> types.ModuleType:
    """Import a module by name; if that finds another module, or none, import it from its file."""
    try:
        module = importlib.import_module(name)
        if module.__file__ is not None and Path(module.__file__).samefile(file):
            return module
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _end_with_parent(go_pipe: int, directory: Path) -> None:
    os.read(go_pipe, 1)
    _abandon(directory)


def _abandon(directory: Path) -> NoReturn:
    """Remove the directory, and end this process at once. A killed parent cannot remove the directory."""
    shutil.rmtree(directory, ignore_errors=True)
    os._exit(_ABANDONED)


def main(description: dict[str, Any], value_file: str, *, go_pipe: int, started_pipe: int) -> None:
    """Do a job; `description` is what `Job.describe` returns."""
    # Grandchildren must not inherit these pipes: an open end would hide that this process or its parent has ended.
    os.set_inheritable(go_pipe, False)
    os.set_inheritable(started_pipe, False)
    derive_as_the_parent()
    written = Path(value_file)
    job = _prepare(description)
    os.write(started_pipe, b"s")
    if os.read(go_pipe, 1) == b"":
        _abandon(written.parent)
    threading.Thread(target=_end_with_parent, args=(go_pipe, written.parent), daemon=True).start()
    value = json.dumps(job())
    # Renamed when complete, so that a kill leaves no partial value.
    unfinished = written.with_suffix(".unfinished")
    unfinished.write_text(value)
    unfinished.rename(written)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2], go_pipe=int(sys.argv[3]), started_pipe=int(sys.argv[4]))
