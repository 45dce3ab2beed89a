"""No way to look at a public object or an exception shows a secret."""

import copy
import dataclasses
import json
import pickle
import pprint
from datetime import UTC, datetime, timedelta
from uuid import UUID

import attrs
import pytest
from tests.security.canaries import leaks_in, make_canaries
from tests.security.watching import rendered

import vault_adapters
from vault_adapters import (
    Account,
    DecryptionError,
    RefreshFailedError,
    RefreshRequest,
    Secret,
    Token,
    TokenInfo,
    TokenKind,
    TokenSet,
    TokenStatus,
    UsableToken,
    VaultConfig,
    VaultError,
    open_sync_vault,
)
from vault_adapters.testing import ScriptedRefresher, memory_vault
from vault_domain.entities.token import TokenDraft

CANARY, OTHER = make_canaries(2)
NOW = datetime(2030, 1, 1, tzinfo=UTC)
ACCOUNT = Account("t1", "google", "ann")
KEY = ACCOUNT.key(TokenKind.ACCESS_TOKEN)
INFO = TokenInfo(UUID(int=1), KEY, TokenStatus.VALID, None, NOW, ("a",), 1, None, None, None, NOW, NOW)
RESPONSE = {"access_token": CANARY, "refresh_token": OTHER, "id_token": CANARY}


def scripted():
    return ScriptedRefresher(TokenSet(CANARY, OTHER), RefreshFailedError(refresh_token=Secret(CANARY)))


OBJECTS = {
    "secret": lambda: Secret(CANARY),
    "fields": lambda: Secret.from_fields(id=OTHER, secret=CANARY),
    "token_set": lambda: TokenSet(CANARY, OTHER, expires_in=60),
    "token_set_read": lambda: TokenSet.from_response(
        {"access_token": CANARY, "refresh_token": OTHER, "id_token": CANARY}
    ),
    "token": lambda: Token(INFO, Secret(CANARY)),
    "usable_token": lambda: UsableToken(Token(INFO, Secret(CANARY)), needs_refresh=True),
    "draft": lambda: TokenDraft(INFO.key, Secret(CANARY)),
    "request": lambda: RefreshRequest(ACCOUNT, Secret(CANARY), TokenKind.REFRESH_TOKEN, ("a",), timedelta(seconds=1)),
    "config": lambda: VaultConfig(
        f"postgresql://user:{'pA%3Fss' + CANARY.replace('?', '%3F').replace('>', '%3E').replace('<', '%3C')}@host/db",
        encryption_secret=CANARY * 2,
        previous_encryption_secret=OTHER * 2,
    ),
    "config_url_parameter": lambda: VaultConfig(
        f"postgresql://host/db?user=u&password={CANARY.replace('?', '%3F').replace('>', '%3E')}&sslmode=disable",
        encryption_secret=CANARY * 2,
    ),
    "refresher": scripted,
    "sync_vault": lambda: open_sync_vault(VaultConfig("sqlite:///:memory:", encryption_secret=CANARY * 2)),
    "refresh_failed": lambda: RefreshFailedError(account=ACCOUNT, refresh_token=Secret(CANARY)),
    "decryption_error": lambda: DecryptionError(account=ACCOUNT, keys=[INFO.key]),
    "inside_others": lambda: [{"a": (Secret(CANARY), {"b": Token(INFO, Secret(OTHER))})}],
}

WAYS = {
    "repr": repr,
    "str": str,
    "format": lambda value: f"{value} {value!s} {value!r} {value!a} {value:}",
    "percent": lambda value: "%s %r %a" % (value, value, value),  # noqa: UP031
    "pprint": pprint.pformat,
    "vars": vars,
    "asdict": lambda value: attrs.asdict(value) if attrs.has(type(value)) else None,
    "astuple": lambda value: attrs.astuple(value) if attrs.has(type(value)) else None,
    "evolve": lambda value: attrs.evolve(value) if attrs.has(type(value)) else None,
    "fields": lambda value: attrs.fields(type(value)) if attrs.has(type(value)) else None,
    "dataclass": dataclasses.asdict,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "json": json.dumps,
    "json_str": lambda value: json.dumps(value, default=str),
    "json_vars": lambda value: json.dumps(value, default=vars),
    "json_asdict": lambda value: json.dumps(value, default=lambda held: attrs.asdict(held, recurse=False)),
    "getstate": lambda value: value.__getstate__(),
    **{
        f"pickle_{protocol}": lambda value, protocol=protocol: pickle.dumps(value, protocol)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}

# These ways show a configuration's database URL with the password, because the driver needs the password.
OPEN = {
    (name, way)
    for name in ("config", "config_url_parameter")
    for way in ("vars", "asdict", "astuple", "deepcopy", "getstate", "json_asdict")
}


def shown(way, value):
    """Return what one way to look at an object shows: its result, or its error."""
    try:
        result = WAYS[way](value)
    except Exception as error:
        return rendered(error)
    return result if isinstance(result, bytes) else repr(result)


PAIRS = [(name, way) for name in OBJECTS for way in WAYS if (name, way) not in OPEN]


@pytest.mark.parametrize(("name", "way"), PAIRS, ids=map("-".join, PAIRS))
def test_it_keeps_its_secret(name, way):
    assert leaks_in(shown(way, OBJECTS[name]())) == []


@pytest.mark.parametrize("name", ["secret", "token_set", "token", "usable_token", "request", "inside_others", "draft"])
def test_what_holds_a_secret_cannot_be_pickled_or_copied_deeply(name):
    for take in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            take(OBJECTS[name]())


PUBLIC = [getattr(vault_adapters, name) for name in vault_adapters.__all__]
ERRORS = [error for error in PUBLIC if isinstance(error, type) and issubclass(error, VaultError)]


def test_the_errors_are_found():
    assert len(ERRORS) > 15


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_errors_say_a_constant(error):
    plain = error()
    assert str(plain) == error.default_message
    assert plain.code == error.default_code
    assert isinstance(plain.retryable, bool)
    assert plain.account is None
    assert leaks_in(rendered(error(account=ACCOUNT))) == []
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(plain, protocol))
        assert (type(again), str(again), again.code) == (error, str(plain), plain.code)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # from a partial deepcopy of a loop
async def test_a_vault_and_what_it_returns():
    happened = []
    async with memory_vault(on_event=happened.append) as vault:
        info = await vault.store_token_set(ACCOUNT, TokenSet(CANARY, OTHER, expires_in=3600), label="Ann")
        key = ACCOUNT.key(TokenKind.ACCESS_TOKEN)
        returned = {
            "vault": vault,
            "view": vault.with_actor("user:42"),
            "account_info": info,
            "token": await vault.get_token(key),
            "tokens": await vault.get_tokens([key]),
            "usable": await vault.get_access_token(ACCOUNT),
            "stored": await vault.store_token(key, CANARY),
            "page": await vault.list_tokens("t1"),
            "accounts": await vault.list_accounts("t1"),
            "events": await vault.audit_events(),
            "health": await vault.health(),
            "happened": happened,
            "keys": vault.keys,
            "key_status": await vault.keys.status(),
        }
        for name, value in returned.items():
            for way in WAYS:
                assert leaks_in(shown(way, value)) == [], (name, way)


class Hostile(list):
    def __len__(self):
        raise OSError("the host's own error")


class HostileItems(list):
    def __iter__(self):
        raise OSError("the host's own error")


@pytest.mark.parametrize("items", [[Hostile([KEY, CANARY])], HostileItems([(KEY, CANARY)])], ids=["item", "items"])
async def test_an_error_of_an_argument_stays_and_shows_no_value(items):
    async with memory_vault() as vault:
        with pytest.raises(OSError, match="the host's own error") as caught:
            await vault.store_tokens(items)
    assert leaks_in(rendered(caught.value)) == []
