"""Refreshers: how a provider is asked for a new access token.

They need ``token-vault[http]``, or an HTTP client of the host's (httpx or httpx2), when they are used. A client of
the host's is the way through a proxy or to a private certificate authority, since their own ignores the environment.
It should be a plain one: its default parameters, headers, cookies and retries apply to token requests too.
"""

from vault_adapters.providers import presets
from vault_adapters.providers.client_credentials import ClientCredentialsRefresher
from vault_adapters.providers.greeninvoice import GreenInvoiceRefresher
from vault_adapters.providers.meta import MetaTokenExchangeRefresher
from vault_adapters.providers.oauth2 import OAuth2Refresher

__all__ = [
    "ClientCredentialsRefresher",
    "GreenInvoiceRefresher",
    "MetaTokenExchangeRefresher",
    "OAuth2Refresher",
    "presets",
]
