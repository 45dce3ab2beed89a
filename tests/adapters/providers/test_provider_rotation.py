"""Refreshers against a real OAuth 2 server (django-oauth-toolkit)."""

import pytest
from tests.adapters.providers.asking import failure, refreshed, revocation_of
from tests.support.oauth_server import start_oauth_server

from vault_adapters.providers import ClientCredentialsRefresher, OAuth2Refresher
from vault_domain.entities.account import TokenKind
from vault_domain.entities.errors import ProviderConfigurationError, ReauthorizationRequiredError
from vault_domain.entities.secret import Secret


@pytest.fixture(scope="module")
def server():
    with start_oauth_server(client_secret="s:e%c+r &t") as running:
        yield running


@pytest.fixture
def refresher(server):
    return OAuth2Refresher(
        server.token_url, server.client_id, server.client_secret, revocation_url=server.revocation_url
    )


async def test_a_refresh_token_rotates(server, refresher):
    [pair] = server.issue(1)
    first = await refreshed(refresher, pair.refresh_token)
    assert first.refresh_token.reveal() != pair.refresh_token
    assert first.expires_in.total_seconds() == pair.expires_in
    second = await refreshed(refresher, first.refresh_token)
    assert second.access_token.reveal() != first.access_token.reveal()


async def test_a_spent_refresh_token_is_refused_and_takes_the_family_with_it(server, refresher):
    [pair] = server.issue(1)
    tokens = await refreshed(refresher, pair.refresh_token)
    error = await failure(refresher, pair.refresh_token)
    assert isinstance(error, ReauthorizationRequiredError)
    assert error.reason == "invalid_grant"
    assert isinstance(await failure(refresher, tokens.refresh_token), ReauthorizationRequiredError)


async def test_the_client_may_authenticate_in_the_body(server):
    [pair] = server.issue(1)
    refresher = OAuth2Refresher(
        server.token_url, server.client_id, server.client_secret, auth_method="client_secret_post"
    )
    assert (await refreshed(refresher, pair.refresh_token)).refresh_token is not None


async def test_a_wrong_client_secret_touches_no_token(server, refresher):
    [pair] = server.issue(1)
    error = await failure(OAuth2Refresher(server.token_url, server.client_id, "wrong"), pair.refresh_token)
    assert isinstance(error, ProviderConfigurationError)
    assert error.reason == "invalid_client"
    assert await refreshed(refresher, pair.refresh_token)


async def test_a_revoked_refresh_token_is_dead(server, refresher):
    [pair] = server.issue(1)
    before = server.stats().revocations
    assert await refresher.revoke(revocation_of(pair.refresh_token)) is True
    assert server.stats().revocations == before + 1
    assert isinstance(await failure(refresher, pair.refresh_token), ReauthorizationRequiredError)


async def test_an_access_token_can_be_revoked_too(server, refresher):
    [pair] = server.issue(1)
    assert await refresher.revoke(revocation_of(pair.access_token, TokenKind.ACCESS_TOKEN)) is True


async def test_client_credentials(server):
    key = Secret.from_fields(client_id=server.machine_client_id, client_secret=server.machine_client_secret)
    for method in ("client_secret_basic", "client_secret_post"):
        tokens = await refreshed(ClientCredentialsRefresher(server.token_url, auth_method=method), key)
        assert tokens.access_token.reveal()
        assert tokens.refresh_token is None


async def test_wrong_client_credentials_are_a_dead_key(server):
    key = Secret.from_fields(client_id=server.machine_client_id, client_secret="wrong")
    error = await failure(ClientCredentialsRefresher(server.token_url), key)
    assert isinstance(error, ReauthorizationRequiredError)
    assert error.reason == "invalid_client"
