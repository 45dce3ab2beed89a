"""Slack on loopback: installs an app, rotates tokens strictly, and tells who a token is."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from attrs import evolve
from tests.support.answers import Answer, ReceivedRequest
from tests.support.scripted_provider import ScriptedProvider
from tests.support.strict_provider import REUSED, StrictProvider, digest

from vault_adapters.providers import refresher
from vault_adapters.providers.profiles import packaged_profile

TEAM, ENTERPRISE, USER = "T1", "E1", "U1"
WHERE = {
    "app_id": "A1",
    "team": {"id": TEAM, "name": "Acme"},
    "enterprise": {"id": ENTERPRISE, "name": "Acme Group"},
    "is_enterprise_install": False,
}


class SlackStub:
    """The API methods that Bolt calls; `outcomes` has how each refresh ended."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self.provider = StrictProvider("slack", lifetime=43200)
        self.provider.weather(latency=0.3)
        self.server = ScriptedProvider(self._respond, tls=tls)
        self.url = self.server.base_url

    @property
    def outcomes(self) -> list[str]:
        return [presented.outcome for presented in self.provider.presented]

    @property
    def lost(self) -> bool:
        """Whether a refresh token was presented twice, so that a grant was revoked."""
        return REUSED in self.outcomes

    def _respond(self, request: ReceivedRequest) -> Answer:
        if request.path == "/api/oauth.v2.access":
            return self._refreshed(request) if "refresh_token" in request.form else self._installed()
        issued = self.provider.issued.get(digest("slack", request.headers.get("authorization", "")[7:]))
        if issued is None or self.provider.families[issued.family].revoked_at is not None:
            return Answer(json={"ok": False, "error": "invalid_auth"})
        identity = {"team_id": TEAM, "team": "Acme", "url": "https://acme.slack.com/", "user": "x", "bot_id": "B1"}
        return Answer(json={"ok": True, "user_id": "UB" if issued.account == "bot" else USER, **identity})

    def _installed(self) -> Answer:
        bot, user = self.tokens("bot"), self.tokens("user")
        user |= {"id": USER, "scope": "search:read", "token_type": "user"}
        bot |= {"scope": "chat:write,commands", "token_type": "bot", "bot_user_id": "UB"}
        return Answer(json={"ok": True, **bot, **WHERE, "authed_user": user})

    def tokens(self, account: str) -> dict[str, object]:
        """Issue tokens of a new grant, as Slack's answers have them."""
        access, refresh = self.provider.consent(account)
        return {"access_token": access, "refresh_token": refresh, "expires_in": 43200}

    def _refreshed(self, request: ReceivedRequest) -> Answer:
        answer = self.provider.respond(request)
        if answer.status != 200:
            return Answer(json={"ok": False, "error": "invalid_refresh_token"}, delay=answer.delay)
        known = self.provider.issued[digest("slack", answer.json["access_token"])]
        return evolve(answer, json={"ok": True, **answer.json, **WHERE, "token_type": known.account})


@contextmanager
def slack_stub(tls: ssl.SSLContext) -> Iterator[SlackStub]:
    """Serve until the end of the block."""
    stub = SlackStub(tls)
    try:
        yield stub
    finally:
        stub.server.close()
    stub.server.check()


def slack_refreshers(url: str, client: httpx2.AsyncClient):
    """Return the refreshers of the profiles, which ask the stub."""

    def made(name):
        profile = evolve(packaged_profile(name), token_url=f"{url}/api/oauth.v2.access")
        return refresher(profile, "client", "secret", client=client)

    return {name: made(name) for name in ("slack", "slack-user")}
