"""Tells within a given time whether store, schema, master key and journal can be used."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from vault_domain.entities.causes import NOT_HOME, TIMEOUT
from vault_domain.entities.errors import RefreshFailedError, SchemaOutdatedError, StorageError, VaultError
from vault_domain.entities.reports import Readiness
from vault_domain.ports.cipher import Cipher
from vault_domain.ports.journal import RefreshJournal
from vault_domain.ports.tasks import Tasks
from vault_domain.ports.upkeep import Upkeep
from vault_domain.services.tokens.homes import HomeService

STORE, MASTER_KEY, HOME = "store", "master key", "home"


class ReadinessService:
    """Checks store, master key and journal at the same time. Concurrent calls share their checks."""

    def __init__(
        self,
        upkeep: Upkeep,
        cipher: Cipher,
        tasks: Tasks,
        journal: RefreshJournal,
        home: HomeService | None = None,
    ) -> None:
        self._upkeep = upkeep
        self._cipher = cipher
        self._tasks = tasks
        self._journal = journal
        self._home = home

    async def check(self, seconds: float) -> Readiness:
        """Return the readiness; a check that takes longer than the given time has the cause ``timeout``."""
        journal: list[str | None] = []

        async def examine() -> None:
            try:
                journal.append(await self._tasks.share(("readiness", "journal"), self._examine, seconds))
            except TimeoutError:
                journal.append(TIMEOUT)

        errors = await self.errors(seconds, [("journal", examine)])
        store, key, home = errors.get(STORE), errors.get(MASTER_KEY), errors.get(HOME)
        is_outdated = isinstance(store, SchemaOutdatedError)
        return Readiness(
            store=None if is_outdated else cause_of(store),
            schema=store.code if store is not None and is_outdated else None,
            master_key=cause_of(key),
            journal=journal[0],
            home=NOT_HOME if isinstance(home, RefreshFailedError) else None,
        )

    async def errors(
        self, seconds: float, others: Sequence[tuple[str, Callable[[], Awaitable[None]]]] = ()
    ) -> dict[str, VaultError]:
        """Return the errors of the failed checks, by `STORE`, `MASTER_KEY` and `HOME`; run ``others`` beside them.

        The state of the master key is read from the store. So while the store fails, a `StorageError` of the master
        key's check is left out.
        """
        errors: dict[str, VaultError] = {}
        checks = {STORE: self._upkeep.ping, MASTER_KEY: self._cipher.check}
        if self._home is not None:
            checks[HOME] = self._home.check

        async def check(name: str) -> None:
            error = await self._error(name, checks[name], seconds)
            if error is not None:
                errors[name] = error

        await self._tasks.run_all([*((name, partial(check, name)) for name in checks), *others], 1)
        if STORE in errors and isinstance(errors.get(MASTER_KEY), StorageError):
            del errors[MASTER_KEY]
        return errors

    async def _examine(self) -> str | None:
        return await self._journal.examine()

    async def _error(self, name: str, work: Callable[[], Awaitable[None]], seconds: float) -> VaultError | None:
        async def run() -> None:
            await work()

        try:
            await self._tasks.share(("readiness", name), run, seconds)
        except VaultError as error:
            return error
        except TimeoutError:
            return StorageError(f"the {name} did not answer in time", reason=TIMEOUT, retryable=True)
        return None


def cause_of(error: VaultError | None) -> str | None:
    """Return the cause that an error names, or its code; None if there is no error."""
    return None if error is None else error.reason or error.code
