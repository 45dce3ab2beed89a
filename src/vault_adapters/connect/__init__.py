"""Connects accounts: sends a user to a provider, and stores the tokens that the user comes back with.

It needs ``token-vault[connect]``. `vault_adapters.connect.starlette` and `vault_adapters.connect.django` have the pages
for a web framework; `Connector` itself needs none.
"""

from vault_adapters.connect.connector import Connector
from vault_adapters.connect.start import Start

__all__ = ["Connector", "Start"]
