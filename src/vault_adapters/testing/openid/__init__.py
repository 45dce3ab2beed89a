"""An OpenID provider on the loopback interface, for demonstrations and tests; it needs ``token-vault[connect]``.

For example:

    with openid_provider() as provider:
        refresher = provider.refresher()
        connector = Connector(vault, {"local": refresher}, redirect_uri="http://127.0.0.1:8000/connect/callback")
"""

from vault_adapters.testing.openid.provider import LoopbackOpenIdProvider, User
from vault_adapters.testing.openid.server import openid_provider

__all__ = ["LoopbackOpenIdProvider", "User", "openid_provider"]
