"""Libraries' own code for refreshing, over the same network, database and provider as the vault.

Nothing of a library is written anew here: its provider or lock runs as installed, and this module only connects it.
`OAuthClientProvider` of the MCP SDK and `OAuth` of FastMCP get a storage in the database, and an HTTP client that
reaches the simulated provider. redis-py's `Lock` gets a Redis that follows the commands and the script which it sends.
"""

import asyncio
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from datetime import timedelta
from types import SimpleNamespace
from unittest.mock import patch
from urllib.parse import urlsplit

from attrs import evolve
from tests.simulation.database import Linked
from tests.simulation.http_client import SimulatedClient
from tests.simulation.peers import PEERS, Algorithm, Peer, Row, deadline, ignore, token_of

from vault_adapters import (
    ConnectionState,
    ReauthorizationRequiredError,
    RefreshFailedError,
    TokenNotFoundError,
    VaultError,
)

LIBRARIES = {
    "mcp_sdk": "MCP SDK: `OAuthClientProvider` over a shared storage",
    "fastmcp": "FastMCP: `OAuth` over a shared storage",
    "redis_lock": "redis-py: `Lock` of 10 seconds",
    "none": "no lock, as beside django-allauth",
}
"""The title of each library in the table; django-allauth keeps tokens, and neither refreshes nor locks them."""

_SERVER, _CALLBACK = "https://provider.example/mcp", "http://127.0.0.1:1/callback"
_LOCK_SECONDS = 10


@contextmanager
def library_time(world):
    """Let `time.time` show the world's time while a library runs in the world."""
    with patch("time.time", lambda: world.clock.now().timestamp()) if world.peer in LIBRARIES else nullcontext():
        yield


@asynccontextmanager
async def open_library(name, world, link, credentials):
    """Open a library as a host opens a vault."""
    if name == "redis_lock":
        yield RedisPeer(Algorithm(LIBRARIES[name], locks=True), world, link, credentials)
    elif name == "none":
        yield Peer(PEERS["none"], world, link, credentials)
    else:
        yield McpPeer(_sdk if name == "mcp_sdk" else _fastmcp, world, link, credentials)


class Redis:
    """One process's client of a Redis that the processes share: the commands that redis-py's `Lock` sends."""

    def __init__(self, keys, loop):
        self._keys, self._loop = keys, loop

    async def set(self, name, value, *, nx, px):
        """Do what SET with NX and PX does."""
        assert nx
        held = self._keys.get(name)
        if held is not None and held[1] > self._loop.time():
            return None
        self._keys[name] = value, self._loop.time() + px / 1000
        return True

    async def release(self, name, token):
        """Do what `Lock.LUA_RELEASE_SCRIPT` does."""
        held = self._keys.get(name)
        if held is None or held[1] <= self._loop.time() or held[0] != token:
            return 0
        del self._keys[name]
        return 1


class _Linked:
    """A `Redis` behind a network, as the client that redis-py's `Lock` takes."""

    def __init__(self, redis, link):
        linked = Linked(redis, link)
        self.set, self.release = linked.set, linked.release

    def register_script(self, text):
        """Return a script that can be called."""
        return _Script(text)


class _Script:
    """A script of a lock; a lock only calls the one that releases it."""

    def __init__(self, text):
        self._text = text

    async def __call__(self, *, keys, args, client):
        from redis.asyncio.lock import Lock

        assert self._text == Lock.LUA_RELEASE_SCRIPT
        return await client.release(keys[0], args[0])


class RedisPeer(Peer):
    """Refreshes under redis-py's lock, which is read again and released as in its documentation."""

    def __init__(self, algorithm, world, link, credentials):
        super().__init__(algorithm, world, link, credentials)
        self._redis = _Linked(Redis(world.peer_tables.locks, world.loop), link)

    async def _locked(self, account, row):
        from redis.asyncio.lock import Lock
        from redis.exceptions import LockError

        lock = Lock(self._redis, account.identifier, timeout=_LOCK_SECONDS, blocking_timeout=2 * _LOCK_SECONDS)
        try:
            async with lock:
                latest = await self._read(account)
                return latest if latest.access != row.access else await self._exchange(account, latest)
        except LockError:
            raise RefreshFailedError("locked") from None


class Storage:
    """The SDK's `TokenStorage` of one account in the database; FastMCP adds the expiry to it."""

    def __init__(self, account, tables, world, client):
        self._account, self._tables, self._world, self._client = account, tables, world, client

    async def get_tokens(self):
        """Return the tokens, or None."""
        from mcp.shared.auth import OAuthToken

        row = await self._tables.read(self._account)
        if row is None:
            return None
        lasts = None if row.lifetime is None else int(row.lifetime.total_seconds())
        return OAuthToken(access_token=row.access, refresh_token=row.refresh, expires_in=lasts)

    async def set_tokens(self, tokens):
        """Replace the tokens, whatever is stored."""
        lifetime = None if tokens.expires_in is None else timedelta(seconds=tokens.expires_in)
        now = self._world.clock.now()
        ends = None if lifetime is None else now + lifetime
        await self._tables.write(self._account, Row(tokens.access_token, tokens.refresh_token, ends, now, lifetime))

    async def get_client_info(self):
        """Return the registered client."""
        return self._client

    async def set_client_info(self, info):
        """Keep nothing: the client stays the same."""

    # As an `AsyncKeyValue` of py-key-value, for FastMCP

    async def get(self, key, *, collection=None):
        """Return what is stored under a key of FastMCP."""
        if collection == "mcp-oauth-token":
            found = await self.get_tokens()
            return None if found is None else found.model_dump(mode="json")
        if collection == "mcp-oauth-token-expiry":
            row = await self._tables.read(self._account)
            return None if row is None or row.expires_at is None else {"expires_at": row.expires_at.timestamp()}
        return None

    async def put(self, key, value, *, collection=None, ttl=None):
        """Store tokens; the expiry is stored with them."""
        from mcp.shared.auth import OAuthToken

        if collection == "mcp-oauth-token":
            await self.set_tokens(OAuthToken.model_validate(value))

    async def delete(self, key, *, collection=None):
        """Delete nothing: a user who connects again replaces the tokens."""
        return False


class McpPeer:
    """One process whose accounts are refreshed by the providers of a library, one for each account as in a service."""

    def __init__(self, make, world, link, credentials):
        self._make, self._world, self._tables = make, world, Linked(world.peer_tables, link)
        self._client = SimulatedClient(world.provider, world.random, world.ambush)
        self._credentials = credentials.get("client_id", "client"), credentials.get("client_secret", "client-secret")
        self._providers = {}

    async def store_token_set(self, account, tokens):
        """Store what a user's login brought, as the library does at the end of a login."""
        from mcp.shared.auth import OAuthToken

        lasts = None if tokens.expires_in is None else int(tokens.expires_in.total_seconds())
        refresh = None if tokens.refresh_token is None else tokens.refresh_token.reveal()
        found = OAuthToken(access_token=tokens.access_token.reveal(), refresh_token=refresh, expires_in=lasts)
        provider = self._provider(account)
        await provider.kept.set_tokens(found)
        await provider._initialize()
        provider.context.current_tokens = found
        provider.context.update_token_expiry(found)

    async def get_account(self, account):
        """Return the state that the host shows."""
        row = await self._tables.read(account)
        state = ConnectionState.REAUTHORIZATION_REQUIRED if row.is_condemned else ConnectionState.CONNECTED
        return SimpleNamespace(state=state, reason=None)

    async def ensure_access_token(self, account, timeout=None):
        """Return the token that a request to the server carries; a caller's timeout does not interrupt a refresh."""
        task = asyncio.get_running_loop().create_task(self._call(account))
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(task)
        except TimeoutError:
            raise RefreshFailedError("timeout") from None

    async def report_rejected(self, token):
        """Do nothing: the library learns of a rejected token by the answer to its own request."""

    async def refresh_account(self, account):
        """Use the account; no library refreshes before a token has expired."""
        return await self.ensure_access_token(account)

    async def refresh_due(self):
        """Do nothing: no library sweeps."""

    def _provider(self, account):
        provider = self._providers.get(account)
        if provider is None:
            provider = self._providers[account] = self._make(account, self._tables, self._world, self._credentials)
        return provider

    async def _call(self, account):
        """Send a request to the server through the library's provider; return the token that it carried."""
        import httpx2

        row = await self._tables.read(account)
        if row is None:
            raise TokenNotFoundError
        if row.is_condemned:
            raise ReauthorizationRequiredError
        request = httpx2.Request("POST", _SERVER)
        flow = self._provider(account).async_auth_flow(request)
        try:
            return await self._through(flow, request, account)
        except VaultError:
            raise
        except Exception:  # refused, reset, not answered in time, or an answer that the library cannot read
            raise RefreshFailedError("no answer") from None
        finally:
            with suppress(Exception):
                await flow.aclose()

    async def _through(self, flow, request, account):
        import httpx2

        outgoing = await anext(flow)
        while True:
            if urlsplit(str(outgoing.url)).path == "/token":
                answer = await self._post(outgoing)
            elif outgoing is request:
                access = outgoing.headers.get("Authorization", "").removeprefix("Bearer ")
                grant = self._world.provider.grants[int(account.identifier.removeprefix("user"))]
                if self._world.provider.accepts(grant, access):
                    with suppress(StopAsyncIteration):
                        await flow.asend(httpx2.Response(200, request=outgoing))
                    return token_of(account, await self._row_of(account, access))
                answer = httpx2.Response(401, request=outgoing)
            else:  # the library looks for the authorization server, to send the user there
                row = await self._tables.read(account)
                await self._tables.write(account, evolve(row, is_condemned=True))
                self._providers.pop(account, None)
                raise ReauthorizationRequiredError
            outgoing = await flow.asend(answer)

    async def _row_of(self, account, access):
        """Return when the token ends, as far as this process knows."""
        ends = self._provider(account).context.token_expiry_time
        now = self._world.clock.now()
        expires_at = None if ends is None else now + timedelta(seconds=ends - now.timestamp())
        return Row(access, None, expires_at, now, None)

    async def _post(self, outgoing):
        import httpx2

        headers = {name.title(): text for name, text in outgoing.headers.items()}
        request = self._client.build_request(
            "POST", "", content=outgoing.content, headers=headers, extensions={"trace": ignore}
        )
        async with deadline():
            response = await self._client.send(request)
        return httpx2.Response(response.status_code, content=response.content, request=outgoing)


def _sdk(account, tables, world, credentials):
    from mcp.client.auth import OAuthClientProvider
    from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata

    client_id, secret = credentials
    metadata = {"redirect_uris": [_CALLBACK], "token_endpoint_auth_method": "client_secret_basic"}
    client = OAuthClientInformationFull(client_id=client_id, client_secret=secret, **metadata)
    storage = Storage(account, tables, world, client)
    provider = OAuthClientProvider(_SERVER, OAuthClientMetadata(**metadata), storage)
    provider.kept = storage
    return provider


def _fastmcp(account, tables, world, credentials):
    from fastmcp.client.auth.oauth import OAuth

    client_id, secret = credentials
    storage = Storage(account, tables, world, None)
    provider = OAuth(
        _SERVER,
        token_storage=storage,
        client_id=client_id,
        client_secret=secret,
        callback_port=1,
        additional_client_metadata={"token_endpoint_auth_method": "client_secret_basic"},
    )
    provider.kept = storage
    return provider


__all__ = ["LIBRARIES", "McpPeer", "Redis", "RedisPeer", "library_time", "open_library"]
