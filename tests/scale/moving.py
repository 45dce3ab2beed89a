"""Moves rotating grants into the vault and back, under load: `python -m tests.scale.moving --grants 10000`.

The old refresher's processes work all the time; one of them goes on after the move, as one on a forgotten machine
would. The steps are those of docs/how-to/take-over-and-leave.md. `--unfenced` leaves out the fence, to see what it is
for.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen
from tests.adapters.cli.command import clean_environment, quick_program
from tests.scale import moving_old as old
from tests.support.answers import Answer, ReceivedRequest, error_answer
from tests.support.databases import SECRET, Database, PostgresSchema
from tests.support.postgres import start_postgres
from tests.support.scripted_provider import ScriptedProvider
from tests.support.strict_provider import ANSWERED, StrictProvider, digest

from vault_adapters import Account, VaultConfig, open_vault
from vault_adapters.providers import OAuth2Refresher

_OLD, _NEW = "the old client secret", "the new client secret"
_LONGEST_REQUEST = 1.0
"""Seconds after which no answer to a request under the old secret is under way any more."""
_AT_ONCE = 16


class FencedProvider(StrictProvider):
    """A strict provider that refuses a client secret that was deleted; such a request spends nothing."""

    def __init__(self, salt: str) -> None:
        super().__init__(salt, lifetime=3600)
        self.secrets = {_OLD}

    def respond(self, request: ReceivedRequest) -> Answer:
        """Answer a request."""
        if request.form.get("client_secret") not in self.secrets:
            return error_answer("invalid_client", status=401)
        return super().respond(request)


@frozen
class Moved:
    """What the provider has counted.

    Attributes:
        grants: the number of grants.
        before, inside, back: refreshes by the old system before the move, by the vault, and by the old system again.
        lost: grants that are revoked, or whose holder does not have their live token.
        seconds: how long it took.
    """

    grants: int
    before: int
    inside: int
    back: int
    lost: int
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Move, on a Postgres of its own, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale.moving", description=__doc__)
    parser.add_argument("--grants", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=4, help="processes of the old refresher; default: 4")
    parser.add_argument("--unfenced", action="store_true", help="do not delete the old client secret")
    options = parser.parse_args(arguments)
    with start_postgres(private=True) as server, tempfile.TemporaryDirectory() as folder:
        database = PostgresSchema(server.create_database("moving"))
        moved = move(database, Path(folder), options.grants, options.processes, fenced=not options.unfenced)
    print("| grants | refreshes before | in the vault | back again | lost | seconds |")
    print("| --- | --- | --- | --- | --- | --- |")
    print(f"| {moved.grants} | {moved.before} | {moved.inside} | {moved.back} | {moved.lost} | {moved.seconds:.0f} |")
    return 0


def move(database: Database, folder: Path, grants: int, processes: int, *, fenced: bool = True) -> Moved:
    """Move grants into the vault in this empty database and back; return what happened.

    Args:
        database: where the vault is.
        folder: an empty folder.
        grants: the number of grants.
        processes: the number of processes of the old refresher, two at least.
        fenced: whether the old client secret is deleted.
    """
    begun = time.monotonic()
    path, stop, forgotten = (str(folder / name) for name in ("old.db", "stop", "stop-forgotten"))
    config = database.config()
    place = config.database_url.reveal(), config.postgres_schema
    command = _command(*place, folder)
    with _serving() as (provider, url), _crowd() as started:
        old.make(path, {f"u{number}": provider.consent(f"u{number}") for number in range(grants)})
        command("init")
        crowd = [
            started(old.keep_refreshing, path, url, _OLD, part, processes, stop if part else forgotten)
            for part in range(processes)
        ]
        _until(lambda: len(provider.presented) >= grants // 2)
        command("import", "--from", "social-django", path)  # a first import, while the old refreshers work

        provider.secrets = {_NEW} if fenced else {_OLD, _NEW}  # the fence
        Path(stop).touch()
        _joined(crowd[1:])  # all but the one that was forgotten
        time.sleep(_LONGEST_REQUEST)
        command("import", "--from", "social-django", path, "--overwrite")  # what was rotated meanwhile
        before = _answered(provider)
        _joined([started(_refresh_all, *place, url, grants) for _ in range(2)])
        inside = _answered(provider) - before
        Path(forgotten).touch()
        _joined(crowd[:1])

        provider.secrets = {_OLD}  # the fence of the way back
        command("export", "--all", "--values", "--yes", "--to", "left.jsonl")
        old.bring_back(path, folder / "left.jsonl")
        Path(stop).unlink()
        parts = range(processes)
        _joined([started(old.keep_refreshing, path, url, _OLD, part, processes, stop, once=True) for part in parts])
        back = _answered(provider) - inside - before
        lost = _lost(provider, old.refresh_tokens(path))
        return Moved(grants, before, inside, back, lost, time.monotonic() - begun)


def _lost(provider: FencedProvider, held: dict[str, str]) -> int:
    live = {family.account: family for family in provider.families.values() if family.revoked_at is None}
    return sum(1 for uid, token in held.items() if uid not in live or live[uid].live != digest(provider.salt, token))


def _answered(provider: FencedProvider) -> int:
    return sum(each.outcome == ANSWERED for each in list(provider.presented))


@contextmanager
def _serving() -> Iterator[tuple[FencedProvider, str]]:
    provider = FencedProvider("moving")
    server = ScriptedProvider(provider.respond)
    try:
        yield provider, server.base_url
    finally:
        server.close()


def _command(database_url: str, schema: str, folder: Path) -> Callable[..., None]:
    """Return a function that runs `token-vault`, and raises if it fails."""
    environment = clean_environment() | {
        "DATABASE_URL": database_url,
        "ENCRYPTION_SECRET": SECRET,
        "TOKEN_VAULT_SCRYPT_LOG2_N": "14",
        "TOKEN_VAULT_POSTGRES_SCHEMA": schema,
    }

    def run(*arguments: str) -> None:
        subprocess.run(
            [*quick_program(), *arguments], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL
        )

    return run


@contextmanager
def _crowd() -> Iterator[Callable[..., Any]]:
    """Give a function that starts a process; those that still run at the end are killed."""
    crowd = []

    def started(work: Callable[..., None], *arguments: Any, **options: Any) -> Any:
        process = multiprocessing.get_context("spawn").Process(target=work, args=arguments, kwargs=options)
        process.start()
        crowd.append(process)
        return process

    try:
        yield started
    finally:
        for process in crowd:
            process.kill()
            process.join()


def _joined(crowd: Sequence[Any]) -> None:
    for process in crowd:
        process.join(1800)
        if process.exitcode != 0:
            raise RuntimeError("a process failed")


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 600
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.05)


def _refresh_all(database_url: str, schema: str, url: str, grants: int) -> None:
    """Use every account once, in an order of this process's own; all access tokens have expired."""
    config = VaultConfig(database_url, encryption_secret=SECRET, scrypt_log2_n=14, postgres_schema=schema)
    asyncio.run(_ensure_all(config, url, grants))


async def _ensure_all(config: VaultConfig, url: str, grants: int) -> None:
    refresher = OAuth2Refresher(f"{url}/token", "client", _NEW, auth_method="client_secret_post")
    limit = asyncio.Semaphore(_AT_ONCE)
    async with open_vault(config, refreshers={old.PROVIDER: refresher}, migrate=False) as vault:

        async def ensure(number: int) -> None:
            async with limit:
                await vault.ensure_access_token(Account(number % old.TENANTS, old.PROVIDER, f"u{number}"))

        numbers = sorted(range(grants), key=lambda number: hash((os.getpid(), number)))
        for at in range(0, grants, 1000):
            outcomes = await asyncio.gather(*map(ensure, numbers[at : at + 1000]), return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, Exception):
                    sys.stderr.write(f"{type(outcome).__name__} {getattr(outcome, 'reason', '')}\n")


if __name__ == "__main__":
    raise SystemExit(main())
