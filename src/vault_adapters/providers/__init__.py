"""Refreshers: they ask providers for new access tokens.

They need ``token-vault[http]`` or an HTTP client of the host (httpx or httpx2). The client that they open themselves
ignores environment variables such as ``HTTPS_PROXY``, so a host that needs a proxy or a private certificate authority
passes a client. The host's client should have no default parameters, default headers, cookies or retries, because these
would apply to token requests too.
"""

from typing import TYPE_CHECKING

# Not loaded later, because a submodule of the same name would take the function's place in this package.
from vault_adapters.providers.profiles import load_profile, profiles
from vault_domain.lazy import loader

if TYPE_CHECKING:
    from vault_adapters.providers import presets
    from vault_adapters.providers.client_credentials import ClientCredentialsRefresher
    from vault_adapters.providers.custom import CustomRefresher
    from vault_adapters.providers.discovery import openid
    from vault_adapters.providers.github_app import GitHubAppRefresher
    from vault_adapters.providers.greeninvoice import GreenInvoiceRefresher
    from vault_adapters.providers.jwt_bearer import JwtBearerRefresher
    from vault_adapters.providers.meta import MetaTokenExchangeRefresher
    from vault_adapters.providers.oauth2 import OAuth2Refresher
    from vault_adapters.providers.profiled import refresher
    from vault_adapters.providers.signing_key import SigningKey
    from vault_adapters.providers.static_keys import static_key
else:
    __getattr__ = loader(
        __name__,
        {
            "vault_adapters.providers.client_credentials": "ClientCredentialsRefresher",
            "vault_adapters.providers.custom": "CustomRefresher",
            "vault_adapters.providers.discovery": "openid",
            "vault_adapters.providers.github_app": "GitHubAppRefresher",
            "vault_adapters.providers.greeninvoice": "GreenInvoiceRefresher",
            "vault_adapters.providers.jwt_bearer": "JwtBearerRefresher",
            "vault_adapters.providers.meta": "MetaTokenExchangeRefresher",
            "vault_adapters.providers.oauth2": "OAuth2Refresher",
            "vault_adapters.providers.presets": "",
            "vault_adapters.providers.profiled": "refresher",
            "vault_adapters.providers.signing_key": "SigningKey",
            "vault_adapters.providers.static_keys": "static_key",
        },
    )

__all__ = [
    "ClientCredentialsRefresher",
    "CustomRefresher",
    "GitHubAppRefresher",
    "GreenInvoiceRefresher",
    "JwtBearerRefresher",
    "MetaTokenExchangeRefresher",
    "OAuth2Refresher",
    "SigningKey",
    "load_profile",
    "openid",
    "presets",
    "profiles",
    "refresher",
    "static_key",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
