"""Connects accounts: sends a user to a provider, and stores the tokens that the provider gives for the user.

It needs ``token-vault[connect]``. `vault_adapters.connect.starlette` and `vault_adapters.connect.django` have the
routes by which users connect their accounts; `Connector` itself needs no web framework.
"""

from vault_adapters.connect.connector import Connector
from vault_adapters.connect.start import Start

__all__ = ["Connector", "Start"]
