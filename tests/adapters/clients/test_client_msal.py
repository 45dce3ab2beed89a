"""msal over the vault: processes that write at the same time lose nothing, and a cache may be large."""

import base64
import json
import time

import msal
import pytest
from msal.token_cache import TokenCache
from tests.adapters.clients.strict_api import meet, meeting_in, with_recipes
from tests.support.answers import Answer
from tests.support.certificates import tls_of, write_identity
from tests.support.databases import SECRET, PostgresSchema
from tests.support.processes import Call, run_processes
from tests.support.scripted_provider import ScriptedProvider

from vault_adapters import InvalidInputError, Secret, StorageError, TokenKey, TokenKind, VaultConfig, open_sync_vault
from vault_adapters.clients.msal import VaultTokenCache
from vault_adapters.testing import memory_sync_vault, memory_vault

FOUR = 4
EACH = 6
ACCESS = TokenCache.CredentialType.ACCESS_TOKEN
CLIENT_INFO = base64.urlsafe_b64encode(json.dumps({"uid": "ann", "utid": "contoso"}).encode()).decode()


@pytest.fixture
def identity(tmp_path):
    return write_identity(tmp_path)


@pytest.fixture
def microsoft(identity, monkeypatch):
    """An authority that issues an access token of 4,000 characters for every scope that it is asked for."""

    def respond(request):
        if request.path.endswith("/openid-configuration"):
            ends = {name: f"{server.base_url}/contoso/{name}" for name in ("authorization_endpoint", "token_endpoint")}
            return Answer(json={**ends, "issuer": f"{server.base_url}/contoso"})
        scope = own_scope(request.form["scope"])
        tokens = {"access_token": f"at-{scope}-".ljust(4000, "x"), "refresh_token": "rt", "expires_in": 3600}
        return Answer(json={**tokens, "token_type": "Bearer", "client_info": CLIENT_INFO})

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(identity))
    server = ScriptedProvider(respond, tls=tls_of(identity))
    yield server.base_url
    server.close()
    server.check()


def application(vault, url):
    """Return the application of the guide."""
    with_recipes()
    from with_msal import application_of

    client = ("client", "secret")
    return application_of(vault, "tenant-1", "ann", client, f"{url}/contoso", instance_discovery=False)


def vault_at(url, schema):
    config = VaultConfig(
        url, encryption_secret=SECRET, scrypt_log2_n=14, **({"postgres_schema": schema} if schema else {})
    )
    return open_sync_vault(config)


def place_of(database):
    return (
        [database.url, database.schema]
        if isinstance(database, PostgresSchema)
        else [f"sqlite:///{database.path}", None]
    )


def acquire(place, url, number, meeting):
    """Get a token for several scopes, one after the other."""
    with vault_at(*place) as vault:
        app = application(vault, url)
        [account] = app.get_accounts()
        meet(meeting)
        return [app.acquire_token_silent([scope], account)["access_token"][:9] for scope in scopes_of(number)]


def own_scope(scopes):
    """Return the scope that a test asked for, without those that msal adds."""
    return next(scope for scope in scopes.split() if scope.endswith(".rw"))


def scopes_of(number):
    return [f"s{number}{each}.rw" for each in range(EACH)]


def test_processes_that_write_at_once_lose_nothing(database, microsoft, tmp_path):
    """24 tokens of 4,000 characters are above 64 KiB, so the later writes are of several parts."""
    place = place_of(database)
    with vault_at(*place) as vault:
        first = application(vault, microsoft)
        assert "access_token" in first.acquire_token_by_refresh_token("rt-0", ["first.rw"])
        jobs = [Call(acquire, [place, microsoft, number, meeting_in(tmp_path, FOUR)]) for number in range(FOUR)]
        answers = run_processes(jobs)
        assert answers == [[f"at-{scope}"[:9] for scope in scopes_of(number)] for number in range(FOUR)]
        kept = list(VaultTokenCache(vault, "tenant-1", "ann").search(ACCESS))
        wanted = {"first.rw", *(scope for number in range(FOUR) for scope in scopes_of(number))}
        assert {own_scope(entry["target"]) for entry in kept} == wanted
        assert len(list(first.token_cache.search(ACCESS))) == len(wanted)
        stored = list(vault.iter_tokens("tenant-1"))
        assert sorted(info.key.provider for info in stored) == ["msal", "msal-part", "msal-part"]


def entry(number, size=4000, ends=3600):
    return {
        "credential_type": ACCESS,
        "secret": "x" * size,
        "home_account_id": f"a{number}",
        "environment": "e",
        "client_id": "c",
        "realm": "r",
        "target": "t",
        "expires_on": str(int(time.time()) + ends),
    }


def put(cache, *numbers, **options):
    for number in numbers:
        made = entry(number, **options)
        cache.modify(ACCESS, made, made)


def held(cache):
    return sorted(found["home_account_id"] for found in cache.search(ACCESS))


@pytest.fixture
def vault():
    with memory_sync_vault() as opened:
        yield opened


def test_a_change_is_made_again_in_the_record_of_another_writer(vault):
    first, second = (VaultTokenCache(vault, "tenant-1", "ann") for _ in range(2))
    put(first, 1)
    assert held(second) == ["a1"]
    put(first, 2)
    put(second, 3)
    assert held(first) == held(second) == ["a1", "a2", "a3"]
    second.remove_at(entry(1))
    put(first, 4)
    assert held(second) == ["a2", "a3", "a4"]


def test_a_large_cache_grows_and_shrinks(vault):
    cache, other = (VaultTokenCache(vault, "tenant-1", "ann") for _ in range(2))
    put(cache, *range(20))
    assert len(held(other)) == 20
    for number in range(18):
        other.remove_at(entry(number))
    assert held(cache) == ["a18", "a19"]
    assert [info.key.provider for info in vault.iter_tokens("tenant-1")] == ["msal"]


def test_expired_entries_are_removed_in_one_write(vault):
    cache = VaultTokenCache(vault, "tenant-1", "ann")
    put(cache, 1)
    put(cache, 2, 3, 4, ends=-10)
    before = [info.generation for info in vault.iter_tokens("tenant-1")]
    assert held(cache) == ["a1"]
    assert [info.generation for info in vault.iter_tokens("tenant-1")] == [before[0] + 1]


def test_a_record_is_of_one_user_of_one_tenant(vault):
    put(VaultTokenCache(vault, "tenant-1", "ann"), 1)
    for tenant, user in (("tenant-1", "bob"), ("tenant-1", None), ("tenant-2", "ann")):
        assert held(VaultTokenCache(vault, tenant, user)) == []
    vault.erase_tenant("tenant-1")
    assert held(VaultTokenCache(vault, "tenant-1", "ann")) == []


def test_a_file_of_msal_is_taken_over(vault):
    file = msal.SerializableTokenCache()
    put(file, *range(20))
    cache = VaultTokenCache(vault, "tenant-1", "ann")
    put(cache, 99)
    VaultTokenCache(vault, "tenant-1", "ann").deserialize(file.serialize())
    assert held(cache) == held(file)
    assert json.loads(cache.serialize()) == json.loads(file.serialize())
    cache.deserialize(None)
    assert held(VaultTokenCache(vault, "tenant-1", "ann")) == []


def test_a_write_that_failed_is_made_with_the_next_one(vault, monkeypatch):
    cache, other = (VaultTokenCache(vault, "tenant-1", "ann") for _ in range(2))
    put(cache, 1)
    put(other, 2)
    with monkeypatch.context() as patched:

        def fails(*_, **__):
            raise StorageError

        patched.setattr(vault, "store_token", fails)
        with pytest.raises(StorageError):
            put(cache, 3)
    assert held(cache) == ["a1", "a2", "a3"]
    put(cache, 4)
    assert held(other) == ["a1", "a2", "a3", "a4"]


@pytest.mark.parametrize(
    "state",
    [
        "no JSON with secret-text",
        "[]",
        '{"AccessToken": "secret-text"}',
        '{"AccessToken": {"a": "secret-text"}}',
        "[" * 100_000,
    ],
)
def test_a_state_of_another_form_is_refused(vault, state):
    cache = VaultTokenCache(vault, "tenant-1", "ann")
    put(cache, 1)
    with pytest.raises(InvalidInputError) as error:
        cache.deserialize(state)
    assert "secret-text" not in repr(error.value)
    assert error.value.__cause__ is None
    assert held(VaultTokenCache(vault, "tenant-1", "ann")) == ["a1"]


def test_a_cache_that_is_too_large_is_refused_and_the_record_stays(vault):
    cache = VaultTokenCache(vault, "tenant-1", "ann")
    put(cache, 1)
    with pytest.raises(InvalidInputError):
        put(cache, 2, size=4_000_000)
    assert held(VaultTokenCache(vault, "tenant-1", "ann")) == ["a1"]
    assert [info.key.provider for info in vault.iter_tokens("tenant-1")] == ["msal"]


def test_missing_parts_are_an_error_of_the_store(vault):
    put(VaultTokenCache(vault, "tenant-1", "ann"), *range(20))
    for info in list(vault.iter_tokens("tenant-1", provider="msal-part")):
        vault.delete_token(info.key)
    with pytest.raises(StorageError):
        held(VaultTokenCache(vault, "tenant-1", "ann"))


def test_nothing_is_stored_in_clear(vault):
    put(VaultTokenCache(vault, "tenant-1", "ann"), 1)
    [info] = vault.iter_tokens("tenant-1")
    assert info.key == TokenKey("tenant-1", "msal", TokenKind.API_KEY, "ann")
    assert "xxx" not in repr(vault.get_token(info.key))


async def test_a_vault_that_is_not_sync_is_refused():
    async with memory_vault() as vault:
        with pytest.raises(InvalidInputError, match="SyncVault"):
            VaultTokenCache(vault, "tenant-1")


def test_arguments_are_checked(vault):
    for arguments in ([Secret("vault"), "tenant-1"], [vault, ""], [vault, "tenant-1", "x" * 256]):
        with pytest.raises(InvalidInputError):
            VaultTokenCache(*arguments)
