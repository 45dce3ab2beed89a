"""The page about errors states the code of each error class, and correctly says whether it is retryable."""

import re
from pathlib import Path

import vault_adapters
from vault_adapters import VaultError
from vault_domain.entities.causes import PROVIDER_CAUSES, STORAGE_CAUSES

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"
SOURCE = Path(__file__).parents[2] / "src"


def test_every_error_stands_there_with_its_code():
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\w+)`", PAGE.read_text(), re.MULTILINE))
    public = [getattr(vault_adapters, name) for name in vault_adapters.__all__]
    errors = [item for item in public if isinstance(item, type) and issubclass(item, VaultError)]
    assert rows == {error.__name__: error().code for error in errors if error is not VaultError}


def test_what_is_said_to_be_retryable_is():
    for name, said in re.findall(r"^\| `(\w+)` \| `\w+`[^|]*\| (\w+)", PAGE.read_text(), re.MULTILINE):
        if said in ("yes", "no"):
            assert getattr(vault_adapters, name)().retryable == (said == "yes"), name


def test_every_cause_stands_there_once():
    refresh = PROVIDER_CAUSES | {"server_error", "temporarily_unavailable"}
    for head, causes in (("`StorageError.reason`", STORAGE_CAUSES), ("refresh `.reason`", refresh)):
        table = PAGE.read_text().partition(f"| {head} | means | what to do |\n")[2].partition("\n\n")[0]
        assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == sorted(causes)


def test_every_reason_why_a_host_s_transaction_is_refused_stands_there():
    section = PAGE.read_text().partition("## When a transaction of the host is refused")[2].partition("\n## ")[0]
    said = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    raised = set()
    for path in SOURCE.rglob("*.py"):
        text = path.read_text()
        for call in re.findall(r"HostTransactionError\(.*?reason=([\w\"]+)", text, re.DOTALL):
            raised.add(call.strip('"') if '"' in call else re.search(rf'^{call} = "(\w+)"', text, re.MULTILINE)[1])
    assert sorted(said) == sorted(raised)
