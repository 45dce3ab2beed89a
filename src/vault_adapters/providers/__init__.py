"""Refreshers: how a provider is asked for a new access token.

They need ``token-vault[http]``, or an HTTP client of the host's (httpx or httpx2), when they are used.
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
