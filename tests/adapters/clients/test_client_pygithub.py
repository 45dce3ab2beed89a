"""`VaultAuth` for PyGithub, against an API on loopback and a strict provider."""

import github
import pytest
from tests.adapters.clients.strict_api import ACCOUNT, LOOPBACK, Place, strict_api
from tests.support.answers import Answer
from tests.support.strict_provider import ANSWERED

from vault_adapters import ConfigurationError, InvalidInputError, Secret
from vault_adapters.clients.pygithub import VaultAuth

USER = Answer(json={"login": "ann", "url": "/user"})


@pytest.fixture
def api(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with strict_api() as running:
        running.route = lambda request: USER
        running.refusal = Answer(status=401, json={"message": "Bad credentials"})
        yield running


@pytest.fixture
def place(tmp_path, api):
    return Place.in_file(tmp_path / "vault.db", api)


def client_of(vault, url, hosts=LOOPBACK):
    return github.Github(auth=VaultAuth(vault, ACCOUNT, hosts=hosts), base_url=url, retry=None)


def login(place, url):
    with place.open() as vault:
        client = client_of(vault, url)
        try:
            return client.get_user().login
        except github.BadCredentialsException:
            return "refused"


def test_a_refused_token_is_reported_and_refreshed(api, place):
    pair = api.provider.consent("ann")
    place.connect(pair)
    api.end(pair[0])
    assert login(place, api.url) == "ann"
    assert (len(api.asked), api.outcomes) == (2, [ANSWERED])


def test_a_second_refusal_is_the_callers(api, place):
    pair = api.provider.consent("ann")
    place.connect(pair)
    api.route = lambda request: api.refusal
    assert login(place, api.url) == "refused"
    assert (len(api.asked), api.outcomes) == (2, [ANSWERED])


def test_another_host_gets_no_token(api, place):
    place.connect(api.provider.consent("ann"))
    with place.open() as vault:
        with pytest.raises(ConfigurationError) as error:
            client_of(vault, api.url, hosts=["api.github.com"]).get_user().login  # noqa: B018
        assert error.value.code == "host_not_allowed"
        with pytest.raises(ConfigurationError) as error:
            client_of(vault, api.url, hosts=None).get_user().login  # noqa: B018
        assert error.value.code == "hosts_unknown"
    assert api.asked == []


def test_an_auth_serves_one_base_url(api, place):
    """PyGithub does not tell an auth object which of its clients sends a request."""
    place.connect(api.provider.consent("ann"))
    with place.open() as vault:
        auth = VaultAuth(vault, ACCOUNT, hosts=LOOPBACK)
        client = github.Github(auth=auth, base_url=api.url, retry=None)
        with pytest.raises(ConfigurationError) as error:
            github.Github(auth=auth, base_url="https://elsewhere.example", retry=None)
        assert error.value.code == "host_not_allowed"
        assert client.withLazy(True).get_user().login == "ann"


def test_the_token_can_be_read_and_is_not_shown(api, place):
    pair = api.provider.consent("ann")
    place.connect(pair)
    with place.open() as vault:
        client = client_of(vault, api.url)
        auth = client.requester.auth
        assert (auth.token_type, auth.token) == ("Bearer", pair[0])
        headers = {}
        auth.authentication(headers)
        assert headers == {"Authorization": f"Bearer {pair[0]}"}
        auth.mask_authentication(headers)
        assert pair[0] not in f"{headers}{auth!r}"


def test_arguments_are_checked():
    with pytest.raises(InvalidInputError):
        VaultAuth(Secret("vault"), ACCOUNT)
