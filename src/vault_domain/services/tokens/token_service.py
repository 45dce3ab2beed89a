"""Reads single tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from attrs import frozen

from vault_domain.entities.account import TokenKind, access_key
from vault_domain.entities.errors import DecryptionError
from vault_domain.entities.token import UsableToken
from vault_domain.memory.change_log import scope_of_access, scope_of_key
from vault_domain.rules.freshness import Freshness, freshness, is_usable
from vault_domain.services.tokens.opening import OvertakenError
from vault_domain.services.tokens.reading import PATIENCE

if TYPE_CHECKING:
    from vault_domain.entities.account import Account, TokenKey
    from vault_domain.entities.token import DamagedToken, StoredToken, Token, TokenInfo
    from vault_domain.memory.row import RememberedRow
    from vault_domain.ports.accounts import Reading
    from vault_domain.rules.freshness import RefreshPolicy
    from vault_domain.services.tokens.opening import TokenOpener
    from vault_domain.services.tokens.reading import RowReader
    from vault_domain.services.tokens.uses import UseTracker

_REPEATS = 2
"""Largest number of repeats of a read whose row was overtaken. This happens so rarely that two repeats are enough."""


@frozen(eq=False, repr=False)
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
    """The vault's reads of tokens. The facade has validated the arguments."""

    def __init__(self, opener: TokenOpener, uses: UseTracker, policy: RefreshPolicy, reader: RowReader) -> None:
        self._opener = opener
        self._uses = uses
        self._policy = policy
        self._reader = reader

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
