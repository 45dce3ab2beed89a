"""Shorter times for the steps of a refresh, for tests whose results do not depend on these times."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property

from attrs import evolve

from vault_adapters.parts import SharedParts
from vault_domain.rules.timing import RefreshTiming


@contextmanager
def refresh_times(*, commit_budget: float = 5.0, slack: float = 5.0) -> Iterator[None]:
    """Use these times (in seconds) in the vaults that this process opens; `VaultConfig` has no setting for them."""
    built = SharedParts.timing

    def timing(parts: SharedParts) -> RefreshTiming:
        configured: RefreshTiming = built.func(parts)
        return evolve(configured, commit_budget=timedelta(seconds=commit_budget), slack=timedelta(seconds=slack))

    shorter = cached_property(timing)
    shorter.__set_name__(SharedParts, "timing")
    SharedParts.timing = shorter  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        SharedParts.timing = built  # type: ignore[assignment, method-assign]
