import pytest
from tests.contract.stores import contract_database, database, prepared_schemas
from tests.support.oauth_server import start_oauth_server
from tests.support.scripted_provider import Answer, scripted_provider

__all__ = ["contract_database", "database", "prepared_schemas"]


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
def server():
    """A real OAuth server with a protected resource."""
    with start_oauth_server() as running:
        yield running


@pytest.fixture
def pair(server):
    [issued] = server.issue(1)
    return issued


@pytest.fixture
def stale_pair(server, pair):
    """A token pair whose access token the server refuses."""
    server.expire_access_tokens()
    return pair


@pytest.fixture
def api():
    """An API that takes the bearer token `good` only."""

    def respond(request):
        if request.headers.get("authorization") == "Bearer good":
            return Answer(json={"body": request.body.decode()})
        return Answer(status=401, body=b"who are you?")

    with scripted_provider(respond) as scripted:
        yield scripted
