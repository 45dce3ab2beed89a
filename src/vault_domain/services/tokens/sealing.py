"""Seals plaintext values and writes them; repeats both if a data key changed in between."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.errors import StorageError
from vault_domain.entities.extra import NO_EXTRA, as_extra, sealable_extra
from vault_domain.entities.token import SealedToken, TokenDraft
from vault_domain.entities.token_set import TokenSet
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.ports.cipher import Cipher, Sealer
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.keys import DataKeyPosition
from vault_domain.ports.late_writes import LateWrites, W
from vault_domain.rules.freshness import RefreshPolicy
from vault_domain.rules.schedule import lead, longest_wait
from vault_domain.services.tokens.draft_times import Draft, Look, in_time

T = TypeVar("T")

# A round seals the values and writes them. A further round is needed only if a key rotation or an erasure was committed
# during the previous round. Many rounds in a row are a fault.
_ROUNDS = 8


async def write_sealed(
    cipher: Cipher,
    sink: EventSink,
    policy: RefreshPolicy,
    drafts: Sequence[Draft[W]],
    write: Callable[[list[W]], Awaitable[Change[T]]],
    look: Look,
    begun_under: DataKeyPosition | None = None,
) -> T:
    """Seal drafts, write them in one transaction and publish its events.

    Args:
        cipher: seals the values under the tenants' active data keys.
        sink: gets the events after the commit.
        policy: decides when the stored values make their accounts due for a sweep.
        drafts: the values to store, at most one per key.
        write: the store's method; it raises DataKeyInactiveError if a value's data key is no longer active.
        look: see `in_time`.
        begun_under: a data key of the drafts' tenant that existed when the work on the drafts began; the drafts are
            written only if it was not destroyed since.

    Raises:
        StorageError: the data keys kept changing.
        UnreadableError: the data key ``begun_under`` was destroyed.
    """
    timed = await in_time(drafts, policy, look)

    async def attempt() -> Change[T]:
        if begun_under is not None:
            sealer = await _lasting_sealer(cipher, *begun_under)
            return await write([sealed_write(draft, sealed_by(sealer, draft), policy) for draft in timed])
        extras = [sealable_extra(draft.extra) for draft in timed]
        values = await cipher.seal([(draft.key, draft.value) for draft in timed], extras)
        return await write([sealed_write(draft, value, policy) for draft, value in zip(timed, values, strict=True)])

    return await in_rounds(cipher, sink, timed, attempt)


async def write_many_sealed(
    cipher: Cipher,
    sink: EventSink,
    policy: RefreshPolicy,
    drafts: Sequence[Draft[W]],
    write: Callable[[LateWrites[W]], Awaitable[Change[T]]],
    look: Look,
) -> T:
    """Do what `write_sealed` does, for many drafts; each is sealed when the store takes it.

    Args:
        cipher, sink, policy, drafts, look: see `write_sealed`.
        write: the store's method, as for `write_sealed`.

    Raises:
        StorageError: the data keys kept changing.
    """
    timed = await in_time(drafts, policy, look)

    async def attempt() -> Change[T]:
        return await write(await late_writes(cipher, policy, timed))

    return await in_rounds(cipher, sink, timed, attempt)


async def _lasting_sealer(cipher: Cipher, tenant_id: str, data_key_id: bytes) -> Sealer:
    """Return a function that seals for a tenant that was not erased since it had this data key.

    The active data key is known before the store is asked about the given one. So an erasure that the answer does not
    show destroys both, and the write under the active data key fails, because its transaction locks that data key.
    No data key is created, because that would bring an erased tenant back.
    """
    sealer = await cipher.sealer(tenant_id)
    await cipher.confirm(tenant_id, data_key_id)
    return sealer


async def late_writes(cipher: Cipher, policy: RefreshPolicy, timed: Sequence[Draft[W]]) -> LateWrites[W]:
    """Return the writes of drafts that have completed times; see `in_time`.

    All data keys are fetched or created now. A store may take the writes inside a transaction, and must not wait for a
    second connection there.
    """
    sealer = await cipher.ensure_sealer({draft.key.tenant_id for draft in timed})

    def take(indexes: Sequence[int]) -> list[W]:
        return [sealed_write(timed[index], sealed_by(sealer, timed[index]), policy) for index in indexes]

    return LateWrites([draft.key for draft in timed], take)


async def in_rounds(
    cipher: Cipher, sink: EventSink, drafts: Iterable[Draft[W]], attempt: Callable[[], Awaitable[Change[T]]]
) -> T:
    """Seal and write drafts, again if a data key changed in between, at most eight times; publish the events.

    Args:
        cipher, sink, drafts: see `write_sealed`.
        attempt: seals and writes the drafts; see ``write`` of `write_sealed`.

    Raises:
        StorageError: the data keys kept changing.
    """
    for _ in range(_ROUNDS):
        try:
            change = await attempt()
        except DataKeyInactiveError:
            cipher.forget_active({draft.key.tenant_id for draft in drafts})
        else:
            sink.publish(change.events)
            return change.result
    raise StorageError("the tenant's data key kept changing; nothing was written", retryable=True)


def sealed_by(sealer: Sealer, draft: Draft[W]) -> SealedToken:
    """Return a draft's value and extra members, sealed by this sealer."""
    return sealer(draft.key, draft.value, sealable_extra(draft.extra))


def sealed_write(draft: Draft[W], value: SealedToken, policy: RefreshPolicy) -> W:
    """Return the write that stores a draft with its sealed value, and tells when its account is due."""
    kind, provider = draft.key.kind, draft.key.provider
    return draft.seal(value, lead(kind, draft.lifetime, policy, provider), longest_wait(kind, provider, policy))


def drafts_of(account: Account, token_set: TokenSet, *, refreshed: bool = False) -> list[TokenDraft]:
    """Return the drafts that store a token set: the access token, and the refresh token if there is one."""
    extra = as_extra(token_set.extra)
    drafts = [
        TokenDraft(
            account.key(TokenKind.ACCESS_TOKEN),
            token_set.access_token,
            token_set.expires_at,
            token_set.expires_in,
            token_set.scopes or None,
            refreshed,
            extra=extra.of_type(token_set.token_type),
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
                extra=NO_EXTRA.proved_by(extra.proof_key),  # bound to the same key, and it may outlive the access token
            )
        )
    return drafts
