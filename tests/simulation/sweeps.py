"""The times at which the processes of a world start sweeps."""

from tests.simulation.loop import Life

_LATER = 0.001
"""Seconds by which the alarm rings after an account becomes due, so that no rounding makes the alarm too early."""


class Sweeps:
    """Lets each process sweep at its times; it leaves out the times at which all sweeps would find nothing.

    They would find nothing while periodic work is calm (`Naps.is_calm`) and no account is due. Processes then doze, and
    one alarm wakes all of them at the time at which the first account becomes due. Whatever may end the calm or make an
    account due earlier must call `wake` or `arm`.

    Args:
        world: the world.
    """

    def __init__(self, world):
        self._world, self._dozing = world, []
        self._alarm_at = float("inf")

    def begin(self, host, process, vault):
        """Let a process sweep from now on, until its host has another vault."""
        self._world.loop.outside(self._pause(0.8, 1.2), self._tick, host, process, vault)

    def _pause(self, least, most):
        """Return the seconds until a process's next sweep: `least` to `most` periods, or until all sweep together."""
        world, period = self._world, self._world.sweep_seconds
        pause = world.random.uniform(least, most) * period
        if world.sweeps_together:  # as cron starts all of them
            return period - world.loop.now % period + world.random.uniform(0.0, 0.5)
        return pause

    def _tick(self, host, process, vault):
        if host.vault is not vault or process.life is Life.DEAD:
            return
        world = self._world
        if not world.naps.is_calm or world.has_due():
            if not process.is_sweeping:
                process.is_sweeping = True
                process.start(host.sweep(process, vault))
        elif world.peer is None:
            self._dozing.append((host, process, vault))
            self.arm()
            return
        self.begin(host, process, vault)

    def arm(self):
        """Set the alarm for the time at which the first account becomes due, unless it rings earlier."""
        if self._dozing:
            world = self._world
            at = world.server.first_due(world.clock) - world.clock.offset
            if at < self._alarm_at:
                self._alarm_at = at
                world.loop.outside(max(0.0, at - world.loop.now) + _LATER, self._ring, at)

    def _ring(self, at):
        if at == self._alarm_at:
            self._alarm_at = float("inf")
            if self._world.has_due():
                self.wake()
            else:
                self.arm()

    def wake(self):
        """Let the dozing processes sweep again, each at its own next time, whatever woke it."""
        dozing, self._dozing = self._dozing, []
        for each in dozing:
            self._world.loop.outside(self._pause(0.0, 1.0), self._tick, *each)
