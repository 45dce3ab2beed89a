"""Asks the vault for what the dashboard shows, and remembers the answers for when the database is unreachable."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

import anyio
from attrs import evolve, frozen

from vault_domain import HealthReport, InvalidInputError, StorageError, TokenVault, VaultError

T = TypeVar("T")

LONGEST_WAIT = 10.0
"""Seconds after which a page stops waiting for an answer of the vault."""

_MOST_REMEMBERED = 64
_REMEMBERED_FOR = timedelta(minutes=15)
"""Age up to which an answer is shown during an outage. The answer may show a tenant that was erased meanwhile."""


@frozen
class Problem:
    """Why the vault did not answer: the code and the reason of its error, and its message, which repeats no input."""

    code: str
    reason: str | None = None
    message: str = ""

    @classmethod
    def of(cls, error: VaultError) -> Problem:
        """Return the problem that an error of the vault describes."""
        return cls(error.code, error.reason, str(error))


@frozen
class Answer(Generic[T]):
    """An answer of the vault, or a remembered earlier answer.

    Attributes:
        value: the answer; None if the vault gave no answer and none is remembered.
        problem: why the vault did not answer now, or None.
        known_at: time of a remembered answer, UTC; the present time if the database answers reads but takes no writes;
            else None.
    """

    value: T | None
    problem: Problem | None = None
    known_at: datetime | None = None


class Reader:
    """Asks a vault questions. Errors of the vault become part of the answer; only `InvalidInputError` is raised."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._remembered: OrderedDict[Hashable, tuple[datetime, Any]] = OrderedDict()

    async def ask(self, name: Hashable, question: Callable[[], Awaitable[T]]) -> Answer[T]:
        """Return the answer to a question.

        Args:
            name: names the question and its arguments; the answer is remembered under this name.
            question: the function that asks the vault.

        Raises:
            InvalidInputError: an argument of the question breaks a rule.
        """
        value = await _asked(question)
        if isinstance(value, Problem):
            return self._recall(name, value)
        self._remember(name, value)
        return Answer(value)

    def known(self, name: Hashable) -> Any:
        """Return the answer that is remembered under a name, or None."""
        return self._recall(name, Problem("")).value

    async def health(self, vault: TokenVault) -> Answer[HealthReport]:
        """Return the health report; if the database does not answer, an earlier report with the present errors."""
        report = await _asked(vault.health)
        if isinstance(report, Problem):
            return self._recall(("health",), report)
        if report.store_error is None:
            self._remember(("health",), report)
            return Answer(report)
        if report.store_time is not None:  # the database answered reads, as a standby does
            problem = Problem(report.store_error, report.store_reason, "the database takes no writes")
            return Answer(report, problem, self._clock())
        problem = Problem(report.store_error, report.store_reason, "the database does not answer")
        known = self._recall(("health",), problem)
        if known.value is None:
            return Answer(report, problem)
        errors = {"store_error": report.store_error, "master_key_error": report.master_key_error}
        return evolve(known, value=evolve(known.value, **errors))

    def _remember(self, name: Hashable, value: object) -> None:
        self._remembered[name] = (self._clock(), value)
        self._remembered.move_to_end(name)
        while len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)

    def _recall(self, name: Hashable, problem: Problem) -> Answer[Any]:
        known_at, value = self._remembered.get(name, (None, None))
        if known_at is None or self._clock() - known_at > _REMEMBERED_FOR:
            return Answer(None, problem)
        return Answer(value, problem, known_at)


async def _asked(question: Callable[[], Awaitable[T]]) -> T | Problem:
    """Return the answer to a question, or why the vault gave none; remember nothing.

    Raises:
        InvalidInputError: an argument of the question breaks a rule.
    """
    try:
        with anyio.fail_after(LONGEST_WAIT):
            return await question()
    except InvalidInputError:
        raise
    except VaultError as error:
        return Problem.of(error)
    except TimeoutError:
        late = f"the vault did not answer within {LONGEST_WAIT:.0f} seconds"
        return Problem(StorageError.default_code, "timeout", late)
