"""A database URL: no text form of it shows a password."""

import copy
import json
import pickle

import attrs
import pytest
from rich.pretty import pretty_repr
from tests.domain.leaks import shown_by

from vault_adapters import ConfigurationError, VaultConfig
from vault_adapters.configuration.config import DEFAULT_DATABASE_URL
from vault_adapters.configuration.database_url import ConfiguredUrl

CANARY = "hunter2-canary"

WITH_PASSWORDS = [
    f"postgresql://user:{CANARY}@host/name",
    f"postgresql://user:{CANARY}@[::1]:5432,other:5433/name?sslmode=require",
    f"postgres://user:{CANARY}:with:colons@host:5432/name",
    f"postgresql+asyncpg://user:{CANARY}@host",
    f"postgresql://host/name?user=u&password={CANARY}&sslmode=require",
    f"postgresql://host/name?sslpassword={CANARY}",
    f"postgresql://host/name?pass%77ord={CANARY}",
    f"postgresql://host/name?password={CANARY}@x",
    f"postgresql://host/name?{CANARY}",
    # Passwords whose characters were not escaped.
    f"postgresql://user:pa/{CANARY}@host/name",
    f"postgresql://user:pa?{CANARY}@host/name",
    f"postgresql://user:pa#{CANARY}@host/name",
    f"postgresql://user:{CANARY}@{CANARY}@host/name",
    f"postgresql://user:pa@{CANARY}/x@host/name",
    f"postgresql://user:{CANARY}/name",
    f"postgresql://user:5432/{CANARY}@host/name",
]


@pytest.mark.parametrize("text", WITH_PASSWORDS)
def test_no_way_of_looking_at_it_shows_the_password(text):
    url = VaultConfig(text).database_url
    for shown in (str(url), repr(url), f"{url}", f"{url!s:>3}", f"{url:}", "%s" % url, pretty_repr(url, max_string=30)):  # noqa: UP031
        assert CANARY not in shown
        assert "***" in shown
    assert url.reveal() == text
    assert CANARY not in repr(url.parse())


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://user@host:5432/name",
        "sqlite:////var/lib/a:b@c.db",
        "postgresql:///name?host=/run/pg",
        "postgresql://u@a:1,b:2/name?sslmode=verify-full&target_session_attrs=any",
    ],
)
def test_a_url_without_a_password_is_shown_as_it_is(text):
    assert str(ConfiguredUrl(text)) == text
    assert repr(ConfiguredUrl(text)) == repr(text)


def test_tools_that_take_a_configuration_apart_find_no_password():
    config = VaultConfig(WITH_PASSWORDS[0])
    for shown in (
        pretty_repr(config, max_string=20, max_length=3),
        pretty_repr(attrs.asdict(config)),
        json.dumps(attrs.asdict(config), default=str),
        json.dumps(attrs.asdict(config), default=repr),
        json.dumps({"url": config.database_url}, default=lambda held: repr(held.__getstate__())),
    ):
        assert CANARY[:5] not in shown
    with pytest.raises(TypeError) as caught:
        json.dumps(attrs.asdict(config))
    assert CANARY not in str(caught.value)
    for refused in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            refused(config.database_url)


def test_it_is_equal_to_its_text():
    url = ConfiguredUrl(WITH_PASSWORDS[0])
    assert url == WITH_PASSWORDS[0]
    assert url == ConfiguredUrl(WITH_PASSWORDS[0])
    assert url != WITH_PASSWORDS[1]
    assert url != ConfiguredUrl(WITH_PASSWORDS[1])
    assert url != 1
    assert VaultConfig(url) == VaultConfig(WITH_PASSWORDS[0])


def test_the_default_is_one_object():
    assert VaultConfig().database_url is DEFAULT_DATABASE_URL
    assert VaultConfig(DEFAULT_DATABASE_URL).uses_default_database
    assert attrs.evolve(VaultConfig(), pool_size=1).uses_default_database
    assert not VaultConfig(DEFAULT_DATABASE_URL.reveal()).uses_default_database


class Proxy:
    """Claims to be a text, as the lazy objects of web frameworks do."""

    def __init__(self, text):
        self._text = text

    @property
    def __class__(self):
        return str

    def __repr__(self):
        return repr(self._text)


def test_an_object_that_only_claims_to_be_a_text_is_refused_in_silence():
    with pytest.raises(ConfigurationError) as caught:
        VaultConfig(Proxy(WITH_PASSWORDS[0]), encryption_secret="s" * 40)
    assert CANARY not in shown_by(caught.value)
