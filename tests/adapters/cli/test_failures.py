"""How the command line shows unexpected errors."""

import pytest

from vault_adapters.cli.exit_codes import ExitCode
from vault_adapters.cli.failures import report

CANARY = "ya29.canary-of-an-error"


@pytest.mark.parametrize("error", [ValueError(CANARY), KeyError(CANARY), RuntimeError("a", CANARY)], ids=repr)
def test_an_unexpected_error_is_told_by_its_type(error, capsys):
    assert report(error) is ExitCode.UNEXPECTED
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"token-vault: unexpected error ({type(error).__name__})")
    assert shown.err.count("\n") == 1
    assert CANARY not in shown.err
