"""If the configuration or the database is wrong, error reports show no secret and no unrelated variable."""

import asyncio
import itertools
import os
from urllib.parse import quote

import pytest
from tests.security.canaries import leaks_in, make_canaries
from tests.security.reporters import REPORTERS, printed_by_rich, reports
from tests.support.databases import PostgresSchema, SqliteFile

from vault_adapters import (
    ConfigurationError,
    SchemaOutdatedError,
    StorageError,
    VaultConfig,
    VaultError,
    open_sync_vault,
    open_vault,
)

SECRET, OTHER, PASSWORD, UNRELATED = CANARIES = make_canaries(4)
_numbers = itertools.count(1)
QUOTED = quote(PASSWORD, safe="")


def assert_silent(error: BaseException) -> None:
    found = {name: leaks_in(text)[:2] for name, text in reports(error).items()}
    assert not any(found.values()), found


def failure(call, kind=VaultError):
    with pytest.raises(kind) as caught:
        call()
    return caught.value


def test_every_tool_shows_what_a_frame_holds():
    def refuse(given):
        raise VaultError

    refuse.__code__ = refuse.__code__.replace(co_filename=VaultConfig.__init__.__code__.co_filename)
    error = failure(lambda: refuse(SECRET))
    # loguru shows only the variables of the line that failed.
    assert {name for name, text in reports(error).items() if leaks_in(text)} == {*REPORTERS} - {"loguru"}
    compiled = compile(
        "def refuse(given):\n    raise error(given)\n", VaultConfig.__init__.__code__.co_filename, "exec"
    )
    namespace = {"error": VaultError}
    exec(compiled, namespace)
    assert leaks_in(REPORTERS["loguru"](failure(lambda: namespace["refuse"](SECRET))))


def test_what_rich_read_is_what_it_prints():
    def refuse(given, again):
        error = VaultError(given)
        error.add_note(PASSWORD)
        raise ExceptionGroup(PASSWORD, [error])

    refuse.__code__ = refuse.__code__.replace(co_filename=VaultConfig.__init__.__code__.co_filename)
    error = failure(lambda: refuse([SECRET], {OTHER: UNRELATED}), ExceptionGroup)
    texts = reports(error)
    for text in (texts["rich"], texts["rich_briefly"], printed_by_rich(error)):
        assert [canary for canary in CANARIES if canary in text] == CANARIES


VARIABLES = {
    "ENCRYPTION_SECRET": SECRET * 2,
    "ENCRYPTION_SECRET_PREVIOUS": OTHER * 2,
    "DATABASE_URL": f"postgresql://user:{QUOTED}@127.0.0.1:1/db",
    "UNRELATED": UNRELATED,
}
WRONG = {
    "whole": {"TOKEN_VAULT_POOL_SIZE": "ten"},
    "secret_as_whole": {"TOKEN_VAULT_POOL_SIZE": SECRET},
    "secret_as_seconds": {"TOKEN_VAULT_QUIESCENCE": SECRET},
    "secret_as_flag": {"TOKEN_VAULT_PREPARED_STATEMENTS": SECRET},
    "no_file": {"ENCRYPTION_SECRET": "", "ENCRYPTION_SECRET_FILE": f"/nowhere/{SECRET}"},
    "both": {"ENCRYPTION_SECRET_FILE": "/dev/null"},
    "previous_both": {"ENCRYPTION_SECRET_PREVIOUS_FILE": "/dev/null"},
    "url": {"DATABASE_URL": f"mysql://u:{QUOTED}@h"},
    "master_key": {"TOKEN_VAULT_MASTER_KEY": SECRET},
    "schema": {"TOKEN_VAULT_POSTGRES_SCHEMA": SECRET},
    "bounds": {"TOKEN_VAULT_SCRYPT_LOG2_N": "99"},
}


@pytest.mark.parametrize("name", WRONG)
def test_variables(name, monkeypatch):
    variables = {**VARIABLES, **WRONG[name]}
    assert_silent(failure(lambda: VaultConfig.from_env(variables), ConfigurationError))
    monkeypatch.setattr(os, "environ", {**os.environ, **variables})
    assert_silent(failure(VaultConfig.from_env, ConfigurationError))


def test_a_secret_file_that_is_not_text(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(SECRET.encode() + b"\xff")
    variables = {"ENCRYPTION_SECRET_FILE": str(path)}
    assert_silent(failure(lambda: VaultConfig.from_env(variables), ConfigurationError))


@pytest.mark.parametrize(
    "environ",
    [SECRET, [SECRET], {"ENCRYPTION_SECRET": SECRET.encode()}, {"TOKEN_VAULT_POOL_SIZE": [SECRET]}],
    ids=["text", "list", "bytes", "number"],
)
def test_environments_of_another_kind(environ):
    assert_silent(failure(lambda: VaultConfig.from_env(environ), ConfigurationError))


@pytest.mark.parametrize("name", [*VaultConfig.__annotations__, "no_such_field"])
def test_fields(name):
    for wrong in (SECRET + "\0\ud800", SECRET.encode(), [SECRET], {SECRET: SECRET}):
        fields = {"database_url": VARIABLES["DATABASE_URL"], "encryption_secret": SECRET * 2, name: wrong}
        assert_silent(failure(lambda fields=fields: VaultConfig(**fields), (VaultError, TypeError)))


async def _open(config, **options):
    async with open_vault(config, **options):
        pass


def both_ways(config, kind, **options):
    """Open an async and a sync vault, and return both errors."""
    return [
        failure(lambda: asyncio.run(_open(config, **options)), kind),
        failure(lambda: open_sync_vault(config, **options).open(), kind),
    ]


UNREACHABLE = {
    "down": "postgresql://user:{}@127.0.0.1:1/db",
    "unknown_parameter": "postgresql://user:{}@127.0.0.1:1/db?nonsense=1",
    "bad_value": "postgresql://user:{}@127.0.0.1:1/db?connect_timeout=soon",
    "bad_sslmode": "postgresql://user:{}@127.0.0.1:1/db?sslmode=perhaps",
    "bad_port": "postgresql://user:{}@127.0.0.1:99999/db",
    "unknown_host": "postgresql://user:{}@nowhere.invalid/db",
    "no_host_name": "postgresql://user:{}@a..b/db",
    "not_escaped": "postgresql://user:{}/x@127.0.0.1:1/db",
    "as_parameter": "postgresql://127.0.0.1:1/db?password={}",
    "lone_surrogate": "postgresql://user:{}\udc80@127.0.0.1:1/db",
    "nul": "postgresql://user:{}\0@127.0.0.1:1/db",
}


@pytest.mark.parametrize("name", UNREACHABLE)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_database_that_cannot_be_reached(name):
    if name == "lone_surrogate":
        assert_silent(failure(lambda: VaultConfig(UNREACHABLE[name].format(QUOTED))))
        return
    config = VaultConfig(UNREACHABLE[name].format(QUOTED), encryption_secret=SECRET * 2)
    for error in both_ways(config, (StorageError, ConfigurationError)):
        assert_silent(error)


def with_password(database: PostgresSchema, **changes: str) -> PostgresSchema:
    """Return the same schema with a password in its URL, although the server asks for none."""
    mark = "&" if "?" in database.url else "?"
    more = "&".join(f"{name}={value}" for name, value in {"password": QUOTED, **changes}.items())
    changed = PostgresSchema(f"{database.url}{mark}{more}")
    changed.schema = database.schema
    return changed


@pytest.fixture
def schema(postgres):
    database = PostgresSchema(postgres.create_database(f"reports_{next(_numbers)}"))
    yield database
    database.drop()


def test_a_refused_user(schema):
    refused = with_password(schema, user="nobody_of_this_name")
    for error in both_ways(refused.config(encryption_secret=SECRET * 2), StorageError):
        assert_silent(error)


@pytest.mark.parametrize("kind", ["postgres", "sqlite"])
def test_a_missing_an_outdated_and_a_broken_schema(kind, tmp_path, request):
    database = (
        with_password(request.getfixturevalue("schema")) if kind == "postgres" else SqliteFile(tmp_path / "vault.db")
    )
    config = database.config(encryption_secret=SECRET * 2, previous_encryption_secret=OTHER * 2)
    errors = both_ways(config, SchemaOutdatedError, migrate=False)
    asyncio.run(_open(config))
    errors += both_ways(database.config(encryption_secret=PASSWORD * 2), ConfigurationError)
    with pytest.raises(ConfigurationError) as caught:
        database.config(encryption_secret=SECRET[:20])
    errors.append(caught.value)
    errors += both_ways(database.config(), ConfigurationError)
    errors += both_ways(database.config(encryption_secret=SECRET * 2), ConfigurationError, pool=object())
    database.execute("DELETE FROM {migration} WHERE number > 1")
    errors += both_ways(config, SchemaOutdatedError, migrate=False)
    errors += both_ways(config, StorageError)  # the tables that the migration creates exist already
    database.execute("DROP TABLE {migration}")
    database.execute("CREATE TABLE {migration} (something int)")
    database.execute("INSERT INTO {migration} VALUES (1)")
    errors += both_ways(config, ConfigurationError)
    for error in errors:
        assert_silent(error)


class _Silent(asyncio.Protocol):
    """Takes a connection and never answers."""

    def __init__(self, transports):
        self._transports = transports

    def connection_made(self, transport):
        self._transports.append(transport)


async def test_a_server_that_never_answers():
    transports = []
    server = await asyncio.get_running_loop().create_server(lambda: _Silent(transports), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = VaultConfig(f"postgresql://user:{QUOTED}@127.0.0.1:{port}/db", encryption_secret=SECRET * 2)
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.3):
            await _open(config)
    assert_silent(caught.value)
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    for transport in transports:
        transport.abort()
    server.close()
    await server.wait_closed()
