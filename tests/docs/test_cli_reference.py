"""The page about the command line lists the commands and exit codes that the program has."""

import re
import subprocess
import sys
from pathlib import Path

from vault_adapters.cli.exit_codes import CODES, ExitCode, exit_code_of
from vault_domain import HostTransactionError, SchemaOutdatedError, VaultError, WrongEncryptionSecretError

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md").read_text()


def section(title):
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def commands_of_the_program():
    program = [sys.executable, "-m", "vault_adapters.cli", "--help"]
    shown = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^  ([a-z][a-z-]*):", shown, re.MULTILINE))


def test_every_command_is_described_and_no_other():
    assert set(re.findall(r"^\| `([a-z-]+)", section("Commands"), re.MULTILINE)) == commands_of_the_program()


def test_every_exit_code_is_described_and_no_other():
    rows = re.findall(r"^\| (\d+) \| .* \| (?:`(\w+)`)? ?\|$", section("Exit codes"), re.MULTILINE)
    assert {int(code) for code, _ in rows} == {code.value for code in ExitCode}
    assert {name: int(code) for code, name in rows if name} == {cls.__name__: code for cls, code in CODES.items()}


def test_every_error_has_a_code_of_its_own():
    assert set(CODES) == set(VaultError.__subclasses__()) - {
        HostTransactionError
    }  # no command has a host's transaction
    assert len(set(CODES.values())) == len(CODES)


def test_a_subclass_has_its_parents_code():
    assert exit_code_of(SchemaOutdatedError()) == exit_code_of(WrongEncryptionSecretError()) == ExitCode.CONFIGURATION
    assert exit_code_of(VaultError()) == ExitCode.UNEXPECTED
