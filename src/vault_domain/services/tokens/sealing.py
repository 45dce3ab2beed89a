"""Seals drafts and writes them; repeats both if a data key changed in between."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from attrs import evolve

from vault_domain.entities.account import Account, TokenKey, TokenKind
from vault_domain.entities.errors import StorageError
from vault_domain.entities.extra import Extra, as_extra, sealable_extra
from vault_domain.entities.imported import ImportedToken
from vault_domain.entities.jwt import jwt_times
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import SealedToken, TokenDraft
from vault_domain.entities.token_set import TokenSet
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.ports.cipher import Cipher, Sealer
from vault_domain.ports.event_sink import EventSink
from vault_domain.rules.freshness import RefreshPolicy
from vault_domain.rules.schedule import lead, longest_wait

T = TypeVar("T")
W = TypeVar("W")
W_co = TypeVar("W_co", covariant=True)

# A further round is needed only if a key rotation or an erasure committed meanwhile. Many rounds in a row are a fault.
_ROUNDS = 8


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


async def write_sealed(
    cipher: Cipher,
    sink: EventSink,
    policy: RefreshPolicy,
    drafts: Sequence[Draft[W]],
    write: Callable[[list[W]], Awaitable[Change[T]]],
    sealed: Sequence[SealedToken] | None = None,
) -> T:
    """Seal drafts, write them in one transaction and publish its events.

    Args:
        cipher: seals the values under the tenants' active data keys.
        sink: gets the events after the commit.
        policy: decides when the stored values make their accounts due for a sweep.
        drafts: the values to store, at most one per key.
        write: the store's method; it raises DataKeyInactiveError if a value's data key is no longer active.
        sealed: the sealed values of the drafts, if they were sealed before.

    Raises:
        StorageError: the data keys kept changing.
    """
    drafts = [with_expiry(draft, policy) for draft in drafts]
    for _ in range(_ROUNDS):
        if sealed is None:
            extras = [sealable_extra(draft.extra) for draft in drafts]
            sealed = await cipher.seal([(draft.key, draft.value) for draft in drafts], extras)
        try:
            change = await write(
                [sealed_write(draft, value, policy) for draft, value in zip(drafts, sealed, strict=True)]
            )
        except DataKeyInactiveError:
            cipher.forget_active({draft.key.tenant_id for draft in drafts})
            sealed = None
        else:
            sink.publish(change.events)
            return change.result
    raise StorageError("the tenant's data key kept changing; nothing was written", retryable=True)


def sealed_by(sealer: Sealer, draft: TokenDraft) -> SealedToken:
    """Return a draft's value and extra members, sealed by this sealer."""
    return sealer(draft.key, draft.value, sealable_extra(draft.extra))


def sealed_write(draft: Draft[W], value: SealedToken, policy: RefreshPolicy) -> W:
    """Return the write that stores a draft with its sealed value, and tells when its account is due."""
    kind, provider = draft.key.kind, draft.key.provider
    return draft.seal(value, lead(kind, draft.lifetime, policy, provider), longest_wait(kind, provider, policy))


def with_expiry(draft: Draft[W], policy: RefreshPolicy) -> Draft[W]:
    """Return an access token's draft with the times in its JWT, or else with the provider's default lifetime.

    A given expiry or lifetime stays. An imported token gets only the expiry in its JWT. It gets no default lifetime,
    because its age is not known.
    """
    if draft.key.kind is not TokenKind.ACCESS_TOKEN or (draft.expires_at or draft.lifetime) is not None:
        return draft
    expires_at, lifetime = jwt_times(draft.value)
    if expires_at is None and isinstance(draft, TokenDraft):
        lifetime = policy.default_lifetimes.get(draft.key.provider)
    if (expires_at or lifetime) is None:
        return draft
    if isinstance(draft, TokenDraft):
        return evolve(draft, expires_at=expires_at, lifetime=lifetime)
    return evolve(draft, expires_at=expires_at) if isinstance(draft, ImportedToken) else draft


def drafts_of(account: Account, token_set: TokenSet, *, refreshed: bool = False) -> list[TokenDraft]:
    """Return the drafts that store a token set: the access token, and the refresh token if there is one."""
    drafts = [
        TokenDraft(
            account.key(TokenKind.ACCESS_TOKEN),
            token_set.access_token,
            token_set.expires_at,
            token_set.expires_in,
            token_set.scopes or None,
            refreshed,
            extra=as_extra(token_set.extra).of_type(token_set.token_type),
        )
    ]
    if token_set.refresh_token is not None:
        drafts.append(
            TokenDraft(
                account.key(TokenKind.REFRESH_TOKEN),
                token_set.refresh_token,
                token_set.refresh_token_expires_at,
                token_set.refresh_token_expires_in,
                scopes=None,
                refreshed=refreshed,
            )
        )
    return drafts
