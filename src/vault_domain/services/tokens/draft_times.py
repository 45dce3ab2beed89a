"""Completes the times of values before they are stored: adds a missing expiry, and limits one that is too far ahead.

The same rules hold for token sets, single tokens and imports. The module `answer_times` completes the times of
providers' answers; a lifetime in such an answer counts from the claim.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

from attrs import evolve

from vault_domain.entities.account import TokenKey, TokenKind
from vault_domain.entities.extra import Extra
from vault_domain.entities.imported import ImportedToken
from vault_domain.entities.jwt import jwt_times
from vault_domain.entities.lifetime import expiry_after, limited_expiry
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import DamagedToken, SealedToken, StoredToken, TokenDraft
from vault_domain.rules.freshness import RefreshPolicy

W = TypeVar("W")
W_co = TypeVar("W_co", covariant=True)

Look = Callable[[Sequence[TokenKey]], Awaitable[tuple[Sequence[StoredToken | DamagedToken], datetime]]]
"""Returns which of these tokens are stored, and the store's time; see `Accounts.get_many`."""

_CREDENTIALS = (TokenKind.REFRESH_TOKEN, TokenKind.API_KEY)

_NEAR = datetime(2126, 1, 1, tzinfo=UTC)
"""An expiry before this time is less than 100 years ahead of any correct clock, so the store's time is not needed."""


class Draft(Protocol[W_co]):
    """A plaintext value to store: `TokenDraft` or `ImportedToken`."""

    @property
    def key(self) -> TokenKey:
        """The key to store the value under."""

    @property
    def value(self) -> Secret:
        """The plaintext value."""

    @property
    def expires_at(self) -> datetime | None:
        """The expiry, UTC, or None if it is not given."""

    @property
    def lifetime(self) -> timedelta | None:
        """The time for which the provider issued the value, or None if unknown."""

    @property
    def extra(self) -> Extra:
        """The extra members to keep with the value."""

    def seal(self, sealed: SealedToken, lead: timedelta | None, due_in: timedelta | None) -> W_co:
        """Return the write that stores this draft with the sealed value."""


async def in_time(drafts: Sequence[Draft[W]], policy: RefreshPolicy, look: Look) -> list[Draft[W]]:
    """Return the drafts with completed times, and with no expiry more than 100 years ahead.

    An access token without a given expiry or lifetime gets the times in its JWT, or else the provider's default
    lifetime if the account has a refresh token or an API key. Without one, it probably never expires: many providers
    give such tokens if the host's app is configured so, and an assumed expiry would end the connection. The default
    lifetime of an imported token counts from its last refresh, or else from its creation, or else from its last change,
    or else from the import.

    Args:
        drafts: the values to store.
        policy: has the default lifetimes.
        look: is asked only if an access token needs the default lifetime, or if an expiry may be too far ahead.
    """
    timed = [_with_known(draft) for draft in drafts]
    ageless = {draft.key.account for draft in timed if _is_ageless(draft, policy)}
    if not ageless and not any(_is_far(draft) for draft in timed):
        return timed
    refreshed = {draft.key.account for draft in drafts if draft.key.kind in _CREDENTIALS}
    keys = [account.key(kind) for account in ageless - refreshed for kind in _CREDENTIALS]
    if keys or any(_is_far(draft) or isinstance(draft, ImportedToken) for draft in timed):
        stored, now = await look(keys)
        refreshed |= {_key_of(token).account for token in stored}
    else:
        now = _NEAR  # no draft's time depends on it
    return [_limited(_aged(draft, policy, now) if draft.key.account in refreshed else draft, now) for draft in timed]


def _with_known(draft: Draft[W]) -> Draft[W]:
    """Return a draft with the times in its value, if this is an access token in JWT form without given times."""
    if draft.key.kind is not TokenKind.ACCESS_TOKEN or (draft.expires_at or draft.lifetime) is not None:
        return draft
    expires_at, lifetime = jwt_times(draft.value)
    if expires_at is None or not isinstance(draft, TokenDraft | ImportedToken):
        return draft
    return evolve(draft, expires_at=expires_at, **({} if isinstance(draft, ImportedToken) else {"lifetime": lifetime}))


def _is_ageless(draft: Draft[W], policy: RefreshPolicy) -> bool:
    """Return whether an access token has neither expiry nor lifetime, and its provider has a default lifetime."""
    return (
        draft.expires_at is None
        and draft.lifetime is None
        and draft.key.kind is TokenKind.ACCESS_TOKEN
        and draft.key.provider in policy.default_lifetimes
    )


def _aged(draft: Draft[W], policy: RefreshPolicy, now: datetime) -> Draft[W]:
    """Return a token with its provider's default lifetime, if it has no expiry."""
    if not _is_ageless(draft, policy):
        return draft
    lifetime = policy.default_lifetimes[draft.key.provider]
    if isinstance(draft, TokenDraft):
        return evolve(draft, lifetime=lifetime)
    if not isinstance(draft, ImportedToken):
        return draft
    issued_at = min(draft.last_refreshed_at or draft.created_at or draft.updated_at or now, now)
    return evolve(draft, expires_at=expiry_after(issued_at, lifetime))


def _key_of(token: StoredToken | DamagedToken) -> TokenKey:
    return token.key if isinstance(token, DamagedToken) else token.info.key


def _is_far(draft: Draft[W]) -> bool:
    return draft.expires_at is not None and draft.expires_at >= _NEAR


def _limited(draft: Draft[W], now: datetime) -> Draft[W]:
    if draft.expires_at is None or not isinstance(draft, TokenDraft | ImportedToken):
        return draft
    expires_at = limited_expiry(draft.expires_at, now)
    return draft if expires_at == draft.expires_at else evolve(draft, expires_at=expires_at)
