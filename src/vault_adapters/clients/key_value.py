"""`VaultKeyValue`: a vault as py-key-value's `AsyncKeyValue`, the storage of FastMCP and others."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, SupportsFloat

from vault_domain import InvalidInputError, Secret, TokenKey, TokenKind
from vault_domain.entities.scrub import scrubbed_methods

if TYPE_CHECKING:
    from vault_domain import Token, TokenVault

_PROVIDER = "key_value"
_DEFAULT = "default_collection"
_MOST_BYTES = 64 * 1024
_BATCH = 500


@scrubbed_methods(are_async=True)
class VaultKeyValue:
    """Keeps values of one tenant, each sealed like a token.

    It has the methods of py-key-value's protocol ``AsyncKeyValue``, so FastMCP's client and its OAuth proxy take it as
    their storage. A key is stored as a hash, because some keys are secrets. A value is a JSON object of at most 64 KiB.

    For the tokens of MCP servers, `vault_adapters.connect.mcp` is the better choice: a storage cannot keep two
    processes from presenting the same refresh token.

    Args:
        vault: a `TokenVault`.
        tenant_id: the tenant to whom the values belong; erasing the tenant erases them.

    Raises:
        InvalidInputError: an argument is not valid; the message does not repeat it.
    """

    def __init__(self, vault: TokenVault, tenant_id: str) -> None:
        if not inspect.iscoroutinefunction(getattr(vault, "store_token", None)):  # a SyncVault has the same methods
            raise InvalidInputError("vault must be a TokenVault")
        TokenKey(tenant_id, _PROVIDER, TokenKind.API_KEY)  # checks the tenant's name
        self._vault = vault
        self._tenant_id = tenant_id

    async def get(self, key: str, *, collection: str | None = None) -> dict[str, Any] | None:
        """Return a value, or None if there is none or it has expired."""
        value, _ = await self.ttl(key, collection=collection)
        return value

    async def ttl(self, key: str, *, collection: str | None = None) -> tuple[dict[str, Any] | None, float | None]:
        """Return a value and the seconds until it expires."""
        return _read(await self._vault.get_token(self._key(key, collection)))

    async def put(
        self, key: str, value: Mapping[str, Any], *, collection: str | None = None, ttl: SupportsFloat | None = None
    ) -> None:
        """Store a value; ``ttl`` is its time to live in seconds.

        Raises:
            InvalidInputError: the value is no JSON object of at most 64 KiB, or ``ttl`` is not positive.
        """
        await self._vault.store_token(self._key(key, collection), _sealed(value, _end(ttl)))

    async def delete(self, key: str, *, collection: str | None = None) -> bool:
        """Delete a value; return whether there was one."""
        return await self._vault.delete_token(self._key(key, collection))

    async def get_many(self, keys: Sequence[str], *, collection: str | None = None) -> list[dict[str, Any] | None]:
        """Return the values of these keys, in their order."""
        return [value for value, _ in await self.ttl_many(keys, collection=collection)]

    async def ttl_many(
        self, keys: Sequence[str], *, collection: str | None = None
    ) -> list[tuple[dict[str, Any] | None, float | None]]:
        """Return the values of these keys with the seconds until they expire, in their order."""
        places = [self._key(key, collection) for key in keys]
        found = await self._vault.get_tokens(places)
        return [_read(found.get(place)) for place in places]

    async def put_many(
        self,
        keys: Sequence[str],
        values: Sequence[Mapping[str, Any]],
        *,
        collection: str | None = None,
        ttl: SupportsFloat | None = None,
    ) -> None:
        """Store several values with the same time to live, all or none; of a repeated key, the last value.

        Raises:
            InvalidInputError: see `put`; or there are not as many values as keys, or more than 10,000.
        """
        if not isinstance(keys, Sequence) or not isinstance(values, Sequence) or len(keys) != len(values):
            raise InvalidInputError("keys and values must be as many as each other")
        end = _end(ttl)
        places = [self._key(key, collection) for key in keys]
        sealed = {place: _sealed(value, end) for place, value in zip(places, values, strict=True)}
        await self._vault.store_tokens(list(sealed.items()))

    async def delete_many(self, keys: Sequence[str], *, collection: str | None = None) -> int:
        """Delete several values; return how many there were."""
        return sum([await self.delete(key, collection=collection) for key in keys])

    async def cull(self) -> None:
        """Delete the values that have expired; nothing else does, so call it daily."""
        keys = [info.key async for info in self._vault.iter_tokens(self._tenant_id, provider=_PROVIDER)]
        for start in range(0, len(keys), _BATCH):
            found = await self._vault.get_tokens(keys[start : start + _BATCH])
            for token in found.values():
                if _read(token) == (None, None):
                    await self._vault.delete_token(token)  # and nothing that was stored in its place meanwhile

    def _key(self, key: str, collection: str | None) -> TokenKey:
        if not isinstance(key, str) or not isinstance(collection or "", str):
            raise InvalidInputError("key and collection must be texts")
        named = json.dumps([collection or _DEFAULT, key]).encode()
        return TokenKey(self._tenant_id, _PROVIDER, TokenKind.API_KEY, hashlib.sha256(named).hexdigest())


def _sealed(value: Mapping[str, Any], end: datetime | None) -> Secret:
    """Return a value to seal, after its end and a space.

    The end is not the token's expiry: an account whose API key has expired is shown as one that its user must connect
    again.
    """
    text = None
    if isinstance(value, Mapping):
        try:
            text = json.dumps(dict(value), separators=(",", ":"))
        except (TypeError, ValueError, RecursionError):
            text = None
    if text is not None and end is not None:
        text = f"{end.isoformat()} {text}"
    if text is None or len(text.encode()) > _MOST_BYTES:
        raise InvalidInputError("a value must be a JSON object of at most 64 KiB")
    return Secret(text)


def _end(ttl: SupportsFloat | None) -> datetime | None:
    if ttl is None:
        return None
    try:
        seconds = float(ttl)
    except (TypeError, ValueError, OverflowError):
        seconds = 0.0
    if not 0 < seconds < 1e10:
        raise InvalidInputError("ttl must be a positive number of seconds")
    return datetime.now(UTC) + timedelta(seconds=min(seconds, 3e9))


def _read(token: Token | None) -> tuple[dict[str, Any] | None, float | None]:
    if token is None:
        return None, None
    text, end = token.value.reveal(), token.info.expires_at  # values of earlier versions have the token's expiry
    if not text.startswith("{"):
        ends, _, text = text.partition(" ")
        end = datetime.fromisoformat(ends)
    left = None if end is None else (end - datetime.now(UTC)).total_seconds()
    if left is not None and left <= 0:
        return None, None
    value: dict[str, Any] = json.loads(text)
    return value, left
