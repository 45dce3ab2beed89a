"""The text of an error names provider and reason, once each."""

import pytest

from vault_domain.entities import errors
from vault_domain.entities.account import Account
from vault_domain.entities.errors import RefreshFailedError, StorageError, VaultError

ACCOUNT = Account("tenant-1", "acme", "ann@example.com")
ALL = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, VaultError)]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_names_provider_and_reason(kind):
    error = kind("it failed")
    assert str(error) == "it failed"
    error.account, error.reason = ACCOUNT, "invalid_scope"
    assert str(error) == "it failed (acme, invalid_scope)"
    assert error.args == ("it failed",)


def test_nothing_is_named_twice():
    assert str(StorageError("acme failed (57014)", account=ACCOUNT, reason="57014")) == "acme failed (57014)"
    assert str(RefreshFailedError(account=ACCOUNT)).endswith(" (acme)")
