"""Judges whether an account whose refreshes fail is left alone for as long as the backoff says."""

from attrs import define
from tests.simulation.loop import Life

_LONGEST, _LONGEST_ASKED, _MOST_DOUBLINGS = 3600.0, 300.0, 12

_RECORDED = 3.0
"""Seconds after a failure by which it is recorded, unless its process, its connections or the clock had trouble."""


@define
class _Run:
    """Failures without a success between: their number, and the time before which nobody may try again."""

    failures: int = 0
    until: float = 0.0


class Patience:
    """For each credential, follows the failures whose outcome the vault knows: refused connections, 429 and 503.

    A new credential has no failures yet, even if another process stored it late.

    Failures that may not have been recorded are not counted, and neither are those with an unknown outcome. So the
    vault may count more failures of a run than this class, and may wait longer than this class demands, but not less.
    """

    def __init__(self, world):
        self._world, self._runs = world, {}

    def on_attempt(self, grant, credential):
        """Judge whether a credential of a grant may be presented now."""
        run, now = self._runs.get(credential), self._world.loop.time()
        if run is None or now >= run.until or grant.number in self._world.ever_refused:
            return
        if not self._world.is_recovering:  # during recovery, a person asks for a refresh, to see whether it works
            text = f"account {grant.number} is tried again {run.until - now:.0f} s too early"
            self._world.oracle.violated("impatient", f"{text}, after {run.failures} failures")

    def on_failure(self, credential, process, retry_after=0.0):
        """Take note of a failure that reaches a process now."""
        failed_at, stops = self._world.loop.time(), process.stopped_seconds

        def count():
            world = self._world
            was_stopped = process.life is not Life.RUNNING or process.stopped_seconds != stops
            if was_stopped or world.stepped_at >= failed_at or not self._has_calm_link(process, failed_at):
                return
            run = self._runs.setdefault(credential, _Run())
            run.failures += 1
            wait = 0.5 * 2 ** min(run.failures - 1, _MOST_DOUBLINGS)
            run.until = failed_at + min(max(wait, min(retry_after, _LONGEST_ASKED)), _LONGEST)

        if self._has_calm_link(process, failed_at):
            self._world.later(_RECORDED, count)

    def on_success(self, credential):
        """Take note of a success, which ends a run."""
        self._runs.pop(credential, None)

    def on_step(self):
        """Forget all runs, because the clock was set: by the new time, their backoffs may already be over."""
        self._runs.clear()

    def _has_calm_link(self, process, since):
        links = [host.link for host in self._world.hosts if host.process is process]
        return all(link.is_calm and link.broken_since < since for link in links) and bool(links)
