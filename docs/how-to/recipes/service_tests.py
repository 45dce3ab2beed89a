"""Tests of the service: the real vault on SQLite, and a provider on loopback in place of Google."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import service_fastapi as service
from fastapi.testclient import TestClient

from vault_adapters import generate_encryption_secret
from vault_adapters.testing.openid import openid_provider


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TestClient]:
    with openid_provider() as provider:
        variables = {
            "DATABASE_URL": f"sqlite:///{tmp_path}/vault.db",
            "ENCRYPTION_SECRET": generate_encryption_secret(),
            "TOKEN_VAULT_SCRYPT_LOG2_N": "14",  # opens the vault at once; for tests only
            "REDIRECT_URI": "http://localhost/connect/callback/{provider}",
            "API_URL": f"{provider.issuer}/userinfo",
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(service, "refreshers", lambda: {"google": provider.refresher("google")})
        # A redirect URI must be https or on loopback; TestClient's default address, http://testserver, is neither.
        with TestClient(service.app, base_url="http://localhost", headers={"x-tenant": "t1"}) as client:
            yield client


def connect(client: TestClient, user: str = "ana@example.com") -> None:
    start = client.post("/connect/google", follow_redirects=False)
    agreed = httpx2.get(f"{start.headers['location']}&login_hint={user}")  # the user's visit at the provider
    assert client.get(agreed.headers["location"]).status_code == 200


def test_an_account_is_connected_and_used(client: TestClient) -> None:
    connect(client)
    assert [info["label"] for info in client.get("/accounts").json()] == ["Ana"]
    assert client.get("/accounts/google/user-1/profile").json()["email"] == "ana@example.com"
    assert client.get("/accounts/google/user-1/profile", headers={"x-tenant": "t2"}).status_code == 409


def test_a_tenant_is_erased(client: TestClient) -> None:
    connect(client)
    assert client.delete("/tenant").json()["data_keys"] == 1
    assert client.get("/accounts").json() == []


def test_the_probes_answer(client: TestClient) -> None:
    assert client.get("/readyz").json()["ok"]
    assert client.get("/health").json()["ok"]
    assert "token_vault_reads_total" in client.get("/metrics").text
