"""The leak gate: every public function is made to raise, and no tool for error reports finds a secret in the error.

The tests find the public functions by introspection. A new function, method or command fails here until a test makes it
raise, or until it is named below as one that cannot raise.
"""

import asyncio
import importlib
import inspect
import io
import itertools
import sys
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from uuid import UUID

import pytest
from attrs import evolve
from slack_sdk.oauth.installation_store import Installation
from tests.adapters.hosting.hosts import driver, sync_driver
from tests.security.canaries import leaks_in
from tests.security.gate import ACCOUNT, CANARY, KEY, OTHER, Gate, right_call, right_value, wrong_calls
from tests.security.surface import commands, public_names
from tests.support.databases import PostgresSchema, SqliteFile
from tests.support.scripted_provider import FOREVER, Answer, error_answer, scripted_provider

from vault_adapters import (
    Account,
    ApiHeader,
    HostTransaction,
    ImportedToken,
    ReauthorizationRequiredError,
    RefreshFailedError,
    RefreshRequest,
    RefreshWorker,
    Secret,
    SyncHostTransaction,
    SyncKeys,
    SyncStates,
    SyncVault,
    TokenInfo,
    TokenKind,
    TokenSet,
    TokenStatus,
    TokenVault,
    VaultError,
    VaultKeys,
    VaultStates,
    open_sync_vault,
    open_vault,
)
from vault_adapters.cli.application import build
from vault_adapters.importing.formats import FERNET, ORIGINAL, TOKENS
from vault_adapters.importing.reading import open_plain, read_dump
from vault_adapters.providers import (
    ClientCredentialsRefresher,
    CustomRefresher,
    GitHubAppRefresher,
    GreenInvoiceRefresher,
    MetaTokenExchangeRefresher,
    OAuth2Refresher,
    SigningKey,
    refresher,
)
from vault_adapters.providers.profiles import packaged_profile
from vault_adapters.testing import ManualClock, RecordedCall, ScriptedRefresher

VAULTS = {
    "TokenVault": TokenVault,
    "VaultKeys": VaultKeys,
    "VaultStates": VaultStates,
    "SyncVault": SyncVault,
    "SyncKeys": SyncKeys,
    "SyncStates": SyncStates,
    "HostTransaction": HostTransaction,
    "SyncHostTransaction": SyncHostTransaction,
}
"""Classes whose instances come only from opening a vault; tests of their own call their methods."""

# These functions never raise: they take no argument that they could refuse, and `revoke` returns a provider's failure.
CANNOT_RAISE = {
    *("Secret.reveal", "generate_encryption_secret", "SyncVault.close", "RefreshWorker.stop", "ManualClock.now"),
    *("Rotation.strict", "Rotation.non_rotating", "OAuth2Refresher.revoke", "CustomRefresher.revoke", "profiles"),
    *(f"{cls}Refresher.client_id_of" for cls in ("OAuth2", "MetaTokenExchange", "Custom", "GitHubApp")),
}
# These functions may raise, but they take no text from a host, only times, clients, and values that the vault itself
# passes. Other tests below and in tests/adapters/providers make refreshers and clients fail.
TAKES_NO_TEXT = {
    *("SigningKey.jwt", "ApiHeader.credentials_of", "ApiHeader.may_reject", "ApiHeader.rejects"),
    *("TokenInfo.health", "TokenInfo.is_expired", "ImportedToken.seal", "RefreshWorker.run", "EventFeed"),
    *("ScriptedRefresher", "ScriptedRefresher.then", "ScriptedRefresher.refresh", "aiohttp.VaultAuth.__call__"),
    *(
        f"{cls}.{method}"
        for cls in (
            *("OAuth2Refresher", "ClientCredentialsRefresher", "CustomRefresher"),
            *("GitHubAppRefresher", "JwtBearerRefresher"),
            *("GreenInvoiceRefresher", "MetaTokenExchangeRefresher"),
        )
        for method in ("refresh", "with_client")
    ),
}
NAMES = [
    name for name in public_names() if name.partition(".")[0] not in VAULTS and name not in CANNOT_RAISE | TAKES_NO_TEXT
]


def test_what_is_left_out_exists():
    assert set(public_names()) >= CANNOT_RAISE | TAKES_NO_TEXT
    assert set(VAULTS) <= {name.partition(".")[0] for name in public_names()}


NOW = datetime(2030, 1, 1, tzinfo=UTC)
INFO = TokenInfo(UUID(int=1), KEY, TokenStatus.VALID, None, NOW, (), 1, None, None, None, NOW, NOW)
_numbers = itertools.count(1)


class _NoVault:
    """Stands in for a vault: it has the methods that clients call, and they raise."""

    def ensure_access_token(self, account):
        raise ReauthorizationRequiredError(account=account)

    report_rejected = refresh_due = ensure_access_token

    def __repr__(self):
        return "vault"


def by_service(content):
    raise ValueError(CANARY)


def key_of(sign):
    return SigningKey.from_signer(sign, algorithm="RS256")


def instance_of(name):
    """Return an instance of a public class for calls of its methods; a new class with methods needs a line here."""
    made = {
        "Account": lambda: ACCOUNT,
        "ApiHeader": ApiHeader,
        "ImportedToken": lambda: ImportedToken(KEY, CANARY),
        "RefreshWorker": lambda: RefreshWorker(_NoVault()),
        "Secret": lambda: Secret(CANARY),
        "TokenInfo": lambda: INFO,
        "ManualClock": ManualClock,
        "RecordedCall": lambda: RecordedCall(ACCOUNT, TokenKind.API_KEY, (), timedelta(1), Secret(CANARY)),
        "ScriptedRefresher": ScriptedRefresher,
        "OAuth2Refresher": lambda: OAuth2Refresher("http://127.0.0.1:1", "client", CANARY),
        "GitHubAppRefresher": lambda: GitHubAppRefresher("1", key_of(by_service)),
        "SigningKey": lambda: key_of(by_service),
        "CustomRefresher": lambda: CustomRefresher("http://127.0.0.1:1", "client", CANARY, read_answer=dict),
        "ClientCredentialsRefresher": lambda: ClientCredentialsRefresher("http://127.0.0.1:1"),
        "GreenInvoiceRefresher": lambda: GreenInvoiceRefresher(token_url="http://127.0.0.1:1"),
        "MetaTokenExchangeRefresher": lambda: MetaTokenExchangeRefresher("1", CANARY, token_url="http://127.0.0.1:1"),
    }
    return made[name]()


def request(**changes):
    fields = {
        "account": ACCOUNT,
        "credential": Secret(CANARY),
        "kind": TokenKind.REFRESH_TOKEN,
        "scopes": (),
        "deadline": timedelta(seconds=5),
    }
    return RefreshRequest(**{**fields, **changes})


def right(name):
    return request() if name == "request" else {"vault": _NoVault()}.get(name) or right_value(name)


@pytest.mark.parametrize("name", [name for name in NAMES if not name[0].islower() or "." not in name])
async def test_a_wrong_argument(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    function, gate = public_names()[name], Gate()
    first, _, method = name.partition(".")
    if method and not inspect.ismethod(function) and first[0].isupper():
        function = getattr(instance_of(first), method)
    for call in wrong_calls(function, right):
        await asyncio.wait_for(gate.expect(name, call), 30)
    if not gate.raised:
        await gate.expect(name, right_call(function, right))
    assert gate.raised, f"{name} raised nothing: make it raise here, or name it in CANNOT_RAISE"


ASYNC = ("TokenVault", "VaultKeys", "VaultStates")


class _Calls:
    """The methods of an open vault, sync or async, with the names that `public_names` gives them."""

    def __init__(self, vault, *, is_sync):
        first, *others = ("SyncVault", "SyncKeys", "SyncStates") if is_sync else ASYNC
        parts = dict(zip((first, *others), (vault, vault.keys, vault.states), strict=True))
        self.methods = {
            name: getattr(parts[name.partition(".")[0]], name.partition(".")[2])
            for name in public_names()
            if name.partition(".")[0] in parts and "." in name and name not in CANNOT_RAISE | {f"{first}.open"}
        }


async def _info_of(vault):
    return (await vault.get_token(ACCOUNT.key(TokenKind.ACCESS_TOKEN))).info


async def _set_up(vault):
    for number in range(4):
        account = Account("t1", "google", f"ann{number or ''}")
        await vault.store_token_set(account, TokenSet(CANARY, OTHER, expires_in=3600))
    await vault.store_token(KEY, CANARY)


def _script():
    """Return a provider whose errors hold secrets."""
    return ScriptedRefresher(
        RefreshFailedError(CANARY, reason=OTHER, outcome_unknown=True, refresh_token=Secret(OTHER)),
        ReauthorizationRequiredError(CANARY, reason="invalid_grant"),
        LookupError(CANARY),
        ValueError(Secret(CANARY)),
    )


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path):
    if request.param == "sqlite":
        yield SqliteFile(tmp_path / "vault.db")
        return
    url = request.getfixturevalue("postgres").create_database(f"leak_gate_{next(_numbers)}")
    schema = PostgresSchema(f"{url}{'&' if '?' in url else '?'}password={quote(OTHER, safe='')}")
    yield schema
    schema.drop()


def _break(database):
    """Drop the tables."""
    if database.kind == "postgres":
        database.drop()
        return
    for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"):
        database.execute(f"DROP TABLE {name}")


def _tamper(database):
    """Replace all values by one of them, so that of any two values at least one cannot be opened."""
    database.execute("UPDATE {token} SET blob = (SELECT blob FROM {token} ORDER BY blob LIMIT 1)")


WORKS_WITHOUT_TABLES = {"with_actor", "health", "ready", "seal"}


def test_a_vault(database):
    gate = Gate()
    asyncio.run(_all_of_a_vault(database, gate))
    methods = {name for name in public_names() if name.startswith(tuple(f"{part}." for part in ASYNC))}
    assert set(gate.raised) == methods - CANNOT_RAISE
    assert sum(gate.raised.values()) > 2 * len(methods)


async def _all_of_a_vault(database, gate):
    config, clock = database.config(encryption_secret=CANARY * 2), ManualClock()
    async with open_vault(config, clock=clock, refreshers={"google": _script()}) as vault:
        await _set_up(vault)
        info = await _info_of(vault)

        def given(name):
            return info if name == "token" else right_value(name)

        calls = _Calls(vault, is_sync=False).methods
        for name, method in calls.items():
            for call in wrong_calls(method, given, shapes=2):
                await gate.expect(name, call)
        clock.advance(timedelta(hours=2))
        for number in range(4):
            account = Account("t1", "google", f"ann{number or ''}")
            assert await gate.expect("TokenVault.ensure_access_token", lambda a=account: vault.ensure_access_token(a))
            assert await gate.expect("TokenVault.refresh_account", lambda a=account: vault.refresh_account(a))
        await vault.refresh_due()
        _tamper(database)
        await gate.expect("TokenVault.get_token", lambda: vault.get_token(KEY))
        assert await gate.expect("TokenVault.get_tokens", lambda: vault.get_tokens([KEY, info.key]))
        conflict = await gate.expect(
            "TokenVault.store_token", lambda: vault.store_token(KEY, CANARY, expected_generation=9)
        )
        assert conflict
        _break(database)
        for name, method in calls.items():
            raised = await gate.expect(name, right_call(method, given))
            assert raised or name.partition(".")[2] in WORKS_WITHOUT_TABLES, name


# The blocking facade adds the same frames over each store, so one store is enough.
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_sync_vault(database):
    gate, config = Gate(), database.config(encryption_secret=CANARY * 2)
    with open_sync_vault(config, refreshers={"google": _script()}) as vault:
        vault.store_token_set(ACCOUNT, TokenSet(CANARY, OTHER, expires_in=1))
        vault.store_token(KEY, CANARY)
        info = vault.get_token(ACCOUNT.key(TokenKind.ACCESS_TOKEN)).info

        def given(name):
            return info if name == "token" else right_value(name)

        calls = _Calls(vault, is_sync=True).methods
        for name, method in calls.items():
            for call in itertools.islice(wrong_calls(method, given, shapes=1), 1):
                gate.expect_now(name, call)
        assert gate.expect_now("SyncVault.refresh_account", lambda: vault.refresh_account(ACCOUNT))
        _tamper(database)
        assert gate.expect_now("SyncVault.get_tokens", lambda: vault.get_tokens([KEY, info.key]))
        _break(database)
        for name, method in calls.items():
            raised = gate.expect_now(name, right_call(method, given))
            assert raised or name.partition(".")[2] in WORKS_WITHOUT_TABLES, name
    refused = open_sync_vault(database.config(encryption_secret=CANARY[:9] * 4), migrate=False)
    assert gate.expect_now("SyncVault.open", refused.open)
    methods = {name for name in public_names() if name.startswith(("SyncVault.", "SyncKeys.", "SyncStates."))}
    assert set(gate.raised) == methods - CANNOT_RAISE


def _methods_of(cls, instance):
    names = [name for name in public_names() if name.startswith(f"{cls.__name__}.")]
    assert len(names) == 3
    return {name: getattr(instance, name.partition(".")[2]) for name in names}


async def test_a_host_s_transaction(database):
    gate = Gate()
    async with (
        open_vault(database.config(encryption_secret=CANARY * 2)) as vault,
        driver(database) as (connection, _),
    ):
        await _set_up(vault)
        on = vault.on(connection)
        calls = _methods_of(HostTransaction, on)
        for name, method in calls.items():
            for call in wrong_calls(method, right_value, shapes=2):
                await gate.expect(name, call)
        assert await gate.expect("conflict", lambda: on.store_token(KEY, CANARY, expected_generation=9))
        await connection.rollback()
        _break(database)
        for name, method in calls.items():
            assert await gate.expect(name, right_call(method, right_value)), name


def test_a_host_s_transaction_without_an_event_loop(database):
    gate = Gate()
    with (
        open_sync_vault(database.config(encryption_secret=CANARY * 2)) as vault,
        sync_driver(database) as (connection, _),
    ):
        vault.store_token(KEY, CANARY)
        on = vault.on(connection)
        calls = _methods_of(SyncHostTransaction, on)
        for name, method in calls.items():
            for call in wrong_calls(method, right_value, shapes=2):
                gate.expect_now(name, call)
        assert gate.expect_now("conflict", lambda: on.store_token(KEY, CANARY, expected_generation=9))
        connection.rollback()
        _break(database)
        for name, method in calls.items():
            assert gate.expect_now(name, right_call(method, right_value)), name


REFUSALS = {
    "invalid_grant": error_answer("invalid_grant", description=CANARY),
    "unregistered": error_answer(CANARY, description=CANARY),
    "server_error": Answer(status=500, body=CANARY.encode()),
    "html": Answer(body=f"<html>{CANARY}".encode()),
    "no_access_token": Answer(json={"refresh_token": CANARY, "error": CANARY}),
    "cut": Answer(json={"access_token": CANARY}, drop="rst", drop_after=20),
}


def refreshers_at(url):
    fields = Secret.from_fields
    return {
        "OAuth2Refresher": (OAuth2Refresher(url, "client", CANARY), Secret(OTHER)),
        "ClientCredentialsRefresher": (
            ClientCredentialsRefresher(url),
            fields(client_id="client", client_secret=OTHER),
        ),
        "GreenInvoiceRefresher": (GreenInvoiceRefresher(url), fields(id=OTHER, secret=CANARY)),
        "MetaTokenExchangeRefresher": (MetaTokenExchangeRefresher("1", CANARY, token_url=url), Secret(OTHER)),
        "CustomRefresher": (CustomRefresher(url, "client", CANARY, read_answer=_read_badly), Secret(OTHER)),
        "refresher": (_at(url), Secret(OTHER)),
    }


def _read_badly(answer):
    raise LookupError(answer)


def _at(url):
    """Return a profile's refresher for another token URL; the profile has a rule for the message of an error."""
    rules = [{"message": ".", "means": "unknown"}]
    profile = evolve(packaged_profile("google"), errors={"message": "error", "rules": rules})
    return evolve(refresher(profile, "client", CANARY), token_url=url)


@pytest.mark.parametrize("cls", list(refreshers_at("http://127.0.0.1:1")))
async def test_a_refresher_that_is_refused(cls):
    gate = Gate()
    with scripted_provider() as provider:
        refresher, credential = refreshers_at(provider.token_url)[cls]
        for answer in REFUSALS.values():
            provider.answer(answer)
            asked = request(credential=credential, kind=refresher.spends)
            assert await gate.expect(f"{cls}.refresh", lambda asked=asked: refresher.refresh(asked))
        provider.answer(Answer(delay=FOREVER))
        late = request(credential=credential, kind=refresher.spends, deadline=timedelta(seconds=0.2))
        assert await gate.expect(f"{cls}.refresh", lambda: refresher.refresh(late))
        provider.answer(Answer(delay=FOREVER))
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.3):
                await refresher.refresh(request(credential=credential, kind=refresher.spends))
        gate.check(f"{cls}.refresh", caught.value, skip=HTTP_CLIENTS)
    nowhere, credential = refreshers_at("http://127.0.0.1:1")[cls]
    asked = request(credential=credential, kind=nowhere.spends)
    assert await gate.expect(f"{cls}.refresh", lambda: nowhere.refresh(asked))


# The frames of an HTTP client hold the header that it sends. They belong to the host's client, with or without a vault.
HTTP_CLIENTS = tuple(
    f"/{name}/"
    for name in ("aiohttp", "google/auth", "httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "http")
)


LOOPBACK = ["127.0.0.1"]


def _client_calls(client, vault):
    """Return a function that sends a request to a URL with the named client."""
    module = importlib.import_module(f"vault_adapters.clients.{client}")
    if client == "google":
        from google.auth.transport.requests import AuthorizedSession

        return lambda url: AuthorizedSession(module.VaultCredentials(vault, ACCOUNT, hosts=LOOPBACK)).get(url)
    library = importlib.import_module(client)
    return lambda url: library.get(url, auth=module.VaultAuth(vault, ACCOUNT, hosts=LOOPBACK))


async def test_the_client_for_aiohttp(tmp_path):
    import aiohttp

    from vault_adapters.clients.aiohttp import VaultAuth

    gate, database, name = Gate(), SqliteFile(tmp_path / "vault.db"), "aiohttp.VaultAuth"
    for call in wrong_calls(VaultAuth, right):
        gate.expect_now(name, call)
    config = database.config(encryption_secret=CANARY * 2)
    async with open_vault(config, refreshers={"google": _script()}) as vault:

        async def send():
            async with aiohttp.ClientSession(middlewares=[VaultAuth(vault, ACCOUNT, hosts=LOOPBACK)]) as session:
                await session.get("http://127.0.0.1:1/")

        assert await gate.expect(name, send)  # nothing is stored
        await vault.store_token_set(ACCOUNT, TokenSet(CANARY.replace("?>", "aa"), OTHER, expires_in=3600))
        assert await gate.expect(name, send, skip=HTTP_CLIENTS)
        _break(database)
        assert await gate.expect(name, send)


@pytest.mark.parametrize("client", ["httpx", "httpx2", "requests", "google"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_client(client, tmp_path):
    gate, database = Gate(), SqliteFile(tmp_path / "vault.db")
    name = "google.VaultCredentials" if client == "google" else f"{client}.VaultAuth"
    for call in wrong_calls(public_names()[name], right):
        gate.expect_now(name, call)
    assert gate.raised[name] >= 6
    with open_sync_vault(database.config(encryption_secret=CANARY * 2), refreshers={"google": _script()}) as vault:
        send = _client_calls(client, vault)
        assert gate.expect_now(name, lambda: send("http://127.0.0.1:1/"))  # nothing is stored
        vault.store_token_set(ACCOUNT, TokenSet(CANARY.replace("?>", "aa"), OTHER, expires_in=3600))
        assert gate.expect_now(name, lambda: send("http://127.0.0.1:1/"), skip=HTTP_CLIENTS)
        _break(database)
        assert gate.expect_now(name, lambda: send("http://127.0.0.1:1/"))


STORAGES = {"key_value": True, "msal": False, "slack": False, "slack async": True}
"""The clients that keep what another library gives them in arguments, and whether they take a `TokenVault`."""


def _kept(client, vault):
    """Return a storage client, and calls that give it a secret or ask for one."""
    module = importlib.import_module(f"vault_adapters.clients.{client.split()[0]}")
    if client == "key_value":
        one = {name: partial(CANARY) for name in ("get", "ttl", "delete")}
        many = {name: partial([CANARY]) for name in ("get_many", "ttl_many", "delete_many")}
        value = {"access_token": CANARY}
        put = {"put": partial("k", value), "put_many": partial(["k"], [value]), "cull": partial()}
        return module.VaultKeyValue(vault, "t1"), put | one | many
    if client == "msal":
        entry = {
            "home_account_id": "u.t",
            "environment": "e",
            "client_id": "c",
            "secret": CANARY,
            "target": "s",
            "expires_on": "9999999999",
        }
        answer = {"access_token": CANARY, "refresh_token": OTHER, "expires_in": 3600, "token_type": "Bearer"}
        event = {"response": answer, "scope": ["s"], "client_id": "c", "environment": "e"}
        state = f'{{"AccessToken": {{"k": {{"secret": "{CANARY}", "expires_on": "9999999999"}}}}}}'
        calls = {"add": partial(event), "modify": partial("AccessToken", entry, {"secret": OTHER})}
        return module.VaultTokenCache(vault, "t1"), calls | {
            "search": partial("AccessToken", target=[]),
            "deserialize": partial(state),
        }
    installed = Installation(team_id="T1", user_id="U1", bot_token=CANARY, bot_id="B", user_token=OTHER)
    calls = {"save": partial(installed), "save_bot": partial(installed.to_bot())}
    for name in ("find_bot", "find_installation", "delete_bot", "delete_installation"):
        calls[name] = partial(enterprise_id=None, team_id="T1")
    if client == "slack":
        return module.VaultInstallationStore(vault), calls
    return module.AsyncVaultInstallationStore(vault), {f"async_{name}": given for name, given in calls.items()}


def partial(*arguments, **options):
    return lambda method: method(*arguments, **options)


@pytest.mark.parametrize("client", STORAGES)
def test_a_client_that_keeps_what_it_is_given(client, tmp_path):
    """Every call raises the vault's error from a frame that holds nothing of what was given."""
    database = SqliteFile(tmp_path / "vault.db")
    config = database.config(encryption_secret=CANARY * 2)
    if STORAGES[client]:
        asyncio.run(_calls_fail(client, config, database))
        return
    gate = Gate()
    with open_sync_vault(config) as vault:
        store, calls = _kept(client, vault)
        first, *_ = calls
        calls[first](getattr(store, first))
        for fault in (_tamper, _break):
            fault(database)
            for name, call in calls.items():
                gate.expect_now(name, lambda name=name, call=call: call(getattr(store, name)))
    assert set(gate.raised) == set(calls)


async def _calls_fail(client, config, database):
    gate = Gate()
    async with open_vault(config) as vault:
        store, calls = _kept(client, vault)
        first, *_ = calls
        await calls[first](getattr(store, first))
        for fault in (_tamper, _break):
            fault(database)
            for name, call in calls.items():
                await gate.expect(name, lambda name=name, call=call: call(getattr(store, name)))
    assert set(gate.raised) == set(calls)


def test_every_client_is_tested():
    tested = {"httpx", "httpx2", "requests", "google", "aiohttp", "boto3", "pygithub"}
    tested |= {client.split()[0] for client in STORAGES}
    assert {name.partition(".")[0] for name in public_names() if "." in name and name[0].islower()} == tested


ARGUMENTS = {
    "store": ("t1", "google", "api_key"),
    "get": ("t1", "google", "api_key", "--reveal"),
    "list": ("t1",),
    "invalidate": ("t1", "google", "access_token"),
    "delete": ("t1", "google", "api_key"),
    "delete-provider": ("t1", "google"),
    "delete-account": ("t1", "google"),
    "audit prune": ("--older-than", "400d"),
    "keys tenant": ("t1", "--master-key", "configured"),
    "accounts": ("t1",),
    "find": ("t1",),
    "connect": ("google",),
    "refresh": ("t1", "google"),
    "token": ("t1", "google"),
    "revive": ("google", "--since", "2030-01-01T00:00:00Z"),
    "worker": (),
    "import": ("--format", "tokens", "-"),
    "export": ("t1",),
    "erase-tenant": ("t1",),
}
WITHOUT_CONFIGURATION = {"demo", "generate-secret", "providers"}
WITHOUT_DATABASE = {"schema"}
REPORTS_INSTEAD = {"doctor"}
"""Commands that print what they could not do, instead of raising it."""


@pytest.mark.parametrize("command", [command for command in commands() if command not in WITHOUT_CONFIGURATION])
def test_a_command(command, tmp_path, monkeypatch, capsys):
    gate = Gate()
    # If `call` parsed the command, each error report would show a frame with the whole application. That takes long.
    function, bound, _ = build().parse_args([*command.split(), *ARGUMENTS.get(command, ())], exit_on_error=False)

    # A client's id is no secret; `connect` asks for it first.
    stdin = {"erase-tenant": "t1\n", "connect": f"client\n{CANARY}\n"}.get(command, f"{CANARY}\n")

    def call():
        return function(*bound.args, **bound.kwargs)

    good = {
        "ENCRYPTION_SECRET": CANARY * 2,
        "DATABASE_URL": f"postgresql://u:{quote(OTHER, safe='')}@127.0.0.1:1/db",
        "UNRELATED": CANARY,
    }
    for changes in ({"TOKEN_VAULT_POOL_SIZE": "ten"}, {"ENCRYPTION_SECRET_FILE": str(tmp_path)}, {}):
        for name, value in {**good, **changes}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        raised = gate.expect_now(command, call)
        for name in changes:
            monkeypatch.delenv(name)
        assert raised or command in REPORTS_INSTEAD or (command in WITHOUT_DATABASE and not changes), (command, changes)
    if command in REPORTS_INSTEAD:
        printed = "".join(capsys.readouterr())
        assert "what to do" in printed
        assert not any(secret in printed for secret in (CANARY, OTHER))


ROWS = [
    f'{{"tenant_id": "{CANARY}", "provider": "google"}}',
    f'{{"tenant_id": "t", "provider": "google", "kind": "{CANARY}", "value": "{CANARY}", "{CANARY}": 1}}',
    f'{{"tenant_id": "t", "provider": "google", "kind": "api_key", "value": "{CANARY}", "expires_at": "{CANARY}"}}',
    f'["{CANARY}"]',
    f'{CANARY}"',
]


async def test_import_readers():
    """A reader yields failures instead of raising. Neither a failure nor the error of an opener holds a value."""

    async def refuse(texts):
        raise VaultError

    for form in (ORIGINAL, TOKENS, FERNET):
        for row in ROWS:
            found = [each async for each in read_dump(io.BytesIO(row.encode()), form, open_plain)]
            assert leaks_in(repr(found)) == []
    good = f'{{"tenant_id": "t", "provider": "google", "kind": "api_key", "value": "{CANARY}"}}'.encode()
    assert await Gate().expect("read_dump", lambda: read_dump(io.BytesIO(good), TOKENS, refuse))
