"""Attempt: one try to refresh an account; how it failed, and what a commit of its answer stored."""

from __future__ import annotations

import enum
from datetime import datetime, timedelta
from uuid import UUID

from attrs import field, frozen

from vault_domain.entities.account import Account
from vault_domain.entities.token import SealedToken, StoredToken, TokenRef


@frozen
class Attempt:
    """An attempt that holds the lease: no other attempt presents the account's credential while the lease lasts.

    Attributes:
        account: the account that is refreshed.
        attempt_id: random id of this attempt.
        credential: the credential that the attempt presents, as stored at the time of the claim.
        access: the access token as stored at the time of the claim, or None.
        claimed_at: the store's time of the claim.
        lease: duration of the lease.
        client: fingerprint of the client under which the credential was stored, or None; not kept in the journal.
        endpoint: fingerprint of the client at the account's token endpoint (`rules.clients.at_endpoint`), or None if
            all accounts of the provider share the endpoint; not kept in the journal. A claim stores it.
        stored_at: time at which the later of credential and access token was stored; not kept in the journal.
        timeline: the store's timeline when the credential was read for the request, or None; not kept in the journal.
    """

    account: Account
    attempt_id: UUID
    credential: TokenRef
    access: TokenRef | None
    claimed_at: datetime
    lease: timedelta
    client: bytes | None = field(default=None, eq=False)
    timeline: str | None = field(default=None, eq=False)
    endpoint: bytes | None = field(default=None, eq=False)
    stored_at: datetime | None = field(default=None, eq=False)


@frozen
class Failure:
    """The failure of an attempt.

    Attributes:
        code: a registered OAuth error code, or one of `vault_domain.entities.causes.PROVIDER_CAUSES`, or the reason of
            a pause (`CLIENT_REASONS`), or None.
        retry_in: time until the next attempt is due.
        unknown: whether the provider may have consumed the credential despite the failure.
        refused: whether the failure counts for the run of refusals (`RefreshState.refused_since`). It does if the
            provider refused this request, or if it rejected the credential together with most of the client's fleet, so
            that the credential was not condemned.
        refused_for: length of the run of refusals up to this refusal. If this refusal continues a run,
            `RefreshState.refused_since` becomes the time of this refusal minus this length, or stays as stored if this
            length is None.
    """

    code: str | None
    retry_in: timedelta
    unknown: bool
    refused: bool = False
    refused_for: timedelta | None = None


@frozen
class SealedAnswer:
    """An answer that could not be read, sealed.

    Attributes:
        sealed: the sealed answer, with the references that its attempt needs.
        failure: the failure of the attempt, which is recorded when the answer is stored.
    """

    sealed: SealedToken
    failure: Failure


class CommitOutcome(enum.Enum):
    """How much of a provider's answer is stored after a commit."""

    WRITTEN = "written"
    """All tokens of the answer are stored, by this commit or by an earlier commit of the same attempt."""
    ACCESS_MOVED = "access_moved"
    """Another writer stored or deleted the access token meanwhile. Only the refresh token of the answer is stored."""
    CREDENTIAL_MOVED = "credential_moved"
    """Another writer replaced or deleted the credential meanwhile. The answer is dropped."""


@frozen
class Commit:
    """The result of a commit.

    Attributes:
        outcome: see `CommitOutcome`.
        access: the new access token as this commit stored it; None if it stored no access token.
    """

    outcome: CommitOutcome
    access: StoredToken | None = None
