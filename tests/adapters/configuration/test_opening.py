"""Wrong arguments of `open_vault` are one clear error, before anything is opened."""

import pytest

from vault_adapters import InvalidInputError, Rotation, TokenKind, VaultConfig, open_sync_vault, open_vault


class Whole:
    rotation = Rotation.strict()
    spends = TokenKind.REFRESH_TOKEN

    async def refresh(self, request):
        raise NotImplementedError


@pytest.mark.parametrize("lacking", ["rotation", "spends", "refresh"])
async def test_a_refresher_that_lacks_an_attribute_is_refused(tmp_path, lacking):
    members = {name: value for name, value in vars(Whole).items() if name != lacking and not name.startswith("__")}
    refreshers = {"acme": type("Partial", (), members)()}
    path = tmp_path / "vault.db"
    config = VaultConfig(f"sqlite:///{path}", encryption_secret="an encryption secret for tests, long enough")
    with pytest.raises(InvalidInputError, match="rotation and spends and the method refresh"):
        async with open_vault(config, refreshers=refreshers):
            pass
    with pytest.raises(InvalidInputError, match="refreshers"):
        open_sync_vault(config, refreshers=refreshers)
    assert not path.exists()
    open_sync_vault(config, refreshers={"acme": Whole()})
