"""Every block of code in the README runs, its commands exist, and its links lead somewhere."""

import os
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from tests.adapters.cli.command import quick_program
from tests.support.answers import Answer
from tests.support.scripted_provider import scripted_provider

pytestmark = pytest.mark.pages

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECRET = "a-secret-that-only-these-tests-use-0123456789"
CONFIGURATION = ("DATABASE_URL", "ENCRYPTION_", "TOKEN_VAULT_")


def blocks_of(page, language):
    return [match[2] for match in FENCE.finditer(page) if match[1] == language]


def unconfigured():
    """Give an environment in which the vault is not configured and warnings are errors."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(CONFIGURATION)}
    return {**kept, "PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error"}


def configured(folder):
    """Give an environment in which the vault is configured, with the cheapest scrypt."""
    variables = {"DATABASE_URL": f"sqlite:///{folder}/vault.db", "ENCRYPTION_SECRET": SECRET}
    return {**unconfigured(), **variables, "TOKEN_VAULT_SCRYPT_LOG2_N": "14"}


def run(command, folder, environment):
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)


def save_and_run(program, folder, environment):
    (folder / "program.py").write_text(program)
    return run([sys.executable, "program.py"], folder, environment)


def test_every_block_is_one_that_a_test_here_runs():
    assert [match[1] for match in FENCE.finditer(README)] == ["python", "text", "python", "sh", "sh"]


def test_the_first_program_stands_behind_one_sentence_and_is_short():
    before = README.split("```")[0].removeprefix("# Token Vault\n").strip()
    assert before.count(".") == 1
    assert before.endswith(".")
    assert len(blocks_of(README, "python")[0].splitlines()) <= 12


def test_the_first_program_runs_with_nothing_configured(tmp_path):
    [shown] = blocks_of(README, "text")
    printed = re.compile(re.escape(shown).replace(re.escape("..."), r"\d{4}-.*"))
    for _ in range(2):  # a reader runs it again, over the file that it left
        done = save_and_run(blocks_of(README, "python")[0], tmp_path, unconfigured())
        assert done.stderr == ""
        assert printed.fullmatch(done.stdout), done.stdout


def test_what_it_stored_is_encrypted(tmp_path):
    program = blocks_of(README, "python")[0]
    save_and_run(program, tmp_path, unconfigured())
    assert (tmp_path / "tokens.db").exists()
    assert "ya29.an-example" in program
    assert not any(b"ya29.an-example" in path.read_bytes() for path in tmp_path.glob("tokens.db*"))


def test_the_documentation_begins_with_the_same_program():
    page = (ROOT / "docs" / "index.md").read_text()
    assert blocks_of(page, "python") == blocks_of(README, "python")[:1]
    assert blocks_of(page, "text") == blocks_of(README, "text")


def test_the_second_program_calls_an_api(tmp_path):
    with scripted_provider(accept_the_example) as api:
        program = blocks_of(README, "python")[1].replace("https://www.googleapis.com", api.base_url)
        program = program.replace("VaultAuth(vault, account)", 'VaultAuth(vault, account, hosts=["127.0.0.1"])')
        done = save_and_run(program, tmp_path, configured(tmp_path))
    assert (done.stdout, done.stderr) == ("200\n", "")


def accept_the_example(request):
    accepted = request.headers.get("authorization") == "Bearer ya29.an-example"
    return Answer(status=200 if accepted else 401, json={})


# .ci/run runs the README's two `sh` blocks unchanged. Here nothing is installed, and pytest only prints its version.
def type_without_installing(command, folder):
    programs = folder / "programs"
    programs.mkdir()
    python = shlex.quote(sys.executable)
    stand_ins = {
        "pip": "true",
        "token-vault": f'exec {shlex.join(quick_program())} "$@"',
        "pytest": f'exec {python} -m pytest --version "$@"',
    }
    making = [f"mkdir -p .venv/bin && cp {shlex.quote(str(programs))}/* .venv/bin/"]
    for name, script in {**stand_ins, "python3": "\n".join(making)}.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    environment = unconfigured()
    return run(["bash", "-c", command], folder, {**environment, "PATH": f"{programs}:{environment['PATH']}"})


def test_its_first_command_shows_the_demonstration(tmp_path):
    done = type_without_installing(blocks_of(README, "sh")[0], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "DecryptionError" in done.stdout


def test_its_second_command_runs_pytest(tmp_path):
    done = type_without_installing(blocks_of(README, "sh")[1], tmp_path)
    assert (done.returncode, done.stdout.split()[0]) == (0, "pytest")


def test_the_extras_that_it_installs_exist():
    wanted = re.findall(r"\.\[(\w+)\]", "".join(blocks_of(README, "sh")))
    named = re.findall(r"`\[(\w+)\]`", README)
    assert wanted == ["cli", "test"]
    assert {*wanted, *named} <= set(metadata.metadata("token-vault").get_all("Provides-Extra"))


def test_the_two_commands_are_there_for_machines_to_find():
    demo, tests = re.findall(r"^python3 -m venv \.venv && .*$", README, re.MULTILINE)
    assert [demo + "\n", tests + "\n"] == blocks_of(README, "sh")
    assert demo.endswith(".venv/bin/token-vault demo")
    assert "pytest" in tests


def test_links_into_the_repository_lead_somewhere():
    # In a release's archive, the links lead to the repository.
    targets = re.findall(r"\]\((?:https://[^)]*/(?:blob|raw)/v[^/]+/)?(?!https?://)([^)#]+)\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_links_into_the_page_lead_to_a_heading():
    headings = {title.lower().replace(" ", "-") for title in re.findall(r"^## (.+)$", README, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= headings
