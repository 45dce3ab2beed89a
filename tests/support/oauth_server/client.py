"""The tests' side: starts the server's process, has tokens issued, and asks for its counts."""

import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from tests.support.processes import import_environment

_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@frozen
class TokenPair:
    """The tokens that one user's consent gave; `account` is the user's name, as `/api/me` tells it."""

    account: str
    access_token: str
    refresh_token: str
    expires_in: int


@frozen
class Stats:
    """What the server answered since its start.

    Attributes:
        token_requests: all requests at the token endpoint.
        refreshes: refresh grants answered with 200.
        replays: refresh grants that got the same answer as an earlier one, within the grace period.
        invalid_grants: refused refresh tokens.
        other_errors: every other refusal at the token endpoint, such as `invalid_client`.
        most_presented: largest number of times that any one refresh token was presented.
        live_refresh_tokens: refresh tokens that the server would take now.
        revocations: requests at the revocation endpoint that it accepted.
        resource_ok: requests for the resource that carried a good token.
        resource_unauthorized: requests for the resource without a good token.
    """

    token_requests: int
    refreshes: int
    replays: int
    invalid_grants: int
    other_errors: int
    most_presented: int
    live_refresh_tokens: int
    revocations: int
    resource_ok: int
    resource_unauthorized: int


@frozen
class OAuthServer:
    """A running server. The client may refresh; the machine client gets client_credentials tokens."""

    base_url: str
    client_id: str
    client_secret: str
    machine_client_id: str
    machine_client_secret: str

    @property
    def token_url(self) -> str:
        """RFC 6749 token endpoint."""
        return f"{self.base_url}/o/token/"

    @property
    def revocation_url(self) -> str:
        """RFC 7009 revocation endpoint."""
        return f"{self.base_url}/o/revoke_token/"

    @property
    def resource_url(self) -> str:
        """A protected resource: 200 with a good bearer token, else 401."""
        return f"{self.base_url}/api/me"

    def issue(self, count: int) -> list[TokenPair]:
        """Create `count` users who consented, each with a fresh pair of tokens."""
        return [TokenPair(**pair) for pair in self._call("issue", count=count)["pairs"]]

    def expire_access_tokens(self) -> int:
        """Let every access token expire now, and return how many there were."""
        return int(self._call("expire")["expired"])

    def stats(self) -> Stats:
        """Return the server's counts so far."""
        return Stats(**self._call("stats"))

    def _call(self, action: str, **arguments: int) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.base_url}/inspect/{action}", json.dumps(arguments).encode())
        with _OPENER.open(request, timeout=60) as response:
            answer: dict[str, Any] = json.load(response)
        return answer


@contextmanager
def start_oauth_server(
    *,
    rotation: bool = True,
    grace_seconds: int = 0,
    access_token_seconds: int = 3600,
    latency_seconds: float = 0.0,
    client_secret: str = "client-secret",
) -> Iterator[OAuthServer]:
    """Run a server until the block or this process ends.

    Args:
        rotation: every refresh replaces the refresh token; presenting an old one revokes the whole family.
        grace_seconds: how long a replaced refresh token still gives the pair that replaced it.
        access_token_seconds: `expires_in` of every access token.
        latency_seconds: how long the token endpoint holds an answer back after it has committed.
        client_secret: secret of the client that refreshes; a secret with `:`, `%` or `+` reveals a wrong encoding.
    """
    options = {
        "rotation": rotation,
        "grace_seconds": grace_seconds,
        "access_token_seconds": access_token_seconds,
        "latency_seconds": latency_seconds,
        "client_secret": client_secret,
    }
    with tempfile.TemporaryDirectory(prefix="vault-oauth-") as directory:
        log_path = Path(directory) / "log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", __package__, directory, json.dumps(options)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=import_environment(),
                start_new_session=True,
            )
        with process:
            try:
                yield _connect(process, log_path)
            finally:
                process.kill()


def _connect(process: subprocess.Popen[bytes], log_path: Path) -> OAuthServer:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the OAuth server did not start:\n{log_path.read_text(errors='replace')[-4000:]}")
    return OAuthServer(**json.loads(line))
