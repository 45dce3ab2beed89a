"""The tutorial is followed as a reader would: its files are saved, its commands typed, its output compared."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import field, frozen
from tests.adapters.cli.command import quick_program

pytestmark = [pytest.mark.pages, pytest.mark.real_scrypt]

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = sorted(path for path in (ROOT / "docs" / "tutorial").glob("*.md") if path.name != "index.md")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SAVED = re.compile(r"Save\s+(?:this|it)\s+as\s+`([\w.]+)`")
INSTALLING = ("python3 -m venv", ".venv/bin/pip")


@frozen
class Command:
    """A command, and the lines that the page shows below it; ``...`` stands for any text."""

    text: str
    expected: list[str] = field(factory=list)


def files_of(page):
    """Return the files that the page tells its reader to save."""
    saved = [(match.end(), match[1]) for match in SAVED.finditer(page)]
    fences = [match for match in FENCE.finditer(page) if match[1] == "python"]
    return {name: next(fence[2] for fence in fences if fence.start() > position) for position, name in saved}


def commands_of(page):
    commands = []
    for fence in FENCE.finditer(page):
        for line in fence[2].splitlines() if fence[1] == "console" else []:
            if line.startswith("$ "):
                commands.append(Command(line[2:]))
            else:
                commands[-1].expected.append(line)
    return [command for command in commands if not command.text.startswith(INSTALLING)]


def make_environment(folder):
    """Give the folder what the page's installation gives: `.venv/bin` with an interpreter and the command."""
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    python = shlex.quote(sys.executable)
    for name, command in (("python", python), ("token-vault", shlex.join(quick_program()))):
        (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (programs / name).chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DATABASE_URL", "ENCRYPTION_", "TOKEN_VAULT_"))}
    # The cheapest scrypt, because each command derives a key.
    return {**kept, "PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error", "TOKEN_VAULT_SCRYPT_LOG2_N": "14"}


def type_in(commands, folder, environment):
    """Type the commands into one shell; return what each one printed."""
    mark = "-- next command --"
    script = "\n".join(f"echo '{mark}'; {command.text} 2>&1 || echo failed" for command in commands)
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    return [output.strip("\n") for output in done.stdout.split(mark + "\n")[1:]]


def matches(expected, printed):
    pattern = ".*".join(re.escape(part) for part in "\n".join(expected).split("..."))
    return re.fullmatch(pattern, printed) is not None


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.name)
def test_following_the_tutorial(path, tmp_path):
    page = path.read_text()
    environment = make_environment(tmp_path)
    for name, content in files_of(page).items():
        (tmp_path / name).write_text(content)
    commands = commands_of(page)

    printed = type_in(commands, tmp_path, environment)

    assert len(printed) == len(commands) > 0
    for command, output in zip(commands, printed, strict=True):
        assert matches(command.expected, output), f"{command.text} printed\n{output}"


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.name)
def test_every_program_of_the_tutorial_is_run(path):
    page = path.read_text()
    typed = " ".join(command.text for command in commands_of(page))
    assert files_of(page)
    assert [name for name in files_of(page) if name not in typed] == []
    assert len(files_of(page)) == page.count("```python")
