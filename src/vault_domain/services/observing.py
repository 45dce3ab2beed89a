"""Tells observers when a vault's operations begin and how they end, and holds the vault's counts of reads.

Without an observer, the cost for an operation is one comparison.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING

from attrs import define

from vault_domain.entities.causes import NOT_HOME, PROVIDER_CAUSES, STORAGE_CAUSES
from vault_domain.entities.errors import (
    DecryptionError,
    KeyUnavailableError,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    RefreshNotPersistedError,
    StorageError,
    TokenNotFoundError,
    VaultError,
)
from vault_domain.entities.text import plain_text
from vault_domain.rules.oauth_codes import registered_code

if TYPE_CHECKING:
    from vault_domain.entities.measures import Operation
    from vault_domain.ports.observer import Observer, Step

_log = logging.getLogger(__name__)

DONE = "done"
CANCELLED = "cancelled"
ERROR = "error"

OUTCOMES: dict[type[BaseException], str] = {
    ReauthorizationRequiredError: "reauthorization_required",
    ProviderConfigurationError: "refused",
    RefreshNotPersistedError: "not_persisted",
    RefreshFailedError: "failed",
    DecryptionError: "unreadable",
    KeyUnavailableError: "key_unavailable",
    StorageError: "storage_failed",
    TokenNotFoundError: "not_connected",
    TimeoutError: "timeout",
}
"""The outcome of an operation that ended with an error, by the error's class."""

_CAUSES = PROVIDER_CAUSES | STORAGE_CAUSES | {NOT_HOME}

UNKNOWN = "outcome_unknown"
"""The outcome if it is not known whether the provider has consumed the credential."""


@define(eq=False, repr=False)
class ReadCounts:
    """Counts the tokens read from each source, and the tokens that could not be read; see `VaultCounts`."""

    database: int = 0
    cache: int = 0
    outage: int = 0
    failed: int = 0


class Observed:
    """The observers of one vault, and its counts of reads."""

    def __init__(self) -> None:
        self.reads = ReadCounts()
        self.is_closed = False
        self._observers: tuple[Observer, ...] = ()

    def close(self) -> None:
        """Mark the vault as closed, so that readers of its counts forget the vault."""
        self.is_closed = True

    def add(self, observer: Observer) -> None:
        """Add an observer of later operations; any thread may call this."""
        self._observers = (*self._observers, observer)

    def step(self, operation: Operation, provider: str | None = None) -> AbstractContextManager[Step]:
        """Return the context manager in which an operation runs.

        If the operation does not call `Step.ended`, its outcome is what `outcome_of` returns for the error that leaves
        the context, or for None if no error leaves it.
        """
        if not self._observers:
            return _UNOBSERVED
        return _Steps(self._observers, operation, provider)


class _Unobserved:
    def ended(self, outcome: str, cause: str | None = None) -> None:
        """Do nothing."""


_UNOBSERVED: AbstractContextManager[Step] = nullcontext(_Unobserved())


class _Steps:
    """Tells several observers about one operation."""

    def __init__(self, observers: tuple[Observer, ...], operation: Operation, provider: str | None) -> None:
        self._observers = observers
        self._operation = operation
        self._provider = provider
        self._begun: list[tuple[AbstractContextManager[Step], Step]] = []
        self._ended = False

    def __enter__(self) -> Step:
        for observer in self._observers:
            try:
                context = observer.begin(self._operation, self._provider)
                self._begun.append((context, context.__enter__()))
            except Exception as error:
                self._note(error)
        return self

    def ended(self, outcome: str, cause: str | None = None) -> None:
        """Tell the observers how the operation ended."""
        self._ended = True
        for _, step in self._begun:
            try:
                step.ended(outcome, cause)
            except Exception as error:
                self._note(error)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._ended:
            self.ended(*outcome_of(error))
        for context, _ in reversed(self._begun):
            try:
                # An observer never gets the error itself, because the error's text or traceback may hold a secret.
                context.__exit__(None, None, None)
            except Exception as failure:
                self._note(failure)

    def _note(self, error: Exception) -> None:
        _log.error("an observer raised %s at the operation %s", type(error).__qualname__, self._operation.value)


def outcome_of(error: BaseException | None) -> tuple[str, str | None]:
    """Return the outcome of an operation that ended with this error, and the error's cause if it has a known one."""
    if error is None:
        return DONE, None
    if isinstance(error, RefreshFailedError) and error.outcome_unknown:
        return UNKNOWN, _cause(error)
    found = next((OUTCOMES[cls] for cls in type(error).__mro__ if cls in OUTCOMES), None)
    if found is None:
        return ERROR if isinstance(error, Exception) else CANCELLED, None
    return found, _cause(error) if isinstance(error, VaultError) else None


def _cause(error: VaultError) -> str | None:
    """Return an error's reason if it is a registered code or a documented cause; None for any other text."""
    code = plain_text(error.reason)
    return code if code in _CAUSES else registered_code(code)
