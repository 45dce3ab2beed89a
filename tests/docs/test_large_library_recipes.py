"""The recipes for LangGraph, Google's Agent Development Kit and Airflow, run with the real libraries.

They are too large to require: a test is skipped where its library is not installed.
"""

import importlib.util
import json
import os
import subprocess
import sys
import warnings
from datetime import UTC, datetime, timedelta

import pytest
from tests.adapters.clients.strict_api import LOOPBACK, RECIPES, Place, meet, meeting_in, strict_api, with_recipes
from tests.support.answers import Answer
from tests.support.databases import SECRET
from tests.support.processes import Call, import_environment, run_processes
from tests.support.strict_provider import ANSWERED, digest

from vault_adapters import Account, InvalidInputError, TokenSet, open_vault
from vault_adapters.testing import memory_vault

pytestmark = pytest.mark.pages

FOUR = 4
ANN = Account("tenant-1", "google", "ann")


def need(module):
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        pytest.skip(f"{module} is not installed; it is large, so the tests do not require it")


@pytest.fixture
def api(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with_recipes()
    with strict_api() as running:
        running.route = lambda request: Answer(json={"files": ["report"]})
        yield running


@pytest.fixture
def anyio_backend():
    return "asyncio"


# LangGraph


def graph_of(vault, url):
    """Return a graph whose model is a script: it calls the tool, and repeats the answer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the framework's own warnings
        from langchain_core.messages import AIMessage
        from langgraph.checkpoint.memory import InMemorySaver
        from langgraph.graph import END, START, MessagesState, StateGraph
        from langgraph.prebuilt import ToolNode
        from with_langgraph import tools_of

    def model(state):
        call = {"name": "list_files", "args": {}, "id": "1"}
        return {"messages": [AIMessage("", tool_calls=[call])]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", model)
    graph.add_node("tools", ToolNode(tools_of(vault, url, hosts=LOOPBACK)))
    graph.add_edge(START, "model")
    graph.add_edge("model", "tools")
    graph.add_edge("tools", END)
    return graph.compile(checkpointer=InMemorySaver())


CONVERSATION = {"configurable": {"thread_id": "1", "tenant_id": "tenant-1", "user_id": "ann"}}


async def ask_langgraph(facts, url, meeting):
    with_recipes()
    place = Place(*facts)
    async with open_vault(place.config(), refreshers=place.refreshers("google")) as vault:
        graph = graph_of(vault, url)
        meet(meeting)
        state = await graph.ainvoke({"messages": []}, CONVERSATION)
        return json.loads(state["messages"][-1].content)


def test_a_tool_of_a_graph_calls_with_tokens_that_are_refreshed_once(api, tmp_path):
    need("langgraph")
    place = Place.in_file(tmp_path / "vault.db", api)
    pair = api.provider.consent("ann")
    place.connect(pair, account=ANN)
    api.end(pair[0])
    job = Call(ask_langgraph, [place.facts(), f"{api.url}/files", meeting_in(tmp_path, FOUR)])
    assert run_processes([job] * FOUR) == [{"files": ["report"]}] * FOUR
    assert api.outcomes == [ANSWERED]


async def test_a_conversation_waits_until_the_user_has_connected_the_account(api):
    need("langgraph")
    from langgraph.types import Command

    async with memory_vault(refreshers=api.refreshers("google")) as vault:
        graph = graph_of(vault, f"{api.url}/files")
        dead = TokenSet("gone", "unknown", expires_at=datetime.now(UTC) - timedelta(hours=1))
        await vault.store_token_set(ANN, dead)
        state = await graph.ainvoke({"messages": []}, CONVERSATION)
        [waiting] = state["__interrupt__"]
        assert waiting.value == {"connect": "google"}
        await vault.store_token_set(ANN, TokenSet(*api.provider.consent("ann"), expires_in=3600))
        state = await graph.ainvoke(Command(resume=True), CONVERSATION)
        assert json.loads(state["messages"][-1].content) == {"files": ["report"]}


# Google's Agent Development Kit


def context_of(service, user_id="ann"):
    from google.adk.agents.base_agent import BaseAgent
    from google.adk.agents.callback_context import CallbackContext
    from google.adk.agents.invocation_context import InvocationContext
    from google.adk.sessions import InMemorySessionService, Session

    invocation = InvocationContext(
        session_service=InMemorySessionService(),
        invocation_id="1",
        agent=BaseAgent(name="agent"),
        session=Session(id="1", app_name="app", user_id=user_id),
        credential_service=service,
    )
    return CallbackContext(invocation)


def config_of(token_url, key="google", tokens=None):
    from fastapi.openapi.models import OAuth2, OAuthFlowAuthorizationCode, OAuthFlows
    from google.adk.auth.auth_credential import AuthCredential, AuthCredentialTypes, OAuth2Auth
    from google.adk.auth.auth_tool import AuthConfig

    flow = OAuthFlowAuthorizationCode(authorizationUrl=f"{token_url}/x", tokenUrl=token_url, scopes={})
    client = OAuth2Auth(client_id="client", client_secret="secret")
    issued = (
        None if tokens is None else AuthCredential(auth_type=AuthCredentialTypes.OAUTH2, oauth2=OAuth2Auth(**tokens))
    )
    return AuthConfig(
        auth_scheme=OAuth2(flows=OAuthFlows(authorizationCode=flow)),
        raw_auth_credential=AuthCredential(auth_type=AuthCredentialTypes.OAUTH2, oauth2=client),
        exchanged_auth_credential=issued,
        credential_key=key,
    )


def service_of(vault):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the kit's own warnings
        from with_google_adk import VaultCredentialService

        return VaultCredentialService(vault, lambda user_id: "tenant-1")


async def ask_adk(facts, token_url, meeting):
    with_recipes()
    place = Place(*facts)
    async with open_vault(place.config(), refreshers=place.refreshers("google")) as vault:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            service = service_of(vault)
            from google.adk.auth.credential_manager import CredentialManager

            meet(meeting)
            credential = await CredentialManager(config_of(token_url)).get_auth_credential(context_of(service))
        return credential.oauth2.access_token


def test_the_kit_gets_tokens_that_are_refreshed_once(api, tmp_path):
    need("google.adk")
    place = Place.in_file(tmp_path / "vault.db", api)
    place.connect(api.provider.consent("ann"), account=ANN, expires_in=1)
    answers = run_processes([Call(ask_adk, [place.facts(), api.token_url, meeting_in(tmp_path, FOUR)])] * FOUR)
    assert len(set(answers)) == 1
    assert api.outcomes == [ANSWERED]


async def test_the_kit_keeps_what_it_exchanged_in_the_vault(api):
    need("google.adk")
    access, refresh = api.provider.consent("ann")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        async with memory_vault() as vault:
            service, tokens = service_of(vault), {"access_token": access, "refresh_token": refresh, "expires_in": 3600}
            assert await service.load_credential(config_of(api.token_url), context_of(service)) is None
            await service.save_credential(config_of(api.token_url, tokens=tokens), context_of(service))
            found = await service.load_credential(config_of(api.token_url), context_of(service))
            assert (found.oauth2.access_token, found.oauth2.refresh_token) == (access, None)
            other = context_of(service, user_id="bob")
            assert await service.load_credential(config_of(api.token_url), other) is None
            assert (await vault.get_refresh_token(ANN)).value.reveal() == refresh
            with pytest.raises(InvalidInputError):
                await service.save_credential(config_of(api.token_url, "no provider", tokens), other)
            assert [info.account async for info in vault.iter_accounts()] == [ANN]


# Airflow

JOBS = Account("tenant-1", "acme", "jobs")


def ask_airflow(facts, meeting):
    with_recipes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from airflow.sdk import Connection  # isort: skip  # it imports the backend that the settings name
        import with_airflow

        with_airflow.REFRESHERS |= Place(*facts).refreshers()
        meet(meeting)
        found = Connection.get("acme_jobs")
    with_airflow.vault_of(os.getpid()).close()
    return [found.conn_type, found.password, found.extra_dejson]


def test_tasks_of_airflow_get_tokens_that_are_refreshed_once(api, tmp_path, monkeypatch):
    need("airflow.sdk")
    place = Place.in_file(tmp_path / "vault.db", api)
    place.connect(api.provider.consent("jobs"), account=JOBS, expires_in=1, extra={"site": "eu"})
    settings = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__SECRETS__BACKEND": "with_airflow.VaultSecretsBackend",
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps({"accounts": {"acme_jobs": ["tenant-1", "acme", "jobs"]}}),
        "DATABASE_URL": place.database_url,
        "ENCRYPTION_SECRET": SECRET,
        "TOKEN_VAULT_SCRYPT_LOG2_N": "14",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    found = run_processes([Call(ask_airflow, [place.facts(), meeting_in(tmp_path, 2)])] * 2)
    assert found[0] == found[1]
    assert (found[0][0], found[0][2]) == ("http", {"site": "eu"})
    assert digest("api", found[0][1]) in api.provider.issued
    assert api.outcomes == [ANSWERED]


def test_airflow_asks_its_next_backend_for_other_names(tmp_path, monkeypatch):
    need("airflow.sdk")
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/vault.db")
    monkeypatch.setenv("ENCRYPTION_SECRET", SECRET)
    script = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "from with_airflow import VaultSecretsBackend\n"
        "backend = VaultSecretsBackend({'acme_jobs': ['tenant-1', 'acme', 'jobs']})\n"
        "print(backend.get_conn_value('other'), backend.get_conn_value('acme_jobs'), backend.get_variable('x'))\n"
    )
    environment = {**import_environment(), "PYTHONWARNINGS": "ignore"}
    environment["PYTHONPATH"] += f"{os.pathsep}{RECIPES}"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["None", "None", "None"], done.stderr
