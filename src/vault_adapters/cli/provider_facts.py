"""Reads the facts about providers that the command `doctor` needs, from refreshers and profiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vault_adapters.providers.profiles import Profile, packaged_profile, profiles
from vault_adapters.providers.static_keys import packaged_keys
from vault_domain import TokenRefresher
from vault_domain.entities.account import TokenKind
from vault_domain.entities.rotation_policy import RevocationScope, RotationKind
from vault_domain.ports.token_refresher import HostNamer
from vault_domain.rules.examination import ProviderFacts

_WEIGHTY = ("token_url", "revocation_url", "rotation", "revocation", "errors", "answer", "limits")
"""Facts of a profile that are reported if they are unverified, because a wrong one can end grants."""


def facts_reader(refreshers: Mapping[str, TokenRefresher] | None) -> Callable[[str], ProviderFacts]:
    """Return a function that returns what is known about a provider.

    Args:
        refreshers: the host's refreshers; None if they are not known. Then the facts come from the profile in this
            package that has the provider's name, if there is one.
    """

    def read(provider: str) -> ProviderFacts:
        if refreshers is None:
            return _of_profile(packaged_profile(provider)) if provider in profiles() else ProviderFacts()
        refresher = refreshers.get(provider) or packaged_keys().get(provider)
        return ProviderFacts(has_refresher=False) if refresher is None else _of_refresher(refresher)

    return read


def _of_profile(profile: Profile) -> ProviderFacts:
    return ProviderFacts(
        rotates=profile.rotation.policy.kind is not RotationKind.NON_ROTATING,
        ends_all_grants=profile.revocation.scope is RevocationScope.USER_AND_CLIENT,
    )


def _of_refresher(refresher: TokenRefresher) -> ProviderFacts:
    profile = getattr(refresher, "profile", None)
    known = profile if isinstance(profile, Profile) else None
    unverified = () if known is None else known.unverified
    return ProviderFacts(
        has_refresher=True,
        rotates=refresher.rotation.kind is not RotationKind.NON_ROTATING,
        ends_all_grants=getattr(refresher, "revocation_scope", None) == RevocationScope.USER_AND_CLIENT,
        unverified=tuple(fact for fact in unverified if fact.partition(".")[0] in _WEIGHTY),
        names_hosts=isinstance(refresher, HostNamer) if known is None else bool(known.api_hosts),
        scopes=_of_users(refresher),
    )


def _of_users(refresher: TokenRefresher) -> frozenset[str]:
    """Return the scopes that a refresher asks users for; an API key has no scopes that a user could grant."""
    if refresher.spends is TokenKind.API_KEY:
        return frozenset()
    return frozenset(getattr(refresher, "scopes", None) or ())
