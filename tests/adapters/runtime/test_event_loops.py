"""Without an event loop of asyncio, as under trio, a vault is refused before anything is opened."""

import pytest

from vault_adapters import ConfigurationError, VaultConfig, open_vault
from vault_adapters.composition import open_vault_over


@pytest.mark.parametrize("opening", [open_vault, lambda config: open_vault_over(object(), config)])
def test_without_an_event_loop_of_asyncio_a_vault_is_refused_by_name(opening, tmp_path):
    path = tmp_path / "vault.db"
    config = VaultConfig(f"sqlite:///{path}", encryption_secret="an encryption secret for tests, long enough")
    # The first step of a task of any event loop.
    with pytest.raises(ConfigurationError, match="under trio") as caught:
        opening(config).__aenter__().send(None)
    assert caught.value.code == "event_loop"
    assert not path.exists()
