"""The loopback provider runs as a program of its own, and a service in another process connects there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.adapters.connect.browser import REDIRECT_URI

from vault_adapters.connect import Connector
from vault_adapters.testing.openid import LoopbackOpenIdProvider

SOURCE = Path(__file__).parents[3] / "src"


@pytest.fixture
def issuer():
    command = [sys.executable, "-m", "vault_adapters.testing.openid", "--port", "0", "--lifetime", "90"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as program:
        try:
            [[_, issuer], *client] = [program.stdout.readline().split() for _ in range(3)]
            assert client == [["client", "id", "loopback-client"], ["client", "secret", "loopback-secret"]]
            yield issuer
        finally:
            program.terminate()


async def test_a_service_connects_and_refreshes_at_a_provider_of_another_process(issuer, vault, browser):
    refresher = LoopbackOpenIdProvider(issuer, client_secret="loopback-secret").refresher("google")
    connector = Connector(vault, {"google": refresher}, redirect_uri=REDIRECT_URI)
    start = await connector.begin("t1", "google", session="s")
    query = await browser.visit(f"{start.url}&login_hint=ana%40example.com")
    info = await connector.finish(query, session="s")
    assert (info.label, info.state.value) == ("Ana", "connected")
    token = (await vault.get_access_token(info.account)).token
    assert token.info.lifetime.total_seconds() == 90
