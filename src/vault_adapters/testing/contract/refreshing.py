"""Helpers of the cases about refreshing: attempts, answers, and an account's refresh state and schedule."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from vault_adapters.composition import Store
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, REFRESH, attempts_of
from vault_domain.entities.account import Account, TokenKey, TokenKind
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.refresh_state import RefreshState
from vault_domain.entities.token import SealedToken, TokenRef, TokenWrite
from vault_domain.entities.token_set import TokenSet
from vault_domain.rules.timing import RefreshTiming

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
LEASE = RefreshTiming().lease
LEAD = 10 * MINUTE
"""The `TokenWrite.lead` of an access token in these cases."""

LATEST = datetime(9998, 1, 1, tzinfo=UTC)


def token_set(number: int = 0, lifetime: timedelta | None = HOUR, *, rotates: bool = True) -> TokenSet:
    """Return a token set whose values end with ``number``; without ``rotates`` it has no refresh token."""
    return TokenSet(f"access-{number}", f"refresh-{number}" if rotates else None, expires_in=lifetime)


async def unclaimed(store: Store, account: Account = ACCOUNT, lease: timedelta = LEASE) -> Attempt:
    """Return an attempt for the stored tokens of an account, without a claim."""
    snapshot = await store.accounts.read(account)
    record, now = snapshot.record, snapshot.now
    assert record is not None
    access = record.tokens.get(TokenKind.ACCESS_TOKEN)
    credential = TokenRef.of(record.tokens[TokenKind.REFRESH_TOKEN])
    return Attempt(account, uuid4(), credential, None if access is None else TokenRef.of(access), now, lease)


async def claimed(store: Store, account: Account = ACCOUNT, lease: timedelta = LEASE) -> Attempt:
    """Claim an account as a refresh does, and return the attempt."""
    attempt = await unclaimed(store, account, lease)
    assert await attempts_of(store).claim(attempt, (await state_of(store, account)).attempt_id) is not None
    return attempt


async def state_of(store: Store, account: Account = ACCOUNT) -> RefreshState:
    """Return an account's refresh state."""
    record = (await store.accounts.read(account)).record
    assert record is not None
    return record.refresh


async def schedule_of(store: Store, provider: str = ACCOUNT.provider) -> dict[Account, datetime]:
    """Return when the accounts at a provider are due; accounts that are never due are missing."""
    due, _ = await store.accounts.reserve_due(provider, hold=timedelta(0), limit=1000, since=None, until=LATEST)
    found = {each.account: each.due_at for each in due}
    for account, moment in found.items():  # taking them has made them due now
        # The default argument binds this round's moment.
        await attempts_of(store).reschedule(account, lambda record, now, moment=moment: moment)  # type: ignore[misc]
    return found


async def due_at(store: Store, account: Account = ACCOUNT) -> datetime | None:
    """Return an account's `due_at`."""
    return (await schedule_of(store, account.provider)).get(account)


async def answer(
    store: Store, number: int = 1, keys: Iterable[TokenKey] = (ACCESS, REFRESH), lifetime: timedelta | None = HOUR
) -> list[TokenWrite]:
    """Return the writes of a provider's answer under the active data key; their values are made up and do not open."""
    keys = list(keys)
    active = await store.keys.data_key(keys[0].tenant_id, None)
    assert active is not None
    return [
        TokenWrite(
            key,
            SealedToken(active.key_id, f"{key.kind} {number}".encode()),
            lifetime=lifetime if key.kind is TokenKind.ACCESS_TOKEN else None,
            scopes=None,
            refreshed=True,
            lead=LEAD if key.kind is TokenKind.ACCESS_TOKEN else None,
            value_id=uuid4(),
        )
        for key in keys
    ]


async def blobs_of(store: Store, account: Account = ACCOUNT) -> dict[TokenKind, bytes]:
    """Return an account's sealed values, by kind."""
    return {kind: sealed.blob for kind, sealed in (await store.accounts.read(account)).sealed.items()}
