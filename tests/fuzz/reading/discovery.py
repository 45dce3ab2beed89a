"""What an OpenID provider publishes about itself."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.fuzz.target import CANARY, Run, Target

from vault_adapters.providers import openid
from vault_adapters.providers.answers import json_value
from vault_adapters.providers.members import member_at, text_of
from vault_domain.entities.errors import ConfigurationError

_ISSUER = "https://id.example.com"
_PATHS = ("issuer", "a.b", "0", "0.id", "*", "*.id", "a.*.id", "[main].id", "a.[main]", "a.0.b.c")


@contextmanager
def _opened() -> Iterator[Run]:
    yield _read


def _read(data: bytes) -> None:
    document = json_value(data)
    for path in _PATHS:
        text = text_of(member_at(document, path))
        assert text is None or isinstance(text, str)
    if not isinstance(document, dict):
        return
    profile = openid(_ISSUER, "client", CANARY, document=document).profile
    urls = (
        *(profile.token_url, profile.authorization_url, profile.userinfo_url, profile.revocation_url),
        *(profile.pushed_authorization_url, profile.device_authorization_url),
    )
    assert all(url is None or url.startswith("https://") for url in urls)


DISCOVERY = Target(
    "discovery",
    _opened,
    (ConfigurationError,),
    (
        *(b'"issuer":', b'"https://id.example.com"', b'"token_endpoint":', b'"authorization_endpoint":'),
        *(b'"https://127.0.0.1/"', b'"http://127.0.0.1/"', b'"https://{a}/"', b'"scopes_supported":', b'["openid"]'),
        *(b'"userinfo_endpoint":', b'"token_endpoint_auth_methods_supported":', b"[", b"{", b"}", b'"\\ud800"'),
        *(b'"jwks_uri":', b"null", CANARY.encode()),
    ),
)
