"""Reads the tokens of one MCP server, which clients of the protocol keep in files.

- mcp-remote: a folder, whose files begin with the MD5 of the server's URL.
- FastMCP: the folder of a `FileTreeStore` of py-key-value, whose file names end in a part of a SHA-256.
- The protocol's SDK has no files of its own; most services that follow its examples keep one JSON object with
  ``tokens`` and ``client_info``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from vault_adapters.importing.records import Record
from vault_adapters.importing.systems.columns import as_moment, as_object, object_in
from vault_domain.entities.imported import ImportFailure

_MOST_BYTES = 256 * 1024
_FRAGMENT = 8
"""Number of hexadecimal digits of the hash in a name of py-key-value."""


@frozen
class Stored:
    """What is kept for a server.

    Attributes:
        tokens: the answer of the token endpoint.
        client: the registered client (RFC 7591).
        expires_at: expiry of the access token as a text, or None.
    """

    tokens: Mapping[str, Any] = field(repr=False)
    client: Mapping[str, Any] = field(repr=False)
    expires_at: Any


def find(place: Path, server_url: str) -> Stored | None:
    """Return what a file or folder holds for a server; None if it holds no tokens of it.

    Args:
        place: the file or folder.
        server_url: the server's URL as the client was given it.
    """
    if not place.is_dir():
        return _in_file(place)
    return _of_mcp_remote(place, server_url) or _of_fastmcp(place, server_url.rstrip("/"))


def read(stored: Stored, place: Mapping[str, Any], extra: Mapping[str, str]) -> Iterator[Record | ImportFailure]:
    """Yield a row for each token.

    Args:
        stored: what `find` returned.
        place: tenant, provider and identifier of the account.
        extra: what a refresher must know of the client, to be kept with the access token.
    """
    tokens = stored.tokens
    values = {"kind": "access_token", "value": tokens.get("access_token"), "expires_at": stored.expires_at}
    yield Record(1, {**place, **values, "scopes": tokens.get("scope"), "extra": dict(extra)})
    if tokens.get("refresh_token"):
        yield Record(1, {**place, "kind": "refresh_token", "value": tokens["refresh_token"]})


def _in_file(path: Path) -> Stored | None:
    found = object_in(path, _MOST_BYTES, named=True) or {}
    client = found.get("client_info") or found.get("client")
    return _stored(found.get("tokens"), client, None, path)


def _of_mcp_remote(folder: Path, server_url: str) -> Stored | None:
    digest = hashlib.md5(server_url.encode(), usedforsecurity=False).hexdigest()
    tokens, client = (folder / f"{digest}_{name}.json" for name in ("tokens", "client_info"))
    return _stored(object_in(tokens, _MOST_BYTES), object_in(client, _MOST_BYTES), None, tokens)


def _of_fastmcp(folder: Path, server_url: str) -> Stored | None:
    found = {name: _entry(folder, f"{server_url}/{name}") for name in ("tokens", "client_info", "token_expiry")}
    path, tokens = found["tokens"]
    expiry = (found["token_expiry"][1] or {}).get("expires_at")
    return None if path is None else _stored(tokens, found["client_info"][1], expiry, path)


def _entry(folder: Path, key: str) -> tuple[Path | None, Mapping[str, Any] | None]:
    """Return the file of a key, and the value in it."""
    fragment = hashlib.sha256(key.encode()).hexdigest()[:_FRAGMENT]
    path = next(iter(sorted(folder.glob(f"*/*-{fragment}.json"))), None)
    return path, None if path is None else as_object((object_in(path, _MOST_BYTES) or {}).get("value"))


def _stored(tokens: Any, client: Any, expiry: Any, path: Path) -> Stored | None:
    if not isinstance(tokens, Mapping):
        return None
    ends, lasts = expiry or tokens.get("expires_at"), tokens.get("expires_in")
    if ends is None and isinstance(lasts, int | float) and not isinstance(lasts, bool):
        ends = path.stat().st_mtime + lasts  # the file was written when the answer came
    return Stored(tokens, client if isinstance(client, Mapping) else {}, as_moment(ends))
