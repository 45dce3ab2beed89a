"""Accounts that are connected at providers of the package's profiles, which answer as their documentation says."""

from datetime import timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2

from vault_adapters import Account, ConnectionState
from vault_adapters.connect import Connector
from vault_adapters.providers import refresher
from vault_adapters.testing import memory_vault

CALLBACK = "https://app.example.com/connect/callback"


class Provider:
    """Answers each request with the JSON object that stands for its path."""

    def __init__(self, **answers):
        self.answers, self.forms = answers, []

    def __call__(self, request):
        self.forms.append(dict(parse_qsl(request.content.decode())))
        found = self.answers[request.url.path.rpartition("/")[2].replace("-", "_").replace(".", "_")]
        return httpx2.Response(200, json=found(request) if callable(found) else found)


async def connected(vault, name, provider, begun=lambda parameters: None):
    """Connect an account at a provider of a profile; ``begun`` gets the parameters of the authorization request."""
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(provider)) as http:
        connector = Connector(vault, {name: refresher(name, "client", "secret", client=http)}, redirect_uri=CALLBACK)
        start = await connector.begin("t1", name, session="s")
        begun(dict(parse_qsl(urlsplit(start.url).query)))
        return await connector.finish(urlencode({"state": start.state, "code": "c"}), session="s")


async def test_a_token_of_slack_without_rotation_never_expires(clock):
    """Without token rotation, Slack states no lifetime, gives no refresh token, and the access token never expires."""
    slack = Provider(oauth_v2_access={"ok": True, "access_token": "xoxb", "team": {"id": "T1", "name": "Acme"}})
    async with memory_vault(clock=clock, refreshers={"slack": refresher("slack", "client", "secret")}) as vault:
        account = (await connected(vault, "slack", slack)).account
        clock.advance(timedelta(days=300))
        assert account == Account("t1", "slack", "T1")
        assert (await vault.get_account(account)).state is ConnectionState.CONNECTED
        assert (await vault.ensure_access_token(account)).value.reveal() == "xoxb"
