"""Numbers that configure the rules: defaults, and the largest values that are allowed."""

from datetime import timedelta

DEFAULT_CONCURRENCY = 32
"""Largest number of refreshes that one process runs at one provider at the same time."""

DEFAULT_HOLD = timedelta(seconds=15)
"""Default of `RefreshTiming.hold`; longer than the default of `RefreshTiming.deadline`."""

MOST_ACCOUNTS = 10
"""Largest allowed value of `ClientRules.accounts`."""

MOST_COUNTED = 1000
"""Largest number to which rejections, the present one included, and successes are counted."""
