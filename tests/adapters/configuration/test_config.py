"""`VaultConfig`: the values that it accepts, the variables that it reads, and the values that it never shows."""

import re
from datetime import timedelta
from pathlib import Path

import attrs
import pytest

from vault_adapters import ConfigurationError, Tuning, VaultConfig
from vault_adapters.configuration.environment import LEAST_SECRET
from vault_adapters.crypto.local_key import MIN_SECRET_LENGTH
from vault_domain.rules.clients import ClientRules

SECRET = "a-secret-of-more-than-32-characters-0123"
CANARY = "hunter2-canary"


def read(**variables):
    return VaultConfig.from_env(variables)


def test_nothing_set_is_the_default():
    config = read()
    assert config == VaultConfig()
    assert config.uses_default_database
    assert not VaultConfig("sqlite:///token-vault.db").uses_default_database
    assert not read(DATABASE_URL="sqlite:///token-vault.db").uses_default_database


def test_every_field_has_a_variable(tmp_path):
    config = read(
        DATABASE_URL="postgresql://u@h/d",
        ENCRYPTION_SECRET=SECRET,
        ENCRYPTION_SECRET_PREVIOUS=SECRET[::-1],
        TOKEN_VAULT_MASTER_KEY="aws-kms:alias/vault",
        TOKEN_VAULT_PREVIOUS_MASTER_KEY="local",
        TOKEN_VAULT_REFRESH_BUFFER="90",
        TOKEN_VAULT_REFRESH_DEADLINE="2.5",
        TOKEN_VAULT_ANSWER_DEADLINE="20",
        TOKEN_VAULT_QUIESCENCE="1",
        TOKEN_VAULT_REJECTION_CONFIRM_AFTER="3",
        TOKEN_VAULT_REJECTION_CONFIRM_WITHIN="33",
        TOKEN_VAULT_RECONNECT_NOTICE="86400",
        TOKEN_VAULT_JOURNAL_DIR=str(tmp_path),
        TOKEN_VAULT_CLOSE_TIMEOUT="4",
        TOKEN_VAULT_DATA_KEY_TTL="7",
        TOKEN_VAULT_POOL_SIZE="3",
        TOKEN_VAULT_PREPARED_STATEMENTS="False",
        TOKEN_VAULT_POSTGRES_SCHEMA="elsewhere",
        TOKEN_VAULT_SCRYPT_LOG2_N="15",
        TOKEN_VAULT_STORAGE_TIMEOUT="2.5",
        TOKEN_VAULT_EXHAUSTED_AFTER="86400",
        TOKEN_VAULT_PROVIDER_CONCURRENCY="5",
        TOKEN_VAULT_CLIENT_PAUSE_ACCOUNTS="4",
        TOKEN_VAULT_CLIENT_PROBE_INTERVAL="30",
        TOKEN_VAULT_FLEET_GUARD_ACCOUNTS="8",
        TOKEN_VAULT_FLEET_GUARD_WINDOW="120",
        TOKEN_VAULT_FLEET_GUARD_LIMIT="86400",
        TOKEN_VAULT_KEY_SERVICE_TOKENS="/run/secrets/tokens.json",
        TOKEN_VAULT_READ_CACHE="30",
        TOKEN_VAULT_HOLD_ANSWERS="60",
        TOKEN_VAULT_SERVE_STALE="60",
        TOKEN_VAULT_AUDIT_RETENTION="34560000",
        TOKEN_VAULT_AUDIT_READS="secrets",
        TOKEN_VAULT_READ_CACHE_SIZE="50",
        TOKEN_VAULT_DEPLOYMENT="production",
    )
    assert config.encryption_secret.reveal() == SECRET
    assert config.previous_encryption_secret.reveal() == SECRET[::-1]
    shown = attrs.asdict(config, filter=lambda attribute, _: "secret" not in attribute.name, recurse=False)
    tuned = attrs.asdict(shown.pop("tuning"))
    assert shown == {
        "database_url": "postgresql://u@h/d",
        "master_key": "aws-kms:alias/vault",
        "previous_master_key": "local",
        "refresh_buffer": timedelta(seconds=90),
        "refresh_deadline": timedelta(seconds=2.5),
        "answer_deadline": timedelta(seconds=20),
        "quiescence": timedelta(seconds=1),
        "journal_dir": tmp_path,
        "data_key_ttl": timedelta(seconds=7),
        "pool_size": 3,
        "prepared_statements": False,
        "postgres_schema": "elsewhere",
        "scrypt_log2_n": 15,
        "storage_timeout": timedelta(seconds=2.5),
        "read_cache": timedelta(seconds=30),
        "serve_stale": timedelta(seconds=60),
        "read_cache_size": 50,
        "audit_retention": timedelta(days=400),
        "audit_reads": "secrets",
        "deployment": "production",
    }
    assert tuned == {
        "hold_answers": timedelta(seconds=60),
        "rejection_confirm_after": timedelta(seconds=3),
        "rejection_confirm_within": timedelta(seconds=33),
        "reconnect_notice": timedelta(days=1),
        "close_timeout": timedelta(seconds=4),
        "exhausted_after": timedelta(days=1),
        "provider_concurrency": 5,
        "client_pause_accounts": 4,
        "client_probe_interval": timedelta(seconds=30),
        "fleet_guard_accounts": 8,
        "fleet_guard_window": timedelta(minutes=2),
        "fleet_guard_limit": timedelta(days=1),
        "key_service_tokens": Path("/run/secrets/tokens.json"),
    }
    day, minute = timedelta(days=1), timedelta(minutes=1)
    assert config.tuning.client_rules == ClientRules(4, minute / 2, 8, 2 * minute, day)
    assert Tuning().client_rules == ClientRules()
    # A new field must be read from a variable too.
    assert len(shown) + 3 == len(attrs.fields(VaultConfig))
    assert len(tuned) == len(attrs.fields(Tuning))


def test_the_prefixed_name_wins_and_an_empty_one_is_not_set():
    assert read(DATABASE_URL="sqlite:///a", TOKEN_VAULT_DATABASE_URL="sqlite:///b").database_url == "sqlite:///b"
    assert read(DATABASE_URL="sqlite:///a", TOKEN_VAULT_DATABASE_URL="").database_url == "sqlite:///a"
    assert read(ENCRYPTION_SECRET="").encryption_secret is None
    assert read(TOKEN_VAULT_POOL_SIZE="").pool_size == 10


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        ("{}", "{}"),
        ("{}\n", "{}"),
        ("{}\r\n", "{}"),
        ("{}\n\n", "{}\n"),
        ("  {} \n", "  {} "),
        ("{}\r", "{}\r"),
        ("ö{}\n", "ö{}"),
    ],
)
def test_of_a_file_exactly_one_line_end_goes(tmp_path, content, secret):
    path = tmp_path / "secret"
    path.write_bytes(content.format(SECRET).encode())
    for name in ("ENCRYPTION_SECRET_FILE", "TOKEN_VAULT_ENCRYPTION_SECRET_FILE"):
        assert read(**{name: str(path)}).encryption_secret.reveal() == secret.format(SECRET)
    previous = read(ENCRYPTION_SECRET_PREVIOUS_FILE=str(path)).previous_encryption_secret
    assert previous.reveal() == secret.format(SECRET)


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o640, 0), (0o644, 1)])
def test_a_file_that_everybody_can_read_is_told(tmp_path, caplog, mode, warnings):
    path = tmp_path / "secret"
    path.write_text(SECRET)
    path.chmod(mode)
    read(ENCRYPTION_SECRET_FILE=str(path))
    assert caplog.text.count("can be read by all users") == warnings
    assert SECRET not in caplog.text


def test_a_secret_is_not_taken_from_two_places(tmp_path):
    """Each of the two secrets is valid alone; the vault refuses because both are set."""
    path = tmp_path / "secret"
    path.write_text(SECRET[::-1])
    with pytest.raises(ConfigurationError, match="ENCRYPTION_SECRET is set both directly and as a file"):
        read(ENCRYPTION_SECRET=SECRET, ENCRYPTION_SECRET_FILE=str(path))


def test_a_prefixed_secret_wins_over_a_bare_file(tmp_path):
    path = tmp_path / "secret"
    path.write_text(SECRET[::-1])
    config = read(TOKEN_VAULT_ENCRYPTION_SECRET=SECRET, ENCRYPTION_SECRET_FILE=str(path))
    assert config.encryption_secret.reveal() == SECRET
    config = read(ENCRYPTION_SECRET=SECRET, TOKEN_VAULT_ENCRYPTION_SECRET_FILE=str(path))
    assert config.encryption_secret.reveal() == SECRET[::-1]


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"DATABASE_URL": f"mysql://{CANARY}"}, "database_url"),
        ({"DATABASE_URL": "sqlite:///"}, "database_url"),
        ({"TOKEN_VAULT_MASTER_KEY": CANARY}, "master_key"),
        ({"TOKEN_VAULT_PREVIOUS_MASTER_KEY": CANARY}, "master_key"),
        ({"TOKEN_VAULT_REFRESH_BUFFER": CANARY}, "TOKEN_VAULT_REFRESH_BUFFER"),
        ({"TOKEN_VAULT_REFRESH_BUFFER": "-1"}, "TOKEN_VAULT_REFRESH_BUFFER"),
        ({"TOKEN_VAULT_REFRESH_BUFFER": "1e999"}, "TOKEN_VAULT_REFRESH_BUFFER"),
        ({"TOKEN_VAULT_REFRESH_BUFFER": "86401"}, "refresh_buffer"),
        ({"TOKEN_VAULT_REFRESH_DEADLINE": "0"}, "refresh_deadline"),
        ({"TOKEN_VAULT_POOL_SIZE": "0"}, "pool_size"),
        ({"TOKEN_VAULT_POOL_SIZE": "1.5"}, "TOKEN_VAULT_POOL_SIZE"),
        ({"TOKEN_VAULT_PREPARED_STATEMENTS": CANARY}, "TOKEN_VAULT_PREPARED_STATEMENTS"),
        ({"TOKEN_VAULT_POSTGRES_SCHEMA": f"x; {CANARY}"}, "postgres_schema"),
        ({"TOKEN_VAULT_POSTGRES_SCHEMA": "pg_vault"}, "postgres_schema"),
        ({"TOKEN_VAULT_POSTGRES_SCHEMA": "information_schema"}, "postgres_schema"),
        ({"TOKEN_VAULT_SCRYPT_LOG2_N": "19"}, "scrypt_log2_n"),
        ({"TOKEN_VAULT_DEPLOYMENT": CANARY * 6}, "deployment"),
        ({"TOKEN_VAULT_DEPLOYMENT": f"{CANARY}\n"}, "deployment"),
        ({"ENCRYPTION_SECRET_FILE": f"/nonexistent/{CANARY}"}, "ENCRYPTION_SECRET_FILE"),
        ({"TOKEN_VAULT_POSTGRES_SCHEMA": "pg_vault"}, "TOKEN_VAULT_POSTGRES_SCHEMA (postgres_schema) must"),
        ({"DATABASE_URL": f"mysql://{CANARY}"}, "DATABASE_URL (database_url) must"),
        ({"TOKEN_VAULT_DATABASE_URL": f"mysql://{CANARY}"}, "TOKEN_VAULT_DATABASE_URL (database_url) must"),
    ],
)
def test_what_cannot_be_used_is_named_and_not_repeated(variables, named):
    with pytest.raises(ConfigurationError) as caught:
        read(**variables)
    assert named in str(caught.value)
    assert CANARY not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("name", ["ENCRYPTION_SECRET", "TOKEN_VAULT_ENCRYPTION_SECRET_PREVIOUS"])
def test_a_short_secret_is_refused_at_once_by_the_name_of_its_variable(tmp_path, name):
    path = tmp_path / "secret"
    path.write_text("x" * 31 + "\n")
    for variable, value in ((name, "x" * 31), (f"{name}_FILE", str(path))):
        with pytest.raises(ConfigurationError) as caught:
            read(**{variable: value})
        assert str(caught.value) == f"{variable} must have at least 32 characters"
        assert caught.value.code == "encryption_secret_short"
    for field in ("encryption_secret", "previous_encryption_secret"):
        with pytest.raises(ConfigurationError) as caught:
            VaultConfig(**{field: "x" * 31})
        assert caught.value.code == "encryption_secret_short"
    assert LEAST_SECRET == MIN_SECRET_LENGTH


def test_a_secret_that_is_set_twice_is_named_as_it_was_set(tmp_path):
    path = tmp_path / "secret"
    path.write_text(SECRET)
    with pytest.raises(ConfigurationError, match=r"^ENCRYPTION_SECRET is set both directly and as a file"):
        read(ENCRYPTION_SECRET=SECRET, ENCRYPTION_SECRET_FILE=str(path))


def test_a_misspelt_variable_is_refused_with_the_near_one():
    with pytest.raises(ConfigurationError) as caught:
        read(TOKEN_VAULT_REFRESH_BUFFR="60")
    assert str(caught.value) == "TOKEN_VAULT_REFRESH_BUFFR is not known; did you mean TOKEN_VAULT_REFRESH_BUFFER?"
    assert caught.value.code == "unknown_variable"
    with pytest.raises(ConfigurationError) as caught:
        read(**{f"TOKEN_VAULT_{CANARY}": "60"})
    assert CANARY not in str(caught.value)
    read(  # the command line reads the first, the second is empty, Kubernetes sets the rest for a Service token-vault
        TOKEN_VAULT_REFRESHERS="app:refreshers",
        TOKEN_VAULT_OTHER="",
        TOKEN_VAULT_SERVICE_HOST="10.0.0.1",
        TOKEN_VAULT_PORT="tcp://10.0.0.1:80",
        TOKEN_VAULT_PORT_80_TCP_ADDR="10.0.0.1",
    )


def test_a_file_that_is_not_text(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(b"\xff\xfe" + SECRET.encode())
    with pytest.raises(ConfigurationError, match="ENCRYPTION_SECRET_FILE must name a readable file"):
        read(ENCRYPTION_SECRET_FILE=str(path))


@pytest.mark.parametrize("secret", ["x" * 65_537, SECRET + "\udcff"])
@pytest.mark.parametrize("name", ["ENCRYPTION_SECRET", "TOKEN_VAULT_ENCRYPTION_SECRET_PREVIOUS"])
def test_a_secret_that_cannot_be_one_is_refused_with_its_variable(secret, name):
    """A variable with bytes that are no UTF-8 has lone surrogates."""
    with pytest.raises(ConfigurationError, match=f"^{name} must be a text of at most 64 KiB") as caught:
        read(**{name: secret})
    assert caught.value.__context__ is None
    assert secret not in str(caught.value)


def test_a_secret_file_without_an_end_is_refused():
    with pytest.raises(ConfigurationError, match="64 KiB at most"):
        read(ENCRYPTION_SECRET_FILE="/dev/zero")


@pytest.mark.parametrize(
    "fields",
    [
        {"database_url": 1},
        {"encryption_secret": b"x" * 40},
        {"encryption_secret": "x" * 40 + "\ud800"},
        {"refresh_buffer": 300},
        {"journal_dir": ""},
        {"prepared_statements": "yes"},
        {"pool_size": True},
        {"tuning": {}},
    ],
)
def test_fields_of_another_kind(fields):
    with pytest.raises(ConfigurationError):
        VaultConfig(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"client_pause_accounts": 0},
        {"client_pause_accounts": 11},
        {"client_probe_interval": timedelta(0)},
        {"fleet_guard_accounts": 1},
        {"fleet_guard_window": timedelta(seconds=1)},
        {"fleet_guard_limit": timedelta(minutes=1)},
        {"rejection_confirm_after": timedelta(hours=1)},
    ],
)
def test_numbers_out_of_their_range(fields):
    with pytest.raises(ConfigurationError):
        Tuning(**fields)


def test_a_variable_of_the_tuning_is_named_in_its_error():
    with pytest.raises(ConfigurationError, match=r"^TOKEN_VAULT_FLEET_GUARD_ACCOUNTS \(fleet_guard_accounts\) must be"):
        read(TOKEN_VAULT_FLEET_GUARD_ACCOUNTS="1")


def test_a_configuration_shows_no_password():
    url = f"postgresql://user:{CANARY}@host/name"
    config = VaultConfig(url, encryption_secret=CANARY * 3)
    fields = {field.name: getattr(config, field.name) for field in attrs.fields(VaultConfig)}
    for shown in (repr(config), str(config), repr(attrs.asdict(config)), repr(fields), f"{config}"):
        assert CANARY not in shown
        assert "***" in shown
    assert config.database_url == url
    assert attrs.evolve(config, pool_size=1).database_url == url


@pytest.mark.parametrize("environ", ["postgresql://user:x@h", [("ENCRYPTION_SECRET", SECRET)], 5])
def test_an_environment_must_be_a_mapping(environ):
    with pytest.raises(ConfigurationError, match="environ must be a mapping"):
        VaultConfig.from_env(environ)


def test_a_variable_must_be_text():
    with pytest.raises(ConfigurationError, match="TOKEN_VAULT_POOL_SIZE must be text"):
        read(TOKEN_VAULT_POOL_SIZE=7)


def test_other_variables_are_not_looked_at():
    class Watched(dict):
        def __getitem__(self, name):
            assert name != "OTHER"
            return super().__getitem__(name)

        def items(self):
            raise AssertionError("all variables were read")

        values = items

    assert VaultConfig.from_env(Watched(OTHER=CANARY, TOKEN_VAULT_POOL_SIZE="3")).pool_size == 3


def test_a_journal_directory_is_a_path():
    assert VaultConfig(journal_dir="/a/b").journal_dir == Path("/a/b")


def test_each_field_has_a_row_in_one_of_the_two_tables():
    """A newcomer reads sixteen fields at most."""
    pages = Path(__file__).parents[3] / "docs/how-to"
    usual, further = (
        re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", (pages / name).read_text(), re.MULTILINE)
        for name in ("configure.md", "tune.md")
    )
    fields = {each.name for of in (VaultConfig, Tuning) for each in attrs.fields(of)} - {"tuning"}
    assert len(usual) <= 16
    assert sorted(usual + further) == sorted(fields)
