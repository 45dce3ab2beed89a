"""The README's program runs, its commands exist, and its links lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.answers import Answer
from tests.support.scripted_provider import scripted_provider

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
SECRET = "a-secret-that-only-these-tests-use-0123456789"


def environment(folder):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DATABASE_URL", "ENCRYPTION_", "TOKEN_VAULT_"))}
    configured = {"DATABASE_URL": f"sqlite:///{folder}/vault.db", "ENCRYPTION_SECRET": SECRET}
    return {**kept, **configured, "PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error"}


def test_its_program_runs(tmp_path):
    [program] = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    with scripted_provider(accept_the_example) as api:
        program = program.replace("https://www.googleapis.com", api.base_url)
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment(tmp_path), capture_output=True, text=True, timeout=240
        )
    assert (done.stdout, done.stderr) == ("200\n", "")


def accept_the_example(request):
    accepted = request.headers.get("authorization") == "Bearer ya29.an-example"
    return Answer(status=200 if accepted else 401, json={})


def test_its_shell_session_runs(tmp_path):
    [session] = re.findall(r"^```console\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    script = "\n".join(line.removeprefix("$ ") for line in session.splitlines())
    shim = f'set -e\ntoken-vault() {{ {sys.executable} -m vault_adapters.cli "$@"; }}\nKEY=sk_test_1\n'
    done = subprocess.run(
        ["bash", "-c", shim + script],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "sk_test_1" in done.stdout


def test_the_two_commands_are_there_for_machines_to_find():
    demo, tests = re.findall(r"^python3 -m venv \.venv && .*$", README, re.MULTILINE)
    assert demo.endswith(".venv/bin/token-vault demo")
    assert "pytest" in tests


def test_links_into_the_repository_lead_somewhere():
    targets = re.findall(r"\]\((?!https?://)([^)#]+)\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
