"""Accounts at MCP servers: connecting, refreshing, further scopes, and servers that are hostile."""

import importlib.util
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import anyio
import httpx2
import pytest
from tests.support.answers import Answer, redirect_answer
from tests.support.mcp_stub import mcp_stub

from vault_adapters import (
    Account,
    ConfigurationError,
    ConnectError,
    ConnectionState,
    ConsentRequiredError,
    IdentityRefusedError,
    InvalidInputError,
    RefreshRequest,
    Secret,
    StateRefusedError,
    TokenKind,
    VaultConfig,
    open_sync_vault,
    open_vault,
)
from vault_adapters.clients.httpx2 import VaultAuth
from vault_adapters.connect import Start
from vault_adapters.connect.mcp import IdentityProvider, McpConnector, McpRefresher
from vault_adapters.providers.addresses import is_public
from vault_adapters.testing import ManualClock, memory_vault

REDIRECT_URI = "http://127.0.0.1:9/callback"
REFRESHERS = {"mcp": McpRefresher(private_addresses=True)}


@pytest.fixture
def stub():
    with mcp_stub() as running:
        yield running


@pytest.fixture
def clock():
    return ManualClock(datetime.now(UTC))


@pytest.fixture
async def vault(clock):
    async with memory_vault(refreshers=REFRESHERS, clock=clock) as opened:
        yield opened


@pytest.fixture
def connector(vault):
    return connector_of(vault)


def connector_of(vault, **options):
    options = {"private_addresses": True, **options}
    return McpConnector(vault, client_name="Example", redirect_uri=REDIRECT_URI, **options)


async def location(start):
    async with httpx2.AsyncClient(trust_env=False) as browser:
        answer = await browser.get(start.url)
    return urlsplit(answer.headers["location"])


async def callback(start):
    return (await location(start)).query


async def connected(connector, stub, tenant="t1", **options):
    start = await connector.begin(tenant, stub.url, session="s", **options)
    came = await location(start)
    return await connector.finish(came.query, session="s", redirect_uri=came.path)


async def test_an_account_is_connected_called_and_refreshed(vault, connector, stub, clock):
    info = await connected(connector, stub)
    assert info.account == Account("t1", "mcp", stub.url)
    assert info.state is ConnectionState.CONNECTED
    assert info.scopes == ("tools:read",)
    async with httpx2.AsyncClient(auth=VaultAuth(vault, info.account), trust_env=False) as api:
        assert (await api.post(stub.url)).status_code == 200
        clock.advance(timedelta(minutes=5))
        stub.access.clear()  # the server ends all access tokens: the client reports it, and the vault refreshes
        assert (await api.post(stub.url)).status_code == 200
    assert (stub.refreshes, stub.lost) == (1, 0)
    await vault.refresh_account(info.account)
    assert (await vault.delete_account(info.account, revoke=True)).revoked is True
    assert stub.families == {}


async def test_a_tenant_registers_once_and_each_tenant_for_itself(vault, connector, stub):
    for tenant in ("t1", "t1", "t2"):
        await connected(connector, stub, tenant)
    assert sorted(stub.clients) == ["client-1", "client-8"]
    kept = await vault.get_token(Account("t2", "mcp_client", stub.base).key(TokenKind.API_KEY))
    assert kept.value.reveal_fields()["client_id"] == "client-8"


async def test_registrations_are_in_no_list_of_accounts(vault, connector, stub):
    for tenant in ("t1", "t2"):
        await connected(connector, stub, tenant)
    pages = [await vault.list_accounts("t1"), await vault.list_accounts(), await vault.find(stub.base)]
    assert [{info.account.provider for info in page.items} for page in pages] == [{"mcp"}] * 3
    assert (await vault.list_accounts(provider="mcp_client")).items == ()
    after, found = None, []
    while after is not None or not found:
        page = await vault.find(stub.base, limit=1, after=after)
        found, after = [*found, *page.items], page.next
        if after is None:
            break
    assert [info.account.tenant_id for info in found] == ["t1", "t2"]
    assert "mcp_client" in {info.key.provider async for info in vault.iter_tokens("t1")}  # it leaves with an export


async def test_a_server_that_has_forgotten_the_client_gets_a_new_one(vault, connector, stub):
    info = await connected(connector, stub)
    stub.clients.clear()
    with pytest.raises(Exception, match="invalid_client"):
        await vault.refresh_account(info.account)
    lost = await vault.get_account(info.account)
    assert (lost.state, lost.reason) == (ConnectionState.REAUTHORIZATION_REQUIRED, "invalid_client")
    again = await connected(connector, stub, account=info.account)
    assert again.state is ConnectionState.CONNECTED
    await vault.refresh_account(info.account)


async def test_a_client_that_was_forgotten_between_consent_and_callback_is_not_used_again(vault, connector, stub):
    start = await connector.begin("t1", stub.url, session="s")
    query = await callback(start)
    stub.clients.clear()
    with pytest.raises(Exception, match="invalid_client"):
        await connector.finish(query, session="s")
    assert (await connected(connector, stub)).state is ConnectionState.CONNECTED


async def test_further_scopes_are_asked_for_together_with_those_that_it_has(vault, connector, stub):
    info = await connected(connector, stub)
    stub.scopes = ("tools:read", "tools:write")
    async with httpx2.AsyncClient(auth=VaultAuth(vault, info.account), trust_env=False) as api:
        with pytest.raises(ConsentRequiredError) as caught:
            await api.post(stub.url)
        more = await connected(connector, stub, challenge=caught.value)
        assert more.scopes == ("tools:read", "tools:write")
        assert (await api.post(stub.url)).status_code == 200


async def test_users_who_begin_at_the_same_time_get_one_client_and_all_come_back(vault, stub, tmp_path):
    config = VaultConfig(f"sqlite:///{tmp_path}/vault.db", encryption_secret="s" * 8 + "0123456789abcdefghijklmno")
    starts = {}
    async with open_vault(config, refreshers=REFRESHERS) as first, open_vault(config, refreshers=REFRESHERS) as second:
        connectors = [connector_of(each) for each in (first, second, first, second)]

        async def begin(number):
            starts[number] = await connectors[number].begin("t1", stub.url, session=f"s{number}")

        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(begin, number)
        for number, start in starts.items():
            info = await connectors[number].finish(await callback(start), session=f"s{number}")
            assert info.state is ConnectionState.CONNECTED


async def test_users_who_connect_again_at_the_same_time_after_the_server_forgot_the_client_all_come_back(
    vault, connector, stub
):
    info = await connected(connector, stub)
    stub.clients.clear()
    with pytest.raises(Exception, match="invalid_client"):
        await vault.refresh_account(info.account)
    starts = [await connector.begin("t1", stub.url, session="s") for _ in range(2)]
    assert len(stub.clients) == 1
    for start in starts:
        assert (await connector.finish(await callback(start), session="s")).state is ConnectionState.CONNECTED


async def test_a_client_is_registered_anew_for_further_scopes_and_once_for_all_of_them(connector, stub):
    for scopes in ("a", "b", "a", "b", "a b"):
        assert (await connected(connector, stub, scopes=scopes.split())).scopes == tuple(scopes.split())
    assert len(stub.clients) == 2


async def test_scopes_that_a_server_registers_no_more_are_left_out(connector, stub):
    await connected(connector, stub, scopes=["old"])
    stub.unregistered = {"old"}
    assert (await connected(connector, stub, scopes=["new"])).scopes == ("new",)


async def test_a_client_is_registered_anew_for_another_redirect_uri(vault, connector, stub):
    await connected(connector, stub)
    moved = McpConnector(vault, client_name="Example", redirect_uri="http://127.0.0.1:9/moved", private_addresses=True)
    assert (await connected(moved, stub)).state is ConnectionState.CONNECTED


async def test_a_client_whose_secret_has_ended_is_registered_anew_and_is_no_account_to_connect_again(
    vault, connector, stub
):
    for seconds in (-60, 3600):
        stub.changes["register"] = {"client_secret_expires_at": int(datetime.now(UTC).timestamp()) + seconds}
        await connector.begin("t1", stub.url, session="s")
        assert [info async for info in vault.iter_accounts("t1")] == []
        assert (await vault.get_account(Account("t1", "mcp_client", stub.base))).state is ConnectionState.CONNECTED
    await connected(connector, stub)
    assert len(stub.clients) == 2


async def test_a_client_that_was_registered_by_hand_is_used(vault, stub):
    stub.clients["by-hand"] = "its-secret"
    for place in (stub.url, stub.base):
        await connected(connector_of(vault, clients={place: ("by-hand", "its-secret")}), stub)
    assert sorted(stub.clients) == ["by-hand"]


def test_a_sync_vault_is_served_too(stub, tmp_path):
    config = VaultConfig(f"sqlite:///{tmp_path}/vault.db", encryption_secret="s" * 8 + "0123456789abcdefghijklmno")
    with open_sync_vault(config, refreshers=REFRESHERS) as vault:
        info = anyio.run(connected, connector_of(vault), stub)
        assert info.state is ConnectionState.CONNECTED


@pytest.mark.parametrize(
    ("path", "change", "error", "reason"),
    [
        ("resource", {"resource": "https://elsewhere.example/mcp"}, IdentityRefusedError, "resource"),
        ("resource", {"resource": None}, IdentityRefusedError, "resource"),
        ("resource", {"authorization_servers": ["ftp://a"]}, ConnectError, "unreadable_answer"),
        ("server", {"issuer": "https://elsewhere.example"}, IdentityRefusedError, "iss"),
        ("server", {"code_challenge_methods_supported": ["plain"]}, ConnectError, "invalid_request"),
        ("server", {"token_endpoint": "javascript:alert(1)"}, ConnectError, "unreadable_answer"),
        ("server", {"token_endpoint": None}, ConnectError, "unreadable_answer"),
        ("server", redirect_answer("http://127.0.0.1:9/"), ConnectError, "unreadable_answer"),
        ("register", Answer(status=201, body=b"<html>welcome</html>"), ConnectError, "unreadable_answer"),
        ("register", {"client_id": None}, ConnectError, "unreadable_answer"),
        ("register", {"token_endpoint_auth_method": "private_key_jwt"}, ConnectError, "unreadable_answer"),
        ("register", Answer(status=201, body=b'{"client_id": "' + b"x" * 300_000 + b'"}'), ConnectError, None),
    ],
)
async def test_documents_that_lie_are_refused_and_nothing_is_stored(
    vault, connector, stub, path, change, error, reason
):
    stub.changes[path] = change
    with pytest.raises(error) as caught:
        await connector.begin("t1", stub.url, session="s")
    assert reason in (None, caught.value.reason)
    assert "elsewhere" not in str(caught.value)
    assert [page async for page in vault.iter_accounts()] == []


@pytest.mark.parametrize(
    "options",
    [
        {"client_name": None},
        {"client_name": ""},
        {"clients": 5},
        {"clients": {"https://mcp.example": "ab"}},
        {"clients": {"https://mcp.example": ("canary",)}},
        {"clients": {"https://mcp.example": ("canary", 5)}},
    ],
)
async def test_a_connector_checks_what_it_is_given(vault, options):
    with pytest.raises(InvalidInputError) as caught:
        McpConnector(vault, **{"client_name": "Example", "redirect_uri": REDIRECT_URI, **options})
    assert "canary" not in str(caught.value)


async def test_wrong_arguments_are_refused_before_a_request_is_sent(connector, stub):
    service, identity = {"client_id": "c", "client_secret": "s"}, {"provider": IdentityProvider("https://i/t", "c")}
    calls = [
        (connector.begin, {"session": "s", "scopes": "a b"}),
        (connector.begin, {"session": "s", "challenge": 5}),
        (connector.connect_service, {**service, "scopes": "a b"}),
        (connector.connect_service, {**service, "client_id": ""}),
        (connector.connect_by_identity, {**identity, "id_token": "t", "scopes": "a b"}),
        (connector.connect_by_identity, {**identity, "id_token": None}),
        (connector.connect_by_identity, {"id_token": "t", "provider": None}),
    ]
    for method, options in calls:
        with pytest.raises(InvalidInputError):
            await method("t1", stub.url, **options)
    assert stub.server.requests == []


async def test_a_server_without_registration_names_what_to_configure(vault, connector, stub):
    stub.changes["server"] = {"registration_endpoint": None}
    with pytest.raises(ConfigurationError, match="registers no clients") as caught:
        await connector.begin("t1", stub.url, session="s")
    assert caught.value.code == "client_unknown"


async def test_a_callback_of_another_issuer_is_refused(vault, connector, stub):
    start = await connector.begin("t1", stub.url, session="s")
    stub.changes["iss"] = "https://elsewhere.example"
    with pytest.raises(IdentityRefusedError):
        await connector.finish(await callback(start), session="s")
    assert not [each for each in stub.server.requests if each.path == "/token"]


@pytest.fixture
def hostile(stub):
    """A server whose authorization server sends its users on to the honest one, with the honest one's client."""
    with mcp_stub() as other:
        other.changes["server"] = {"authorization_endpoint": f"{stub.base}/authorize"}
        other.changes["resource"] = {}
        yield other


@pytest.mark.parametrize("announces", [True, False])
@pytest.mark.parametrize("own", [True, False])
async def test_a_code_of_the_honest_issuer_does_not_reach_a_hostile_one(connector, stub, hostile, announces, own):
    """The hostile issuer forwards the user with the honest issuer's client; ``own``: to its own address, else H's."""
    stub.be_silent()
    honest = dict(parse_qsl(urlsplit((await connector.begin("t1", stub.url, session="s")).url).query))
    hostile.changes["server"] = {"authorization_response_iss_parameter_supported": announces}
    start = await connector.begin("t1", hostile.url, session="s")
    sent = dict(parse_qsl(urlsplit(start.url).query))
    sent |= {"client_id": honest["client_id"], "resource": stub.url}
    sent |= {} if own else {"redirect_uri": honest["redirect_uri"]}
    async with httpx2.AsyncClient(trust_env=False) as browser:
        answer = await browser.get(f"{stub.base}/authorize", params=sent)
    if own:
        assert answer.status_code == 400  # the address is not registered there
        return
    came = urlsplit(answer.headers["location"])
    for called in (came.path, came.geturl(), None):
        with pytest.raises((IdentityRefusedError, StateRefusedError)):
            await connector.finish(came.query, session="s", redirect_uri=called)
    assert not [each for each in hostile.server.requests if each.path == "/token"]
    assert not [each for each in stub.server.requests if each.path == "/token"]


async def test_an_issuer_that_sends_no_iss_has_an_address_of_its_own(connector, stub):
    stub.be_silent()
    start = await connector.begin("t1", stub.url, session="s")
    came = await location(start)
    assert came.path.rpartition("/")[0] == "/callback"
    with pytest.raises(IdentityRefusedError, match="pass redirect_uri"):
        await connector.finish(came.query, session="s")
    assert not [each for each in stub.server.requests if each.path == "/token"]
    for path in ("/callback", "/callback/" + "0" * 32):
        came = await location(await connector.begin("t1", stub.url, session="s"))
        with pytest.raises(IdentityRefusedError):
            await connector.finish(came.query, session="s", redirect_uri=path)
    with pytest.raises(InvalidInputError):
        await connector.finish(came.query, session="s", redirect_uri=5)
    assert (await connected(connector, stub)).state is ConnectionState.CONNECTED
    assert len(stub.clients) == 1


async def test_an_issuer_that_announces_iss_must_send_it(connector, stub):
    stub.changes["iss"] = None
    with pytest.raises(IdentityRefusedError):
        await connected(connector, stub)
    assert not [each for each in stub.server.requests if each.path == "/token"]


async def test_a_shared_metadata_document_needs_iss_and_the_error_says_why(vault, stub):
    stub.be_silent()
    stub.changes["server"] |= {"client_id_metadata_document_supported": True, "registration_endpoint": None}
    shared = connector_of(vault, client_metadata_url="https://app.example/client.json")
    with pytest.raises(IdentityRefusedError, match=r"put \{issuer\} into client_metadata_url"):
        await connected(shared, stub)
    assert not [each for each in stub.server.requests if each.path == "/token"]
    stub.changes["server"].pop("registration_endpoint")
    assert (await connected(shared, stub)).state is ConnectionState.CONNECTED  # by a client that was registered


async def test_each_issuer_gets_a_metadata_document_of_its_own(vault, stub):
    stub.be_silent()
    stub.changes["server"] |= {"client_id_metadata_document_supported": True, "registration_endpoint": None}
    connector = connector_of(vault, client_metadata_url="https://app.example/client/{issuer}.json")
    start = await connector.begin("t1", stub.url, session="s")
    sent = dict(parse_qsl(urlsplit(start.url).query))
    tag = sent["redirect_uri"].rpartition("/")[2]
    document = connector.client_metadata(tag)
    assert (document["client_id"], document["redirect_uris"]) == (sent["client_id"], [sent["redirect_uri"]])
    assert document["client_id"] == f"https://app.example/client/{tag}.json"
    stub.public.add(document["client_id"])
    assert (await connected(connector, stub)).state is ConnectionState.CONNECTED
    for wrong in ("../x", "", None):
        with pytest.raises(InvalidInputError):
            connector.client_metadata(wrong)
    with pytest.raises(InvalidInputError):
        connector_of(vault, client_metadata_url="https://app.example/c").client_metadata(tag)
    with pytest.raises(InvalidInputError):
        connector_of(vault, client_metadata_url="https://{issuer}.example/c")


async def test_the_client_that_began_is_the_one_that_finishes(connector, stub):
    first = await connector.begin("t1", stub.url, session="s", scopes=["a"])
    query = await callback(first)
    await connector.begin("t1", stub.url, session="s", scopes=["b"])  # registers another client
    assert len(stub.clients) == 2
    assert (await connector.finish(query, session="s")).state is ConnectionState.CONNECTED


async def test_a_client_by_hand_goes_to_the_issuer_that_the_host_named_only(vault, stub):
    with mcp_stub() as elsewhere:
        elsewhere.clients["by-hand"] = "its-secret"
        stub.changes["resource"] = {"authorization_servers": [elsewhere.base]}
        with pytest.raises(ConfigurationError, match="must name the issuer") as caught:
            await connector_of(vault, clients={stub.url: ("by-hand", "its-secret")}).begin("t1", stub.url, session="s")
        assert caught.value.code == "client_unknown"
        by_issuer = connector_of(vault, clients={elsewhere.base: ("by-hand", "its-secret")})
        start = await by_issuer.begin("t1", stub.url, session="s")
        assert dict(parse_qsl(urlsplit(start.url).query))["client_id"] == "by-hand"
        assert elsewhere.clients == {"by-hand": "its-secret"}


@pytest.mark.parametrize(
    ("stated", "is_right"),
    [
        ("{base}/mcp", True),
        ("{base}", False),  # the metadata are those of /mcp
        ("{base}/mcp#a", False),
        ("{base}/mcp#", False),
        ("{upper}/mcp", False),
        ("{base}/mcp/", False),
        ("{base}/other", False),
    ],
)
async def test_metadata_are_of_the_resource_that_their_url_says(connector, stub, stated, is_right):
    upper = stub.base.replace("http", "HTTP")
    stub.changes["resource"] = {"resource": stated.format(base=stub.base, upper=upper)}
    if is_right:
        await connector.begin("t1", stub.url, session="s")
        return
    with pytest.raises(IdentityRefusedError) as caught:
        await connector.begin("t1", stub.url, session="s")
    assert caught.value.reason == "resource"


async def test_a_callback_belongs_to_its_session_and_opens_once(vault, connector, stub):
    start = await connector.begin("t1", stub.url, session="s")
    query = await callback(start)
    with pytest.raises(StateRefusedError):
        await connector.finish(query, session="another")
    await connector.finish(query, session="s")
    with pytest.raises(StateRefusedError):
        await connector.finish(query, session="s")
    assert dict(parse_qsl(query))["code"] not in repr(start)


@pytest.mark.parametrize(
    "url", ["http://example.com/mcp", "https://user:pw@example.com/mcp", "file:///etc/passwd", "", 5]
)
async def test_a_server_url_must_be_https(vault, url):
    with pytest.raises(InvalidInputError) as caught:
        await connector_of(vault, private_addresses=False).begin("t1", url, session="s")
    assert "example" not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "[::1]", "169.254.169.254", "10.0.0.8", "[::ffff:10.0.0.8]"]
)
async def test_a_private_address_is_not_asked(vault, host):
    with pytest.raises(ConnectError) as caught:
        await connector_of(vault, private_addresses=False).begin("t1", f"https://{host}/mcp", session="s")
    assert caught.value.reason == "private_address"


async def test_a_name_that_leads_elsewhere_when_it_is_connected_to_gets_no_request(vault, stub, monkeypatch):
    """The name has a public address when it is looked up first, and leads to loopback then (DNS rebinding)."""

    async def public(_url):
        return None

    monkeypatch.setattr("vault_adapters.providers.http.refuse_private_host", public)
    strict = connector_of(vault, private_addresses=False)
    before = len(stub.server.requests)
    with pytest.raises(ConnectError) as caught:
        await strict.begin("t1", stub.url.replace("http:", "https:"), session="s")
    assert caught.value.reason == "private_address"
    assert len(stub.server.requests) == before


async def test_a_refresh_does_not_go_to_a_private_address(connector, stub, vault):
    info = await connected(connector, stub)
    token = await vault.get_token(info.account.key(TokenKind.ACCESS_TOKEN))
    assert token.extra["mcp_token_url"].startswith("http://127.0.0.1")
    before = stub.refreshes
    strict = McpRefresher()
    with pytest.raises(Exception, match="https"):
        await strict.refresh(_request(info.account, token))
    assert stub.refreshes == before


def _request(account, token):
    return RefreshRequest(
        account, Secret("refresh-1"), TokenKind.REFRESH_TOKEN, (), timedelta(seconds=5), extra=token.extra
    )


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::8.8.8.8", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b:1::8.8.8.8", False),
        ("::ffff:0:8.8.8.8", False),
        ("::8.8.8.8", False),
        ("fec0::1", False),
        ("fd00:ec2::254", False),
        ("2001::1", False),
        ("2001:db8::1", False),
        ("2002:808:808::", False),
        ("3fff::1", False),
        ("4000::1", False),
        ("192.0.0.192", False),
        ("192.0.0.9", False),
        ("168.63.129.16", False),
        ("168.63.129.17", True),
        ("172.32.0.1", True),
        ("203.0.113.9", False),
        ("240.0.0.1", False),
        ("2002:7f00:1::", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("fe80::1%eth0", False),
        ("localhost", False),
    ],
)
def test_which_addresses_are_public(address, expected):
    assert is_public(address) is expected


async def test_the_recipe_of_the_guide_connects(vault, stub, monkeypatch):
    path = Path(__file__).parents[4] / "docs/how-to/recipes/mcp_agent.py"
    recipe = importlib.util.module_from_spec(importlib.util.spec_from_file_location("mcp_agent", path))
    recipe.__spec__.loader.exec_module(recipe)
    monkeypatch.setattr(recipe, "connector_of", connector_of)
    url = await recipe.begin(vault, "t1", stub.url, "s")
    assert await recipe.callback(vault, await callback(Start(url, "")), "s", "/callback") == Account(
        "t1", "mcp", stub.url
    )
