"""Makes the refresh rule of each provider and the policy of all providers, and warns of unusable grace periods."""

import logging
from collections.abc import Mapping
from datetime import timedelta

from attrs import evolve

from vault_domain.entities.account import TokenKind
from vault_domain.entities.request_limit import RequestLimit
from vault_domain.ports.token_refresher import TokenRefresher, times_of
from vault_domain.rules.freshness import RefreshPolicy
from vault_domain.rules.grace import useless_grace
from vault_domain.rules.refresh import RefreshRule
from vault_domain.rules.timing import RefreshTiming

_log = logging.getLogger(__name__)


def provider_rules(refreshers: Mapping[str, TokenRefresher], timing: RefreshTiming) -> dict[str, RefreshRule]:
    """Return the rule of each provider; log a warning for each grace period that no attempt can use."""
    for name, refresher in refreshers.items():
        problem = useless_grace(refresher.rotation, timing)
        if problem is not None:
            _log.warning("%s: %s", name, problem)
    return {name: _rule(refresher, timing) for name, refresher in refreshers.items()}


def is_static(refresher: TokenRefresher) -> bool:
    """Return whether a refresher only describes API keys that do not expire, and never refreshes."""
    return getattr(refresher, "is_static", False) is True


def without_static(refreshers: Mapping[str, TokenRefresher]) -> dict[str, TokenRefresher]:
    """Return the refreshers without those of providers whose API keys do not expire, because nothing is refreshed."""
    return {name: each for name, each in refreshers.items() if not is_static(each)}


def policy_of(refreshers: Mapping[str, TokenRefresher], buffer: timedelta, notice: timedelta) -> RefreshPolicy:
    """Return the policy: the configured times, and what the refreshers tell about lifetimes and credentials.

    Raises:
        InvalidInputError: a refresher names a lifetime that is no positive duration.
    """
    defaults, idle = times_of(refreshers, "default_lifetime"), times_of(refreshers, "idle_lifetime")
    exchanging = frozenset(name for name, each in refreshers.items() if each.spends is TokenKind.ACCESS_TOKEN)
    return RefreshPolicy(buffer, notice, defaults, idle, exchanging)


def _rule(refresher: TokenRefresher, timing: RefreshTiming) -> RefreshRule:
    rule = RefreshRule.of(refresher.spends, refresher.rotation, timing)
    limit = getattr(refresher, "request_limit", None)
    spacing = limit.spacing if isinstance(limit, RequestLimit) else timedelta(0)
    return evolve(rule, old_token_dies=getattr(refresher, "old_token_dies", False) is True, spacing=spacing)
