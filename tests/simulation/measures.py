"""Counts what users and providers see in a world, by the same rules for every algorithm."""

from attrs import Factory, define
from tests.simulation.provider import STORE_SECONDS

from vault_adapters import ReauthorizationRequiredError

POLICY_SECONDS = 75.0
"""Slightly less than the time (lease plus quiescence) in which other processes do not present a spent credential."""

RETURN_SECONDS = 8.0
"""Seconds in which a host that is back stores an answer. Its supervisor may take five of them to start a process."""

_DAY = 86_400.0

_ENDED_BY_PROVIDER = {"reuse", "idle", "expired"}


@define
class Measures:
    """Counts of one world.

    Attributes:
        lost: grants that nobody can use any more, although their users did not end them.
        unavoidable: the lost grants whose latest credential was only in the memory of a process that ended, or could
            not be stored before other processes stopped waiting for it (`was_out_of_reach`).
        false_reconnects: grants that were alive while a caller heard that the user must connect again.
        calls: calls of callers.
        refused: calls that ended with another error than `ReauthorizationRequiredError` although the grant was alive.
        waits: seconds that callers waited, in total.
    """

    lost: set = Factory(set)
    unavoidable: set = Factory(set)
    false_reconnects: set = Factory(set)
    calls: int = 0
    refused: int = 0
    waits: float = 0.0

    def on_death(self, grant):
        """Count a grant that ended."""
        if grant.dead in _ENDED_BY_PROVIDER:
            self._lose(grant)

    def on_call(self, took):
        """Count a call that ended."""
        self.calls += 1
        self.waits += took

    def on_error(self, grant, error):
        """Count an error."""
        if grant.dead is not None or not grant.is_stored:
            return
        if not isinstance(error, ReauthorizationRequiredError):
            self.refused += 1
        elif _has_lost_answer(grant):
            self._lose(grant)
        else:
            self.false_reconnects.add(grant.family)

    def _lose(self, grant):
        self.lost.add(grant.family)
        if _has_lost_answer(grant) or (grant.last is not None and grant.last.out_of_reach):
            self.unavoidable.add(grant.family)


def _has_lost_answer(grant):
    return grant.last is not None and grant.last.lost is not None


def was_out_of_reach(exchange, at, last_stop, last_cut):
    """Return whether a grant died because the process that had the answer could not store it for a long time.

    The process was stopped, or cut off from the database, without a break. The stop or cut began before the process
    could store the answer, and lasted until just before the spent credential was presented again, `POLICY_SECONDS` or
    more after the refresh. Other processes wait for the lease and the quiescence, but no longer, because they cannot
    know whether such a process has the answer or died without it.

    Args:
        exchange: the refresh that replaced the credential.
        at: time at which the spent credential was presented again.
        last_stop: beginning and end (None: not yet) of the latest stop of the process; None if it has ended.
        last_cut: the same of the latest time in which its host could not reach the database.
    """
    if exchange.delivered is None or at - exchange.at < POLICY_SECONDS:
        return False
    return any(_lasted(absence, exchange.delivered, at) for absence in (last_stop, last_cut) if absence is not None)


def _lasted(absence, delivered, at):
    since, until = absence
    return since <= delivered + STORE_SECONDS and (until is None or until >= at - RETURN_SECONDS)


def connect_again_later(world, grant):
    """Let the user of a grant connect again, a day after a caller got the error that asks for it."""
    if grant.is_to_be_replaced:
        return
    grant.is_to_be_replaced = True
    world.later(_DAY, _connect, world, grant)


def _connect(world, grant):
    if world.is_recovering or world.provider.grants[grant.number] is not grant:
        return
    world.on_some_vault(lambda vault: world.connect_again(vault, grant.number))
    world.later(3600.0, _connect, world, grant)  # in case no vault was open
