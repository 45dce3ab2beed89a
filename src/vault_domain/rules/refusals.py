"""Decides how long an account waits after a failed refresh, and when its credential counts as exhausted.

A definite refusal is an answer in which the provider refuses the request of one account, but which does not say that
the credential is invalid. Examples are an error code that no standard defines, a 404, and ``unauthorized_client``. A
run of refusals begins with the first refusal, and ends when a refresh succeeds or another credential is stored.
Failures of other kinds do not end the run.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from vault_domain.entities.errors import ProviderConfigurationError

if TYPE_CHECKING:
    from vault_domain.entities.errors import VaultError
    from vault_domain.entities.refresh_state import RefreshState

EXHAUSTED = "exhausted"
"""The error code of an exhausted credential: the vault condemned it, because the provider refused it for days."""

DEFAULT_EXHAUSTION = timedelta(days=4)
"""Length of a run of refusals after which the credential is exhausted."""

FIRST_WAIT = timedelta(seconds=15)
"""Shortest wait after a refusal."""

LONGEST_ASKED = timedelta(minutes=5)
"""Time after which one account of a client asks again, however long the provider has asked to wait."""

LONGEST_WAIT = timedelta(days=1)
"""Longest wait after a refusal."""

LONGEST_BACKOFF = timedelta(hours=1)
"""Longest wait after a failure that is no definite refusal."""

_LEAST_GAPS = 4

_OF_THE_CLIENT = frozenset({"invalid_client"})
_OF_THE_REQUEST = frozenset({"invalid_scope"})


def is_refusal(error: VaultError, reason: str | None) -> bool:
    """Return whether an attempt's error is a definite refusal of its account.

    Args:
        error: the refresher's error.
        reason: the registered error code or the cause (`PROVIDER_CAUSES`), or None.
    """
    return isinstance(error, ProviderConfigurationError) and error.refused and reason not in _OF_THE_CLIENT


def is_counted(reason: str | None) -> bool:
    """Return whether a definite refusal with this reason counts for a run of refusals.

    ``invalid_scope`` says that the request asked for more than the grant has (RFC 6749 section 5.2). The grant is
    alive, so it is never exhausted by this.
    """
    return reason not in _OF_THE_REQUEST


def refused_for(state: RefreshState, now: datetime, exhaustion: timedelta) -> timedelta:
    """Return the length of a run of refusals that a refusal at ``now`` continues or begins.

    The time between two refusals counts as a day at most, and as a quarter of ``exhaustion`` at most. So a clock that
    was set forward does not exhaust a credential, and neither do fewer than five refusals.

    Args:
        state: the state before this refusal.
        now: the store's time.
        exhaustion: length of a run after which the credential is exhausted.
    """
    if state.refused_since is None:
        return timedelta(0)
    longest_gap = min(LONGEST_WAIT, exhaustion / _LEAST_GAPS)
    return min(max(now - state.refused_since, state.refused_for), state.refused_for + longest_gap)


def is_exhausted(run: timedelta, exhaustion: timedelta) -> bool:
    """Return whether a run of refusals of this length exhausts the credential."""
    return run >= exhaustion


def wait_after(run: timedelta, jitter: float) -> timedelta:
    """Return the time to wait after a refusal: 1 to 2 times the length of its run, from 15 seconds to a day.

    Args:
        run: the length of the run, this refusal included.
        jitter: random number from 0 to 1, so that accounts that failed together do not retry together.
    """
    return min(max(run, FIRST_WAIT) * (1 + jitter), LONGEST_WAIT)


def backoff(failures: int, jitter: float, retry_after: timedelta | None) -> timedelta:
    """Return the time to wait after a failure that is no definite refusal; an hour at most.

    The time that the provider asked for counts up to `LONGEST_ASKED`. Whoever is asked to wait longer is held back
    until the provider has granted another account of the client a refresh; see `services.refresh.pacing`.

    Args:
        failures: number of consecutive failures, including this one.
        jitter: random number from 0 to 1, so that accounts that failed together do not retry together.
        retry_after: the time that the provider asked for, or None.
    """
    wanted = timedelta(seconds=2 ** min(failures - 1, 12)) * (0.5 + jitter / 2)
    return min(max(wanted, min(retry_after or timedelta(0), LONGEST_ASKED)), LONGEST_BACKOFF)
