"""Observer: the vault tells it of operations that take time, so that it can measure or trace them."""

from contextlib import AbstractContextManager
from typing import Protocol

from vault_domain.entities.measures import Operation


class Step(Protocol):
    """One operation that has begun."""

    def ended(self, outcome: str, cause: str | None = None) -> None:
        """Take note of how the operation ended.

        The vault calls this once, before it leaves the context that `Observer.begin` returned.

        Args:
            outcome: a code from a fixed list.
            cause: the registered OAuth error code or the documented cause of a failure; None if there is none.
        """


class Observer(Protocol):
    """Measures operations.

    Each method must return at once. The vault logs an error that a method raises, and goes on.
    """

    def begin(self, operation: Operation, provider: str | None) -> AbstractContextManager[Step]:
        """Return a context that is entered when an operation begins and left when it ends, in the same task.

        No argument names a tenant, an account or a token.

        Args:
            operation: what begins.
            provider: the provider that the operation concerns; None if it concerns no provider or several.
        """
