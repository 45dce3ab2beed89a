"""`VaultTokenCache`: a token cache of msal that processes share."""

from __future__ import annotations

import hashlib
import inspect
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vault_adapters.clients.extras import missing
from vault_domain import GenerationConflictError, InvalidInputError, Secret, StorageError, TokenKey, TokenKind
from vault_domain.entities.scrub import scrubbed_methods

try:
    from msal import SerializableTokenCache  # type: ignore[import-untyped]
except ModuleNotFoundError as error:
    raise missing(error, "msal") from None

if TYPE_CHECKING:
    from vault_adapters.sync.vault import SyncVault
    from vault_domain import Token

_PROVIDER, _PARTS_PROVIDER = "msal", "msal-part"
_PART = 60_000  # characters; a sealed value has at most 64 KiB
_MOST_PARTS = 64
_MOST_TRIES = 100


@scrubbed_methods(are_async=False)
class VaultTokenCache(SerializableTokenCache):  # type: ignore[misc]  # msal has no annotations
    """A token cache of msal that lies in the vault, sealed, one record for each user.

    ``ConfidentialClientApplication(..., token_cache=VaultTokenCache(vault, tenant_id, user_id))``: every search reads
    the record, and every change is written at once, by compare-and-set. If another process has written meanwhile, its
    record is read and the change is made again in it, so that no change of either process is lost. A cache of more than
    60,000 characters is stored in several parts; it may have up to 3.6 MiB.

    msal itself refreshes. It may present a refresh token several times, which Microsoft's servers allow.

    Do not call ``serialize`` to store the cache. ``deserialize`` replaces the record, for example by the content of a
    file that was the cache until now.

    The methods raise the errors of the vault's `get_token` and `store_token`.

    Args:
        vault: a `SyncVault`.
        tenant_id: the tenant to whom the tokens belong; erasing the tenant erases them.
        user: names the user, or the session, whose tokens the cache holds, with up to 255 characters. None: the cache
            of the application itself.

    Raises:
        InvalidInputError: an argument is not valid; the message does not repeat it.
    """

    def __init__(self, vault: SyncVault, tenant_id: str, user: str | None = None) -> None:
        if not hasattr(vault, "store_token") or inspect.iscoroutinefunction(vault.store_token):
            raise InvalidInputError("vault must be a SyncVault")
        super().__init__()
        self._record = _Record(vault, TokenKey(tenant_id, _PROVIDER, TokenKind.API_KEY, user))
        self._changes: list[tuple[Any, ...]] = []
        self._depth = 0

    def search(self, *arguments: Any, **options: Any) -> Iterator[dict[str, Any]]:
        """Return the matching entries of the record as it is now; see msal."""
        with self._lock:
            self._load()
            with self._together():  # msal removes expired entries while it searches
                return iter(list(super().search(*arguments, **options)))

    def add(self, event: dict[str, Any], **options: Any) -> None:
        """Add the tokens of an answer to the record, in one write; see msal."""
        with self._lock, self._together():
            super().add(event, **options)

    def modify(
        self, credential_type: str, old_entry: dict[str, Any], new_key_value_pairs: dict[str, Any] | None = None
    ) -> None:
        """Change or remove an entry of the record; see msal."""
        with self._lock, self._together():
            change = credential_type, old_entry, new_key_value_pairs
            super().modify(*change)
            self._changes.append(change)

    def deserialize(self, state: str | None) -> None:
        """Replace the record by a state that ``serialize`` of any cache returned; None or ``""`` empties it.

        Raises:
            InvalidInputError: the state is no JSON object of objects, or is too long.
        """
        cache = _read(state or "{}")
        if cache is None:
            raise InvalidInputError("the state must be what serialize returned")
        with self._lock:
            self._changes.clear()
            self._store(lambda: cache)
            self._cache = cache
            self.has_state_changed = False

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Write the changes that the block and the blocks within it make, at the end of the outermost one."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if not self._depth and self._changes:
            self._store(lambda: self._cache)
            self._changes.clear()  # after a failure they are kept, and the next write has them
            self.has_state_changed = False

    def _load(self, *, fresh: bool = False) -> None:
        text = self._record.read(fresh=fresh)
        if text is not None:
            self._cache = _read(text) or {}
            for change in self._changes:
                super().modify(*change)

    def _store(self, cache: Callable[[], dict[str, Any]]) -> None:
        for _ in range(_MOST_TRIES):
            if self._record.replace(json.dumps(cache())):
                return
            self._load(fresh=True)
        raise GenerationConflictError


class _Record:
    """A text in the vault, in one value or in a head that names its parts.

    A new text's parts are stored under new keys before the head, and the old parts are deleted after it. So each head
    names whole parts, whoever writes at the same time. The parts of a process that dies in between stay until the
    tenant is erased.
    """

    def __init__(self, vault: SyncVault, key: TokenKey) -> None:
        self._vault = vault
        self._key = key
        self._owner = hashlib.sha256(f"{key.identifier is None}{key.identifier}".encode()).hexdigest()
        self._seen: tuple[object, int] = (None, 0)
        self._parts: list[TokenKey] = []

    def read(self, *, fresh: bool = False) -> str | None:
        """Return the text, or None if it is the one that was read or written last."""
        for _ in range(_MOST_TRIES):
            head = self._vault.get_token(self._key, fresh=fresh)
            seen = (None, 0) if head is None else (head.info.id, head.info.generation)
            if seen == self._seen:
                return None
            parts, text = self._text_of(head)
            if text is not None:
                self._seen, self._parts = seen, parts
                return text
            fresh = True  # another process has replaced the head and deleted its parts
        raise StorageError("parts of a token cache are missing")

    def replace(self, text: str) -> bool:
        """Store a text, and return True, if the one that was read last is still stored; return False if not."""
        chunks = [text[start : start + _PART] for start in range(0, len(text), _PART)]
        if len(chunks) > _MOST_PARTS:
            raise InvalidInputError("a token cache may have up to 3.6 MiB")
        parts, head = [], f"={text}"
        if len(chunks) > 1:
            names = [secrets.token_hex(16) for _ in chunks]
            parts = [self._part(name) for name in names]
            self._vault.store_tokens([(key, Secret(chunk)) for key, chunk in zip(parts, chunks, strict=True)])
            head = ",".join(names)
        try:
            info = self._vault.store_token(self._key, Secret(head), expected_generation=self._seen[1])
        except GenerationConflictError:
            self._delete(parts)
            return False
        # After any other error the head may be stored, so its parts stay.
        old, self._parts, self._seen = self._parts, parts, (info.id, info.generation)
        self._delete(old)
        return True

    def _text_of(self, head: Token | None) -> tuple[list[TokenKey], str | None]:
        """Return the keys of a head's parts and the whole text; None in its place if a part is missing."""
        told = "={}" if head is None else head.value.reveal()
        if told.startswith("="):
            return [], told[1:]
        parts = [self._part(name) for name in told.split(",")]
        found = self._vault.get_tokens(parts)
        return parts, "".join(found[key].value.reveal() for key in parts) if len(found) == len(parts) else None

    def _part(self, name: str) -> TokenKey:
        return TokenKey(self._key.tenant_id, _PARTS_PROVIDER, TokenKind.API_KEY, f"{self._owner}:{name}")

    def _delete(self, parts: list[TokenKey]) -> None:
        for key in parts:
            self._vault.delete_token(key)


def _read(text: str) -> dict[str, Any] | None:
    try:
        cache = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None
    kinds = list(cache.values()) if isinstance(cache, dict) else [None]
    entries = [entry for kind in kinds if isinstance(kind, dict) for entry in kind.values()]
    return cache if all(isinstance(each, dict) for each in (*kinds, *entries)) else None
