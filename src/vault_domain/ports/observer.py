"""Observer: is told of operations that take time, to measure or trace them."""

from contextlib import AbstractContextManager
from typing import Protocol

from vault_domain.entities.measures import Operation


class Step(Protocol):
    """One operation that has begun."""

    def ended(self, outcome: str, cause: str | None = None) -> None:
        """Tell how the operation ended; it is called once, before the step's context is left.

        Args:
            outcome: a code from a fixed list.
            cause: the registered OAuth error code or the documented cause of a failure; None if there is none.
        """


class Observer(Protocol):
    """Measures operations. It must return at once; an error that it raises is logged and has no other effect."""

    def begin(self, operation: Operation, provider: str | None) -> AbstractContextManager[Step]:
        """Return a context that is entered when an operation begins and left when it ends, in the same task.

        No argument names a tenant, an account or a token.

        Args:
            operation: what begins.
            provider: the provider that it concerns; None: no single one.
        """
