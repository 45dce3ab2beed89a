"""How the command behaves with signals, pipes and terminals, and without its extra."""

import json
import os
import subprocess
import sys

import pytest
from tests.adapters.cli.command import PROGRAM, clean_environment

KEY = ("t1", "google", "access_token")
BOXES = set("─│╭╮╰╯━┃┏┓┗┛═║")


def test_an_interrupt_is_quiet(token_vault):
    done = token_vault.on_terminal("store", *KEY, typed="\x03")  # Ctrl-C, once it asks
    assert done.code == 130
    assert done.out.strip() == "Value (it is not shown):"


def test_a_reader_that_goes_away_is_no_error(token_vault):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*PROGRAM, "generate-secret"],
            stdout=writing,
            stderr=subprocess.PIPE,
            env=token_vault.environment(),
            timeout=30,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_a_full_disk_is_one_line(token_vault):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*PROGRAM, "generate-secret"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=token_vault.environment(),
            timeout=30,
        )
    assert done.returncode == 1
    assert done.stderr == b"token-vault: the system refused a file operation (ENOSPC)\n"


def test_pipes_get_neither_colours_nor_boxes(token_vault):
    token_vault("store", *KEY, "--expires-in", "1h", stdin="v")
    for arguments in (["list", "t1"], ["health"], ["expiring"], ["accounts", "t1"], ["audit"], ["get", *KEY]):
        done = token_vault(*arguments, FORCE_COLOR="1", TERM="xterm-256color")
        assert done.code == 0
        assert "\x1b" not in done.out
        assert BOXES.isdisjoint(done.out)


def test_terminals_get_tables_and_colours(token_vault):
    token_vault("store", *KEY, "--expires-in", "1h", stdin="v")
    shown = token_vault.on_terminal("health").out
    assert "\x1b[32m1" in shown.replace("\x1b[0m", "")
    assert not BOXES.isdisjoint(shown)
    assert "in 60 min" in token_vault.on_terminal("list", "t1").out


@pytest.mark.real_scrypt
def test_a_terminal_is_asked_without_an_echo(token_vault):
    done = token_vault.on_terminal("store", *KEY, typed="typed-canary\n")
    assert done.code == 0
    assert "Value" in done.out
    assert "typed-canary" not in done.out
    assert token_vault("get", *KEY, "--reveal").out == "typed-canary"
    assert token_vault.on_terminal("get", *KEY, "--reveal").out.strip() == "typed-canary"


def test_identifiers_do_not_steer_the_terminal(token_vault):
    evil = "\x1b[2Jgone\r\nrow"
    token_vault("store", *KEY, "--identifier", evil, stdin="v")
    for shown in (token_vault("list", "t1").out, token_vault.on_terminal("list", "t1", columns=160).out):
        assert "\x1b[2J" not in shown
        assert r"\x1b[2Jgone\r\nrow" in shown
    assert json.loads(token_vault("list", "t1", "--json").out)[0]["identifier"] == evil


def test_values_do_not_control_the_terminal(token_vault):
    evil = "\x1b]0;title\x07\x9b2J\r\u202e\nsecond line"
    token_vault("store", *KEY, stdin=evil)
    shown = token_vault.on_terminal("get", *KEY, "--reveal").out
    lines = shown.replace("\r\n", "\n").splitlines()
    assert [line for line in lines if not line.startswith("token-vault: ")] == [
        r"\x1b]0;title\x07\x9b2J\r\u202e",
        "second line",
    ]
    assert "a pipe gets the value as it is" in shown
    assert token_vault("get", *KEY, "--reveal").out == evil
    assert "\x1b" not in token_vault.on_terminal("get", *KEY, "--reveal", "--json").out


@pytest.mark.real_scrypt
def test_a_small_character_set_is_no_crash(token_vault):
    token_vault("store", *KEY, "--identifier", "Žofie", stdin="v")
    done = token_vault("list", "t1", PYTHONIOENCODING="ascii")
    assert done.code == 0
    assert r"\u017dofie" in done.out


def test_without_the_extra_it_says_what_to_install(tmp_path):
    (tmp_path / "blocked").mkdir()
    # Install a finder that makes the import fail as if the package were missing.
    (tmp_path / "blocked" / "sitecustomize.py").write_text(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('cyclopts', 'rich'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    environment = clean_environment()
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path / "blocked"), environment["PYTHONPATH"]])
    program = "import sys; from vault_adapters.cli.__main__ import main; sys.exit(main(['health']))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment, timeout=30)
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr == b"token-vault: the command line needs the extra [cli]: pip install 'token-vault[cli]'\n"


def test_help_does_not_import_what_it_does_not_need(bare):
    program = (
        "import sys; from vault_adapters.cli.__main__ import main; main(['health', '--x'])\n"
        "print(sorted({'rich.table', 'rich.panel'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=bare.environment(), timeout=30)
    assert done.stdout.decode().strip() == "[]"


def test_the_process_ends_with_the_code_and_after_all_output():
    """The process ends without taking itself apart, so that nobody else flushes what a pipe has not got yet."""
    program = "import vault_adapters.cli.__main__ as cli; cli.main = lambda: print('printed') or 9; cli.program()"
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=buffered)
    assert (done.returncode, done.stdout, done.stderr) == (9, "printed\n", "")


def test_a_reader_that_has_gone_is_no_traceback():
    program = (
        "import os, vault_adapters.cli.__main__ as cli\n"
        "cli.main = lambda: os.read(0, 1) or print('x') or 0\n"
        "cli.program()"
    )
    pipe, buffered = subprocess.PIPE, {**os.environ, "PYTHONUNBUFFERED": ""}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=buffered) as process:
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0
