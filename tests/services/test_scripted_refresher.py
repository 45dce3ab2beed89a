"""`ScriptedRefresher` of `vault_adapters.testing`."""

from datetime import timedelta

import pytest

from vault_adapters import Account, ProviderConfigurationError, RefreshRequest, Secret, TokenKind, TokenSet
from vault_adapters.testing import ScriptedRefresher


async def test_a_used_up_script_says_so():
    request = RefreshRequest(Account("t", "p"), Secret("r"), TokenKind.REFRESH_TOKEN, (), timedelta(seconds=1))
    refresher = ScriptedRefresher(TokenSet("a"))
    await refresher.refresh(request)
    assert refresher.calls[0].credential == Secret("r")
    assert "credential" not in repr(refresher.calls[0])
    with pytest.raises(ProviderConfigurationError, match=r"ScriptedRefresher has no answer left; add some with then"):
        await refresher.refresh(request)
