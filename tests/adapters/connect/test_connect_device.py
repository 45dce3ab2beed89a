"""The device authorization grant (RFC 8628): a code that the user enters elsewhere, and how the provider is asked."""

from itertools import pairwise

import pytest
from attrs import evolve
from tests.support.devices import GRANT, Devices

from vault_adapters import (
    AuthorizationRefusedError,
    ConfigurationError,
    ConnectError,
    InvalidInputError,
    ProviderConfigurationError,
    TokenKind,
)
from vault_adapters.connect import DeviceConnector
from vault_adapters.providers import refresher
from vault_adapters.testing.openid import openid_provider


@pytest.fixture
def provider():
    with openid_provider(Devices) as running:
        yield running


class Sleep:
    """Remembers how long the connector would have waited."""

    def __init__(self):
        self.slept = []

    async def __call__(self, seconds):
        self.slept.append(seconds)


def connector_of(vault, provider, sleep=None):
    profile = evolve(provider.profile(), device_authorization_url=f"{provider.issuer}/device")
    made = refresher(profile, provider.client_id, provider.client_secret)
    return DeviceConnector(vault, {"local": made}, sleep=sleep or Sleep())


async def nothing_stored(vault):
    return (await vault.list_accounts("t1")).items == ()


async def test_an_account_is_stored_when_the_user_has_agreed(vault, provider):
    connector = connector_of(vault, provider)
    provider.results = ["authorization_pending", "authorization_pending", None]
    start = await connector.begin("t1", "local", scopes=["read"])
    assert (start.user_code, start.verification_uri) == ("WDJB-MJHT", f"{provider.issuer}/enter")
    assert await nothing_stored(vault)
    info = await connector.finish(start)
    assert (info.account.identifier, info.label, info.state.value) == ("user-1", "Ana", "connected")
    assert await vault.get_token(info.account.key(TokenKind.REFRESH_TOKEN)) is not None
    first, *polls = provider.asked
    assert set(first["scope"].split()) == {"read", "openid", "email", "profile", "offline_access"}
    assert [each["grant_type"] for each in polls] == [GRANT] * 3
    assert {each["device_code"] for each in polls} == {start.device_code.reveal()}
    assert start.device_code.reveal() not in repr(start)
    assert "WDJB" not in repr(start)


async def test_the_provider_sets_the_pace(vault, provider):
    """RFC 8628 section 3.5: slow_down adds five seconds for good; an outage doubles the interval."""
    sleep = Sleep()
    provider.started = {"interval": 3}
    provider.results = ["authorization_pending", "slow_down", "slow_down", (503, {}), "authorization_pending", None]
    connector = connector_of(vault, provider, sleep)
    await connector.finish(await connector.begin("t1", "local"))
    assert sleep.slept == [3, 3, 8, 13, 26, 26]
    assert all(before <= after for before, after in pairwise(sleep.slept))


@pytest.mark.parametrize(("interval", "seconds"), [(None, 5), ("7", 7), (0, 1), (100_000, 60)])
async def test_the_interval_is_five_seconds_unless_the_provider_says(vault, provider, interval, seconds):
    sleep = Sleep()
    provider.started, provider.results = {"interval": interval}, [None]
    connector = connector_of(vault, provider, sleep)
    await connector.finish(await connector.begin("t1", "local"))
    assert sleep.slept == [seconds]


@pytest.mark.parametrize(
    ("result", "error", "reason"),
    [
        ("access_denied", AuthorizationRefusedError, "access_denied"),
        ("expired_token", AuthorizationRefusedError, "expired_token"),
        ("invalid_grant", AuthorizationRefusedError, "invalid_grant"),
        ("invalid_client", ProviderConfigurationError, "invalid_client"),
        ((200, {"token_type": "canary"}), ConnectError, "unreadable_answer"),
        ((200, {"error": "access_denied"}), AuthorizationRefusedError, "access_denied"),
    ],
)
async def test_an_end_without_tokens_is_one_error_and_stores_nothing(vault, provider, result, error, reason):
    provider.results = ["authorization_pending", result, None]
    connector = connector_of(vault, provider)
    start = await connector.begin("t1", "local")
    with pytest.raises(error) as caught:
        await connector.finish(start)
    assert caught.value.reason == reason
    assert (caught.value.account.tenant_id, caught.value.account.provider) == ("t1", "local")
    assert "canary" not in str(caught.value)
    assert provider.results == [None]
    assert await nothing_stored(vault)


async def test_a_code_that_has_expired_is_not_asked_about(vault, provider):
    provider.started, provider.results = {"expires_in": 2, "interval": 5}, [None]
    connector = connector_of(vault, provider)
    with pytest.raises(AuthorizationRefusedError) as caught:
        await connector.finish(await connector.begin("t1", "local"))
    assert caught.value.reason == "expired_token"
    assert len(provider.asked) == 1


@pytest.mark.parametrize(
    "members",
    [
        {"device_code": None},
        {"device_code": ""},
        {"device_code": ["canary"]},
        {"device_code": "canary\ud800"},
        {"user_code": None},
        {"user_code": "canary\x1b[2J"},
        {"user_code": "canary" * 20},
        {"verification_uri": None},
        {"verification_uri": "http://canary.example/enter"},
        {"verification_uri": "javascript:canary"},
        {"expires_in": None},
        {"expires_in": -1},
        {"expires_in": "canary"},
        {"interval": "canary"},
        {"interval": [1]},
        {"interval": 1e999},
    ],
)
async def test_a_bad_answer_is_one_typed_error(vault, provider, members):
    provider.started = members
    with pytest.raises(ConnectError) as caught:
        await connector_of(vault, provider).begin("t1", "local")
    assert (caught.value.code, caught.value.reason) == ("provider_unavailable", "unreadable_answer")
    assert "canary" not in str(caught.value)
    assert await nothing_stored(vault)


async def test_the_old_name_of_the_address_is_known(vault, provider):
    provider.started = {"verification_uri": None, "verification_url": f"{provider.issuer}/old"}
    assert (await connector_of(vault, provider).begin("t1", "local")).verification_uri == f"{provider.issuer}/old"


async def test_an_id_token_of_another_client_stores_nothing(vault, provider):
    provider.claims = lambda grant: {**Devices.claims(provider, grant), "aud": "another"}
    provider.results = [None]
    connector = connector_of(vault, provider)
    with pytest.raises(ConnectError) as caught:
        await connector.finish(await connector.begin("t1", "local"))
    assert caught.value.reason == "aud"
    assert await nothing_stored(vault)


async def test_wrong_arguments(vault, provider):
    with pytest.raises(ConfigurationError, match="device_authorization_url"):
        DeviceConnector(vault, {"local": provider.refresher()})
    connector = connector_of(vault, provider)
    with pytest.raises(InvalidInputError) as caught:
        await connector.begin("t1", "other")
    assert caught.value.code == "provider_unknown"
    with pytest.raises(InvalidInputError):
        await connector.finish("canary")
