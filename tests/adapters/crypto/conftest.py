"""Fixtures of the encryption tests."""

import pytest
from tests.adapters.crypto.kms_service import client_for
from tests.adapters.crypto.memory_keys import MemoryKeyRepository


@pytest.fixture
def repository():
    return MemoryKeyRepository()


@pytest.fixture(scope="session")
def kms_endpoint():
    """Run moto's server on loopback and give its URL."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def kms_client(kms_endpoint):
    client = client_for(kms_endpoint)
    yield client
    client.close()
