"""Makes the rules of refreshing from the attributes of the refreshers."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve

from vault_domain.ports.token_refresher import TokenRefresher
from vault_domain.rules.refresh import RefreshRule, RefreshTiming


def rules_of(refreshers: Mapping[str, TokenRefresher], timing: RefreshTiming) -> dict[str, RefreshRule]:
    """Return the rule of each provider."""
    return {provider: _rule(refresher, timing) for provider, refresher in refreshers.items()}


def _rule(refresher: TokenRefresher, timing: RefreshTiming) -> RefreshRule:
    rule = RefreshRule.of(refresher.spends, refresher.rotation, timing)
    return evolve(rule, old_token_dies=getattr(refresher, "old_token_dies", False) is True)
