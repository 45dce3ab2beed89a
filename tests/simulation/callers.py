"""The callers of a world: they ask for access tokens, and report those that the resource rejects."""

from datetime import timedelta

from tests.simulation.kinds import DAY

from vault_adapters import RefreshFailedError, VaultError

_YOUNG = timedelta(seconds=40)
"""Age from which a rejected token must not be handed out again."""


class Callers:
    """Asks the hosts of a world for access tokens.

    Args:
        world: the world.
    """

    def __init__(self, world):
        self._world = world

    def begin(self):
        """Let callers ask for most accounts; sweeps alone must keep the others alive."""
        world = self._world
        for number in range(len(world.provider.grants)):
            if world.random.random() < 0.8:
                self._schedule(number)
        if world.random.random() < 0.5:
            world.later(world.random.uniform(0.0, DAY), world.provider.revoke, world.provider.grants[0], "user")

    def _schedule(self, number):
        """Let callers ask now and then, and some of them at the moment when the token becomes due."""
        world = self._world
        pause = world.random.expovariate(1 / (2 * min(world.kind.lifetime, DAY)))
        if world.is_busy and world.random.random() < 0.6:
            pause = world.random.uniform(0.1, 100.0)
        world.later(pause, self._call, number)

    def _call(self, number):
        self.ask(self._world.provider.grants[number])
        self._schedule(number)

    def ask(self, grant):
        """Let one caller or several at once ask for an account's access token."""
        world = self._world
        for _ in range(world.random.choice((1, 1, 3) if world.is_busy else (1, 1, 1, 3))):
            host = world.random.choice(world.hosts)
            if host.is_serving:
                host.process.start(self._ask(host.vault, grant))

    async def _ask(self, vault, grant):
        world = self._world
        account, asked_at = world.account(grant.number), world.loop.time()
        timeout = world.random.choice((None, None, 1.0, 10.0))
        try:
            token = await vault.ensure_access_token(account, timeout=timeout)
            if not world.oracle.on_token(account, grant, token, asked_at):
                await self._report(vault, account, grant, token)
        except Exception as error:
            world.history.add("caller", f"account {grant.number}: {_shown(error)}")
            world.oracle.on_error(account, grant, error, asked_at)

    async def _report(self, vault, account, grant, rejected):
        """Report a token that the resource rejects, as hosts do, and ask again.

        A token that is its own credential may come again if the provider could not be asked about it.
        """
        world, may_come_again = self._world, False
        asked_at, age = world.loop.time(), world.clock.now() - rejected.info.updated_at
        try:
            await vault.report_rejected(rejected)
        except VaultError as error:
            may_come_again = world.kind.grant == "meta" and isinstance(error, RefreshFailedError)
            world.oracle.on_error(account, grant, error, asked_at)
        asked_at = world.loop.time()
        token = await vault.ensure_access_token(account)
        world.oracle.on_token(account, grant, token, asked_at)
        is_judged = age > _YOUNG and not may_come_again and not world.clock_was_stepped
        if token.value == rejected.value and is_judged:
            world.oracle.violated("rejected again", f"account {grant.number} gets a token that it had reported")


def _shown(error):
    code = getattr(error, "code", type(error).__name__)
    return f"{code} {getattr(error, 'reason', None) or ''}"
