"""Connects accounts: sends a user to a provider, and stores the tokens that the provider gives for the user.

It needs ``token-vault[connect]``. `vault_adapters.connect.starlette` and `vault_adapters.connect.django` have the
routes by which users connect their accounts; `Connector` itself needs no web framework.
"""

try:
    from vault_adapters.connect.connector import Connector
    from vault_adapters.connect.device import DeviceConnector, DeviceStart
    from vault_adapters.connect.start import Start
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error.name} is not installed: install token-vault[connect]", name=error.name) from None

__all__ = ["Connector", "DeviceConnector", "DeviceStart", "Start"]
