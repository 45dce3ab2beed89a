"""How the command line shows unexpected errors."""

from datetime import timedelta

import pytest

from vault_adapters import (
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    StorageError,
    VaultError,
)
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


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            RefreshFailedError(reason="connection_refused", retry_after=timedelta(seconds=19.2)),
            "the provider could not refresh the token now (connection_refused); try again in 20 s",
        ),
        (
            ProviderConfigurationError(reason="invalid_client"),
            "the provider refuses the OAuth client or its request (invalid_client)",
        ),
        (
            ReauthorizationRequiredError(reason="invalid_grant"),
            "the account must be connected again by its user (invalid_grant)",
        ),
        (StorageError("away (timeout, no connection)", reason="timeout"), "away (timeout, no connection)"),
        (VaultError("short"), "short"),
    ],
)
def test_an_error_is_told_with_its_reason(error, line, capsys):
    report(error)
    assert capsys.readouterr().err == f"token-vault: {line}\n"
