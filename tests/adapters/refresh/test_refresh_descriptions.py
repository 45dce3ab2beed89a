"""A developer can see why a provider refused; nobody else does."""

import json
import logging

import pytest
from tests.adapters.refresh.refresh_kit import ACCOUNT, store
from tests.support.scripted_provider import Answer

from vault_adapters import ProviderConfigurationError
from vault_adapters.providers import OAuth2Refresher


@pytest.mark.parametrize("asked", [True, False])
async def test_the_description_of_a_refusal(opened, provider, caplog, asked):
    refusal = {"error": "invalid_request", "error_description": "the token refresh-0 was issued elsewhere"}
    provider.answer(Answer(status=400, body=json.dumps(refusal).encode()))
    vault = await opened(OAuth2Refresher(provider.token_url, "client", "secret"))
    await store(vault)
    logger = logging.getLogger("vault_adapters.providers.descriptions")
    caplog.set_level(logging.DEBUG)
    logger.setLevel(logging.DEBUG if asked else logging.NOTSET)
    try:
        with pytest.raises(ProviderConfigurationError):
            await vault.refresh_account(ACCOUNT)
    finally:
        logger.setLevel(logging.NOTSET)
    shown = [message for message in caplog.messages if "issued elsewhere" in message]
    assert shown == ["the provider refused with 400: invalid_request the token ********** was issued elsewhere"] * asked
