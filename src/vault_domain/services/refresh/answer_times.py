"""Completes a provider's answer: adds expiry times, extra members, and a refresh token that the answer only prolongs.

An absurd expiry is limited; it is no error.
"""

from __future__ import annotations

from datetime import timedelta

from attrs import evolve

from vault_domain.entities.account import TokenKind
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.extra import NO_EXTRA, Extra, as_extra
from vault_domain.entities.jwt import jwt_expiry
from vault_domain.entities.lifetime import expiry_after, limited_expiry
from vault_domain.entities.token import TokenDraft
from vault_domain.entities.token_set import TokenSet
from vault_domain.ports.token_refresher import RefreshRequest
from vault_domain.rules.freshness import RefreshPolicy
from vault_domain.services.tokens.sealing import drafts_of


def with_renewed_credential(request: RefreshRequest, answer: TokenSet) -> TokenSet:
    """Add the presented refresh token to an answer that only states the new lifetime or expiry of that token.

    Without this, the stored expiry would end a refresh token that its provider has prolonged.
    """
    if answer.refresh_token is not None or answer.refresh_token_problem is not None:
        return answer
    is_prolonged = answer.refresh_token_expires_at is not None or answer.refresh_token_expires_in is not None
    if request.kind is not TokenKind.REFRESH_TOKEN or not is_prolonged:
        return answer
    return evolve(answer, refresh_token=request.credential)


def with_kept_extra(previous: Extra, answer: TokenSet) -> TokenSet:
    """Add the extra members that the answer lacks; they come from the access token that the answer replaces."""
    if previous is NO_EXTRA:
        return answer
    return evolve(answer, extra=as_extra(answer.extra).over(previous))


def drafts_in_time(attempt: Attempt, answer: TokenSet, policy: RefreshPolicy) -> list[TokenDraft]:
    """Return the drafts to store for an answer; a lifetime counts from the claim, which is before the request."""
    access, *others = drafts_of(attempt.account, answer, refreshed=True)
    return [_in_time(attempt, _known(attempt, access, policy)), *(_in_time(attempt, each) for each in others)]


def _known(attempt: Attempt, access: TokenDraft, policy: RefreshPolicy) -> TokenDraft:
    """Add an expiry or a lifetime to a draft that has neither.

    If the token is a JWT that expires after the claim, add the JWT's expiry. Otherwise add the provider's default
    lifetime.
    """
    if access.expires_at is not None or access.lifetime is not None:
        return access
    expires_at = jwt_expiry(access.value)
    if expires_at is not None and expires_at > attempt.claimed_at:
        return evolve(access, expires_at=expires_at)
    return evolve(access, lifetime=policy.default_lifetimes.get(attempt.account.provider))


def _in_time(attempt: Attempt, draft: TokenDraft) -> TokenDraft:
    if draft.expires_at is not None:
        expires_at = limited_expiry(draft.expires_at, attempt.claimed_at)
        lifetime = draft.lifetime or max(expires_at - attempt.claimed_at, timedelta(0)) or None
        return evolve(draft, expires_at=expires_at, lifetime=lifetime)
    if draft.lifetime is not None:
        return evolve(draft, expires_at=expiry_after(attempt.claimed_at, draft.lifetime))
    return draft
