"""The time limits of the steps of a refresh."""

from __future__ import annotations

from datetime import timedelta

from attrs import frozen

from vault_domain.entities.errors import InvalidInputError
from vault_domain.rules.bounds import DEFAULT_HOLD


@frozen
class RefreshTiming:
    """The time limits of the steps of a refresh.

    Attributes:
        deadline: longest time that a caller waits for the provider.
        quiescence: waiting time after an unknown outcome, if the rotation policy is strict, or if the grace period is
            over or too short to present the credential again.
        commit_budget: time reserved for storing the answer.
        slack: longest time between claim and request. If more time has passed, the provider is not called, because the
            rest of the lease is shorter than deadline plus commit budget.
        answer_deadline: how long the exchange may go on after the deadline, so that a late answer can be stored.
        hold: time for which a committed answer is held, in case the store loses the commit. For the same length of
            time after the store's timeline has changed, the vault presents no credential of a strict provider.
    """

    deadline: timedelta = timedelta(seconds=10)
    quiescence: timedelta = timedelta(seconds=60)
    commit_budget: timedelta = timedelta(seconds=5)
    slack: timedelta = timedelta(seconds=5)
    answer_deadline: timedelta = timedelta(seconds=60)
    hold: timedelta = DEFAULT_HOLD

    @property
    def exchange(self) -> timedelta:
        """Longest time for an exchange with the provider: the sum of deadline and answer deadline."""
        return self.deadline + self.answer_deadline

    @property
    def renewal(self) -> timedelta:
        """Interval at which the holder of a lease renews it. A lease lasts for at least two intervals."""
        return (self.deadline + self.commit_budget) / 2

    @property
    def lease(self) -> timedelta:
        """Duration of the lease: the sum of slack, deadline and commit budget."""
        return self.slack + self.deadline + self.commit_budget

    def __attrs_post_init__(self) -> None:
        others = (self.commit_budget, self.slack, self.quiescence, self.answer_deadline, self.hold)
        if self.deadline <= timedelta(0) or min(others) < timedelta(0):
            raise InvalidInputError("a refresh needs a positive deadline, and its other times must not be negative")
