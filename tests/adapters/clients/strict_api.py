"""A strict provider with an API that takes the access tokens of live grants, and a vault of several processes."""

import os
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from attrs import frozen
from tests.support.answers import Answer, ReceivedRequest
from tests.support.databases import SECRET
from tests.support.scripted_provider import ScriptedProvider
from tests.support.strict_provider import REUSED, StrictProvider, digest

from vault_adapters import Account, TokenSet, VaultConfig, open_sync_vault
from vault_adapters.providers import OAuth2Refresher
from vault_adapters.testing import ManualClock

RECIPES = Path(__file__).parents[3] / "docs" / "how-to" / "recipes"
ACCOUNT = Account("tenant-1", "acme", "ann")
LOOPBACK = ["127.0.0.1"]


class StrictApi:
    """The provider and the API, each on a port of its own; tokens of a revoked grant are refused.

    Attributes:
        asked: the digest of the token of each API request, in their order.
        route: answers a request that carries a good token; None: `{"ok": true}`.
        refusal: answers a request whose token is no longer good.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.provider = StrictProvider("api", lifetime=3600)
        self.provider.weather(latency=0.3)
        self.asked: list[str] = []
        self.route = lambda request: Answer(json={"ok": True})
        self.refusal = Answer(status=401, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'}, json={})
        self.ended: set[str] = set()
        self._token_server = ScriptedProvider(self.provider.respond)
        self._server = ScriptedProvider(self._respond, tls=tls)
        self.url = self._server.base_url
        self.token_url = self._token_server.token_url

    def close(self) -> None:
        """End both servers, and raise if they had a problem."""
        for server in (self._server, self._token_server):
            server.close()
            server.check()

    @property
    def outcomes(self) -> list[str]:
        """How each refresh request ended."""
        return [presented.outcome for presented in self.provider.presented]

    @property
    def lost(self) -> bool:
        """Whether a refresh token was presented twice, so that the grant was revoked."""
        return REUSED in self.outcomes

    def refreshers(self, name=ACCOUNT.provider):
        """Return the refresher of this provider."""
        return refreshers_of(self.token_url, name)

    def end(self, access_token: str) -> None:
        """Let the API refuse an access token from now on."""
        self.ended.add(digest("api", access_token))

    def _respond(self, request: ReceivedRequest) -> Answer:
        shown = digest("api", request.headers.get("authorization", "").partition(" ")[2])
        self.asked.append(shown)
        issued = self.provider.issued.get(shown)
        revoked = issued is not None and self.provider.families[issued.family].revoked_at is not None
        good = issued is not None and issued.kind == "access" and not revoked and shown not in self.ended
        return self.route(request) if good else self.refusal


@contextmanager
def strict_api(tls: ssl.SSLContext | None = None) -> Iterator[StrictApi]:
    """Serve until the end of the block; `tls` is the API's."""
    api = StrictApi(tls)
    try:
        yield api
    finally:
        api.close()


@frozen
class Place:
    """What a process needs to open the vault of a test: plain values, because they pass as JSON."""

    database_url: str
    token_url: str

    @classmethod
    def in_file(cls, path, api):
        """Return the place of a vault in an SQLite file."""
        return cls(f"sqlite:///{path}", api.token_url)

    def config(self) -> VaultConfig:
        return VaultConfig(self.database_url, encryption_secret=SECRET, scrypt_log2_n=14)

    def refreshers(self, name=ACCOUNT.provider):
        """Return the refresher of the provider."""
        return refreshers_of(self.token_url, name)

    def open(self, clock=None):
        """Open the vault with a refresher for the provider of `ACCOUNT`."""
        return open_sync_vault(self.config(), refreshers=self.refreshers(), clock=clock)

    def connect(self, pair, *, account=ACCOUNT, **options):
        """Store a pair of tokens a minute ago, so that a report that it is refused is believed."""
        with self.open(minute_ago()) as vault:
            vault.store_token_set(account, TokenSet(*pair, **{"expires_in": 3600, **options}))

    def facts(self) -> list[str]:
        return [self.database_url, self.token_url]


def refreshers_of(token_url, name=ACCOUNT.provider):
    """Return the refresher of a provider."""
    return {name: OAuth2Refresher(token_url, "client", "secret")}


def minute_ago():
    """Return a clock that is a minute slow."""
    return ManualClock(datetime.now(UTC) - timedelta(minutes=1))


def with_recipes() -> None:
    """Let this process import the recipes of the guides."""
    if str(RECIPES) not in sys.path:
        sys.path.insert(0, str(RECIPES))


def meeting_in(folder: Path, count: int) -> list[object]:
    """Return a meeting of several processes, to be passed to each of them."""
    return [str(folder / "meeting"), count]


def meet(meeting: list[object] | None) -> None:
    """Wait until all processes have come as far as this one; None: there is no other process."""
    if meeting is None:
        return
    folder, count = Path(str(meeting[0])), meeting[1]
    folder.mkdir(exist_ok=True)
    (folder / str(os.getpid())).touch()
    end = time.monotonic() + 120
    while len(list(folder.iterdir())) < count:
        if time.monotonic() > end:
            raise TimeoutError("the other processes did not come")
        time.sleep(0.01)
