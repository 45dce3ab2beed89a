"""Shorter times for the steps of a refresh, for tests whose results do not depend on these times."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

from vault_adapters import composition
from vault_domain.rules.timing import RefreshTiming


@contextmanager
def refresh_times(*, commit_budget: float = 5.0, slack: float = 5.0) -> Iterator[None]:
    """Use these times (in seconds) in the vaults that this process opens; `VaultConfig` has no setting for them."""
    built = composition.RefreshTiming
    composition.RefreshTiming = partial(  # type: ignore[assignment, misc] - `composition` only calls it
        RefreshTiming, commit_budget=timedelta(seconds=commit_budget), slack=timedelta(seconds=slack)
    )
    try:
        yield
    finally:
        composition.RefreshTiming = built  # type: ignore[misc] - as above
