"""`VaultTokenProvider`, against an API on loopback and a strict provider."""

from datetime import timedelta

import boto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.adapters.clients.strict_api import ACCOUNT, LOOPBACK, Place, strict_api
from tests.support.answers import Answer
from tests.support.certificates import tls_of, write_identity
from tests.support.databases import SECRET
from tests.support.strict_provider import ANSWERED

from vault_adapters import ConfigurationError, InvalidInputError, Secret, TokenSet, VaultConfig, open_sync_vault
from vault_adapters.clients.boto3 import VaultTokenProvider


@pytest.fixture
def api(monkeypatch, tmp_path):
    identity = write_identity(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(identity))
    with strict_api(tls_of(identity)) as running:
        running.route = lambda request: Answer(json={"userId": "ann", "items": []})
        running.refusal = Answer(status=401, json={"message": "who?"}, headers={"x-amzn-ErrorType": "Unauthorized"})
        yield running


@pytest.fixture
def place(tmp_path, api):
    return Place.in_file(tmp_path / "vault.db", api)


def session_of(vault, hosts=LOOPBACK):
    session = botocore.session.Session()
    VaultTokenProvider(vault, ACCOUNT, hosts=hosts).register(session)
    return boto3.Session(botocore_session=session, region_name="us-west-2")


def client_of(vault, url, hosts=LOOPBACK):
    return session_of(vault, hosts).client("codecatalyst", endpoint_url=url)


def who(place, url):
    with place.open() as vault:
        client = client_of(vault, url)
        try:
            return client.get_user_details()["userId"]
        except ClientError as error:
            return error.response["ResponseMetadata"]["HTTPStatusCode"]


def test_a_refused_token_is_reported_and_refreshed(api, place):
    pair = api.provider.consent("ann")
    place.connect(pair)
    api.end(pair[0])
    assert who(place, api.url) == "ann"
    assert (len(api.asked), api.outcomes) == (2, [ANSWERED])


def test_a_second_refusal_is_the_callers(api, place):
    place.connect(api.provider.consent("ann"))
    api.route = lambda request: api.refusal
    assert who(place, api.url) == 401
    assert (len(api.asked), api.outcomes) == (2, [ANSWERED])


def test_a_token_that_the_vault_still_trusts_is_tried_once_more_only(api):
    """The vault returns a token again that was stored a moment ago, so a second refusal must end the attempts."""
    access, refresh = api.provider.consent("ann")
    api.end(access)
    config = VaultConfig(
        "sqlite:///:memory:",
        encryption_secret=SECRET,
        scrypt_log2_n=14,
        read_cache=timedelta(minutes=1),
    )
    with open_sync_vault(config, refreshers=api.refreshers()) as vault:
        vault.store_token_set(ACCOUNT, TokenSet(access, refresh, expires_in=3600))
        with pytest.raises(ClientError):
            client_of(vault, api.url).get_user_details()
    assert (len(api.asked), api.outcomes) == (2, [])


def test_a_refusal_after_a_failure_is_reported_too(api, place):
    pair = api.provider.consent("ann")
    place.connect(pair)
    answers = [Answer(status=500, json={}), api.refusal]
    good = api.route
    api.route = lambda request: answers.pop(0) if answers else good(request)
    assert who(place, api.url) == "ann"
    assert (len(api.asked), api.outcomes) == (3, [ANSWERED])


def test_the_401_of_a_signed_request_says_nothing_about_the_token(api, place):
    place.connect(api.provider.consent("ann"))
    keys = {"aws_access_key_id": "AKIA", "aws_secret_access_key": "x"}
    with place.open() as vault:
        session = session_of(vault)
        session.client("codecatalyst", endpoint_url=api.url).get_user_details()
        signed = session.client("kms", endpoint_url=api.url, config=Config(retries={"max_attempts": 0}), **keys)
        with pytest.raises(ClientError):
            signed.list_keys()
    assert api.outcomes == []


def test_another_host_gets_no_token(api, place):
    place.connect(api.provider.consent("ann"))
    with place.open() as vault:
        for hosts, code in ([["*.aws.dev"], "host_not_allowed"], [None, "hosts_unknown"]):
            with pytest.raises(ConfigurationError) as error:
                client_of(vault, api.url, hosts).get_user_details()
            assert error.value.code == code
    assert api.asked == []


def test_arguments_are_checked():
    with pytest.raises(InvalidInputError):
        VaultTokenProvider(Secret("vault"), ACCOUNT)
