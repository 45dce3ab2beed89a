"""Makes the refresh rule of each provider, and says which grace periods are of no use."""

import logging
from collections.abc import Mapping

from vault_domain.ports.token_refresher import TokenRefresher
from vault_domain.rules.grace import useless_grace
from vault_domain.rules.refresh import RefreshRule, RefreshTiming

_log = logging.getLogger(__name__)


def provider_rules(refreshers: Mapping[str, TokenRefresher], timing: RefreshTiming) -> dict[str, RefreshRule]:
    """Return the rule of each provider; log a warning for each grace period that nobody can use."""
    for name, refresher in refreshers.items():
        problem = useless_grace(refresher.rotation, timing)
        if problem is not None:
            _log.warning("%s: %s", name, problem)
    return {name: RefreshRule.of(each.spends, each.rotation, timing) for name, each in refreshers.items()}
