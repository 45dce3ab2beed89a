"""Stores, reads, invalidates and deletes single tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import cast

from attrs import frozen

from vault_domain.entities.account import Account, TokenKey, TokenKind, access_key
from vault_domain.entities.errors import DecryptionError
from vault_domain.entities.suspicion import ConfirmationWindow
from vault_domain.entities.token import (
    DamagedToken,
    MarkOutcome,
    StoredToken,
    Token,
    TokenDraft,
    TokenInfo,
    TokenRef,
    TokenWrite,
    UsableToken,
)
from vault_domain.memory.change_log import scope_of_access, scope_of_key
from vault_domain.memory.row import RememberedRow
from vault_domain.ports.accounts import Accounts, Reading
from vault_domain.ports.change import Change
from vault_domain.ports.cipher import Cipher
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.pages import Ending, Pages
from vault_domain.rules.freshness import Freshness, RefreshPolicy, freshness, is_usable
from vault_domain.services.tokens.account_changes import AccountChanges
from vault_domain.services.tokens.clients import Clients
from vault_domain.services.tokens.hosting import HostPorts
from vault_domain.services.tokens.opening import OvertakenError, TokenOpener
from vault_domain.services.tokens.reading import PATIENCE, RowReader
from vault_domain.services.tokens.sealing import write_many_sealed, write_sealed
from vault_domain.services.tokens.uses import UseTracker

_REPEATS = 2
"""Largest number of repeats of a read whose row was overtaken. This happens so rarely that two repeats are enough."""

_FEW = 1000
"""Number of values up to which all are sealed before the store gets them, because they go in one statement."""

_ENDING_AT_ONCE = 100
"""Largest number of tokens on a page of refresh tokens that expire soon."""


@frozen
class Access:
    """An access token as a caller finds it.

    Attributes:
        usable: the token if it may be used now, else None.
        now: the store's time of the read.
        is_stale: whether the token comes from this process's memory, because the store did not answer.
    """

    usable: UsableToken | None
    now: datetime
    is_stale: bool


class TokenService:
    """The vault's token operations. The facade has validated the arguments."""

    def __init__(
        self,
        accounts: Accounts,
        pages: Pages,
        changes: AccountChanges,
        cipher: Cipher,
        sink: EventSink,
        opener: TokenOpener,
        uses: UseTracker,
        policy: RefreshPolicy,
        reader: RowReader,
        clients: Clients,
    ) -> None:
        self._accounts = accounts
        self._pages = pages
        self._changes = changes
        self._cipher = cipher
        self._sink = sink
        self._opener = opener
        self._uses = uses
        self._policy = policy
        self._reader = reader
        self._clients = clients

    def over(self, ports: HostPorts) -> TokenService:
        """Return this service for one call inside a transaction of the host, which may store one value."""
        accounts = ports.accounts
        return TokenService(
            cast("Accounts", accounts),
            self._pages,
            accounts.changes,
            ports.cipher,
            ports.sink,
            self._opener,
            self._uses,
            self._policy,
            self._reader,
            self._clients,
        )

    async def store(
        self, drafts: Sequence[TokenDraft], *, actor: str | None, expected_generation: int | None = None
    ) -> list[TokenInfo]:
        """Seal and store drafts, all or none."""
        if not drafts:
            return []
        common = (self._cipher, self._sink, self._policy, self._clients.sign(drafts))
        if len(drafts) > _FEW:
            return await write_many_sealed(
                *common, lambda writes: self._accounts.store_many(writes, actor=actor), self._accounts.get_many
            )

        async def write(writes: Sequence[TokenWrite]) -> Change[list[TokenInfo]]:
            if expected_generation is None:
                return await self._accounts.store(writes, actor=actor)
            [only] = writes
            return await self._changes.store_expecting(only, expected_generation, actor=actor)

        return await write_sealed(*common, write, self._accounts.get_many)

    def at_hand(self, key: TokenKey) -> Token | None:
        """Return what `get` returns if that needs no waiting; None: call `get`."""
        found = self._reader.at_hand(scope_of_key(key)) if self._reader.has_cache else None
        return None if found is None else self._hand_out_at_once(*found)

    def access_at_hand(self, account: Account) -> Token | None:
        """Return the access token if it is fresh and needs no waiting; None: call `find_access`."""
        found = self._reader.at_hand(scope_of_access(account))
        if found is None or not found[0].is_fresh(found[1], self._policy):
            return None
        return self._hand_out_at_once(*found)

    def _hand_out_at_once(self, row: RememberedRow, age: float) -> Token | None:
        """Decrypt a remembered row, and record the use; return None if the decryption fails or would have to wait.

        ``age`` is the age of the row in seconds.
        """
        token = self._opener.open_remembered(row)
        if token is not None:
            self._reader.counts.cache += 1
            if row.is_use_due(age):
                now = row.time_at(age)
                self._uses.record(token.info, now)
                row.defer_use(age, self._uses.pause(token.info, now))
        return token

    async def get(
        self,
        key: TokenKey,
        allows: Callable[[Reading], bool] | None = None,
        *,
        fresh: bool = False,
        patience: float = PATIENCE,
    ) -> Token | None:
        """Return the token and record its use; return None if nothing is stored, or if ``allows`` returns False.

        If a write or an erasure changed the row after it was read, the data key of the old row may be destroyed, so
        that the old row does not decrypt. Then the row is read again, at most twice, as with ``fresh``. The read finds
        the new row, or no row.

        Args:
            key: the key of the token.
            allows: called with each reading; if it returns False, the result is None. None: hand out any token.
            fresh, patience: see `RowReader.read`.
        """
        left = _REPEATS
        while True:
            reading = await self._reader.read(key, fresh=fresh, patience=patience)
            if (allows is not None and not allows(reading)) or (row := reading.answer) is None:
                return None
            try:
                return self._handed_out(key, row, reading.now) or await self._opened(key, row, reading.now)
            except OvertakenError:
                if not left:
                    raise
            left, fresh = left - 1, True

    async def get_many(self, keys: Sequence[TokenKey]) -> dict[TokenKey, Token]:
        """Return the tokens stored under these keys, in the order of the keys.

        Raises:
            DecryptionError: at least one value cannot be decrypted; the error's `keys` are the keys of all such values.
        """
        readings = await self._reader.read_many(keys)
        tokens: dict[TokenKey, Token] = {}
        unreadable: list[TokenKey] = []
        overtaken: list[TokenKey] = []
        for key in keys:
            reading = readings[key]
            row = reading.answer
            try:
                if row is not None:
                    tokens[key] = await self._opener.open(key, row, reading.now)
            except OvertakenError:
                overtaken.append(key)
            except DecryptionError:
                unreadable.append(key)
        if unreadable:
            raise DecryptionError(account=unreadable[0].account, keys=unreadable)
        for key, token in tokens.items():
            self._uses.record(token.info, readings[key].now)
        for key in overtaken:
            token_now = await self.get(key, fresh=True)
            if token_now is not None:
                tokens[key] = token_now
        return {key: tokens[key] for key in keys if key in tokens} if overtaken else tokens

    async def get_access(
        self, account: Account, buffer: timedelta | None, *, fresh: bool = False
    ) -> UsableToken | None:
        """Return the access token if it may be used now, else None. No provider is called."""
        return (await self.find_access(account, buffer, fresh=fresh)).usable

    async def find_access(
        self, account: Account, buffer: timedelta | None, *, fresh: bool = False, patience: float = PATIENCE
    ) -> Access:
        """Find the token as `get_access` does, and tell the time of the read and whether memory answered it.

        See `freshness` for ``buffer``, and `RowReader.read` for ``fresh`` and ``patience``.
        """
        key = access_key(account)
        seen: list[tuple[Reading, Freshness]] = []

        def allows(reading: Reading) -> bool:
            info = self._info(key, reading)
            found = Freshness.UNUSABLE if info is None else freshness(info, reading.now, self._policy, buffer)
            seen.append((reading, found))
            return found is not Freshness.UNUSABLE

        token = await self.get(key, allows, fresh=fresh, patience=patience)
        reading, found = seen[-1]
        usable = None if token is None else UsableToken(token, found is Freshness.DUE)
        return Access(usable, reading.now, reading.is_stale)

    async def get_refresh(self, account: Account) -> Token | None:
        """Return the refresh token if it may be used now, else None."""
        return (await self.find_usable(account.key(TokenKind.REFRESH_TOKEN)))[0]

    async def find_usable(self, key: TokenKey, *, fresh: bool = False) -> tuple[Token | None, TokenInfo | None]:
        """Return a token if it may be used now, else None; and the metadata of what is stored, or None."""
        seen: list[TokenInfo | None] = []

        def allows(reading: Reading) -> bool:
            info = self._info(key, reading)
            seen.append(info)
            return info is not None and is_usable(info, reading.now)

        return await self.get(key, allows, fresh=fresh), seen[-1]

    async def hand_out(self, key: TokenKey, row: StoredToken | DamagedToken, now: datetime) -> Token:
        """Decrypt the row that was read at ``now`` for this key, and record the token's use."""
        return self._handed_out(key, row, now) or await self._opened(key, row, now)

    def _handed_out(self, key: TokenKey, row: StoredToken | DamagedToken, now: datetime) -> Token | None:
        """Decrypt the row and record the use; return None if this needs waiting, or if the value does not decrypt."""
        token = self._opener.open_at_hand(key, row)
        if token is not None:
            self._uses.record(token.info, now)
        return token

    async def _opened(self, key: TokenKey, row: StoredToken | DamagedToken, now: datetime) -> Token:
        """Decrypt a row that `_handed_out` could not, and record the use."""
        token = await self._opener.open(key, row, now)
        self._uses.record(token.info, now)
        return token

    def _info(self, key: TokenKey, reading: Reading) -> TokenInfo | None:
        """Return a row's metadata, to be judged before the value is decrypted; None if nothing is stored.

        Raises:
            DecryptionError: see `TokenOpener.checked`.
        """
        row = reading.answer
        return None if row is None else self._opener.checked(key, row, reading.now).info

    def refuse(self, info: TokenInfo) -> None:
        """Never hand out this value from memory again, because a resource rejected it."""
        self._reader.refuse(info)

    async def mark_invalid(self, info: TokenInfo, error_code: str, *, actor: str | None) -> MarkOutcome:
        """Mark invalid exactly the value that ``info`` describes."""
        change = await self._changes.mark_invalid(TokenRef.of(info), error_code, actor=actor)
        self._sink.publish(change.events)
        return change.result

    async def report_rejected(
        self, info: TokenInfo, error_code: str, *, window: ConfirmationWindow, actor: str | None
    ) -> MarkOutcome:
        """Record that a resource rejected exactly the value that ``info`` describes; see `AccountChanges`."""
        change = await self._changes.report_rejected(TokenRef.of(info), error_code, window=window, actor=actor)
        self._sink.publish(change.events)
        return change.result

    async def note_ending(self, should_stop: Callable[[], bool], *, actor: str | None) -> None:
        """Write and publish the event of each refresh token that expires soon, page by page.

        If ``should_stop`` returns True, no further page begins.
        """
        notice, after = self._policy.notice, None
        while not should_stop():
            ending = await self._pages.tokens(Ending(notice), limit=_ENDING_AT_ONCE, after=after)
            for info in ending:
                with suppress(DecryptionError):  # another row of the account cannot be used; the store has logged it
                    change = await self._changes.tell_end(info.key.account, notice, actor=actor)
                    self._sink.publish(change.events)
            if len(ending) < _ENDING_AT_ONCE:
                return
            after = Ending.place(ending[-1])

    async def delete(self, key: TokenKey, *, actor: str | None) -> bool:
        """Delete one token; return whether it existed."""
        change = await self._changes.delete_token(key, actor=actor)
        self._sink.publish(change.events)
        return change.result

    async def delete_provider(self, tenant_id: str, provider: str, *, actor: str | None) -> int:
        """Delete a tenant's tokens at a provider; return the number of deleted tokens."""
        change = await self._accounts.delete_provider(tenant_id, provider, actor=actor)
        self._sink.publish(change.events)
        return change.result
