"""`VaultCredentials` for google-auth."""

import pickle
from datetime import UTC, datetime, timedelta

import google.auth.transport.requests
import pytest
from tests.adapters.clients.small_vault import ACCOUNT, LOOPBACK, ListedVault, SmallSyncVault

from vault_adapters.clients.google import VaultCredentials


def authorized(credentials):
    session = google.auth.transport.requests.AuthorizedSession(credentials)
    session.trust_env = False
    return session


def test_a_good_token_is_sent(server, pair):
    vault = SmallSyncVault(server, pair)
    with authorized(VaultCredentials(vault, ACCOUNT, hosts=LOOPBACK)) as session:
        response = session.get(server.resource_url)
    assert response.status_code == 200
    assert pair.account in response.text
    assert vault.reported == []


def test_a_refused_token_is_reported_and_the_next_one_is_tried(server, stale_pair):
    vault = SmallSyncVault(server, stale_pair)
    old = vault.held
    with authorized(VaultCredentials(vault, ACCOUNT, hosts=LOOPBACK)) as session:
        assert session.get(server.resource_url).status_code == 200
    assert vault.reported == [old]


def test_expiry_is_naive_utc_as_google_auth_wants_it():
    credentials = VaultCredentials(ListedVault("good"), ACCOUNT, hosts=LOOPBACK)
    assert not credentials.valid
    credentials.refresh(None)
    assert credentials.token == "good"
    assert credentials.expiry.tzinfo is None
    left = credentials.expiry.replace(tzinfo=UTC) - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    assert credentials.valid
    assert not credentials.expired


def test_a_token_without_expiry_does_not_expire():
    credentials = VaultCredentials(ListedVault("good", lifetime=None), ACCOUNT, hosts=LOOPBACK)
    credentials.refresh(None)
    assert credentials.expiry is None
    assert credentials.valid


def test_only_a_token_that_should_be_good_is_reported():
    vault = ListedVault("old", "good", lifetime=timedelta(0))
    credentials = VaultCredentials(vault, ACCOUNT, hosts=LOOPBACK)
    credentials.refresh(None)
    credentials.refresh(None)
    assert vault.reported == []

    vault = ListedVault("old", "good")
    credentials = VaultCredentials(vault, ACCOUNT, hosts=LOOPBACK)
    credentials.refresh(None)
    credentials.refresh(None)
    assert vault.reported == ["old"]
    assert credentials.token == "good"


def test_they_cannot_be_pickled_into_clear():
    credentials = VaultCredentials(ListedVault("good"), ACCOUNT, hosts=LOOPBACK)
    credentials.refresh(None)
    with pytest.raises(TypeError):
        pickle.dumps(credentials)
    assert "good" not in repr(credentials)
