"""Starting: importing the package, opening a vault, and one command, each in a new process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from attrs import frozen
from tests.benchmarks.bench import Bench, Case
from tests.benchmarks.findings import Finding, Goal
from tests.benchmarks.timing import Contestant, Series, Spread

from vault_adapters import generate_encryption_secret

_NAMES = "from vault_adapters import TokenKey, TokenKind, VaultConfig, open_vault"

_IMPORT = "from vault_adapters import Account, TokenSet, VaultConfig, "

_OPEN = f"""
import asyncio, resource, time
{_NAMES}

async def main():
    begun = time.process_time()
    async with open_vault(VaultConfig.from_env()) as vault:
        spent = time.process_time() - begun
        await vault.get_token(TokenKey("acme", "google", TokenKind.ACCESS_TOKEN))
    print(spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

asyncio.run(main())
"""

_STORE = f"""
import asyncio
{_NAMES}

async def main():
    async with open_vault(VaultConfig.from_env()) as vault:
        await vault.store_token(TokenKey("acme", "google", TokenKind.API_KEY), "value")

asyncio.run(main())
"""

_BARE = """
from contextlib import suppress
from importlib import import_module

for name in {libraries}:
    with suppress(ImportError):  # modules that another module has made have no file of their own
        import_module(name)
"""

_COMMAND = """
import sys
from vault_adapters.cli.__main__ import program

sys.argv[1:] = ["get", "acme", "google", "api_key"]
program()
"""

_MODULES = f"{_OPEN}import sys; print(*sys.modules)"


@frozen
class _Ran:
    """What a program has used: seconds of processor, and what it printed."""

    seconds: float
    output: str


async def _run(bench: Bench) -> None:
    with _environ() as environ:
        _program(_STORE, environ)
        modules = _program(_MODULES, environ).output.splitlines()[-1].split()
        libraries = [name for name in modules if not name.startswith("vault_")]
        programs = {
            "an interpreter that imports the libraries": _BARE.format(libraries=libraries),
            "importing `vault_adapters`": "import vault_adapters",
            "importing `open_vault`": _IMPORT + "open_vault",
            "importing `open_sync_vault`": _IMPORT + "open_sync_vault",
            "importing all that opening and one `get_token` load": _BARE.format(libraries=modules),
            "opening SQLite, then one `get_token`": _OPEN,
            "`token-vault get`": _COMMAND,
        }
        ran: dict[str, list[_Ran]] = {name: [] for name in programs}
        for _ in range(bench.amount(30, 1)):
            for name, program in programs.items():
                ran[name].append(_program(program, environ))
    await _note(bench, ran)


async def _note(bench: Bench, ran: dict[str, list[_Ran]]) -> None:
    series = {name: Series(tuple(each.seconds for each in found)) for name, found in ran.items()}
    floor, *imports, opening, command = (Contestant(name, _nothing) for name in ran)
    for subject in imports:
        await bench.ratio(subject, floor, series, Goal(1.2))
    printed = [[float(number) for number in each.output.split()] for each in ran[opening.name]]
    for subject, values, unit, limit in (
        (floor.name, series[floor.name].seconds, "s of processor", None),
        (
            "opening SQLite with a generated secret, after importing `open_vault`",
            [found[0] for found in printed],
            "s of processor",
            0.15,
        ),
        ("import, opening and one `get_token`", series[opening.name].seconds, "s of processor", None),
        ("peak of memory of that process", [found[1] for found in printed], "MB", 80),
        (command.name, series[command.name].seconds, "s of processor", 0.35),
    ):
        goal = None if limit is None else Goal(limit)
        bench.findings.append(Finding(bench.case, subject, None, Spread.of(values), unit, goal))
        bench.say(f"  {subject}: {Spread.of(values).middle:.3f} {unit}")


async def _nothing() -> int:
    return 1


@contextmanager
def _environ() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        secret = generate_encryption_secret()
        yield kept | {"DATABASE_URL": f"sqlite:///{folder}/vault.db", "ENCRYPTION_SECRET": secret}


def _program(program: str, environ: dict[str, str]) -> _Ran:
    """Run a program of Python, and return the time that it spent on the processor, as the kernel counts it."""
    process = subprocess.Popen([sys.executable, "-c", program], env=environ, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if process.returncode:
        raise RuntimeError(f"a program ended with {process.returncode}")
    return _Ran(used.ru_utime + used.ru_stime, output)


STARTING = Case(
    "starting",
    "Start",
    "Each program is a new process, and its time is what the kernel says that it spent on the processor, the start of "
    "the interpreter included. The libraries are those that opening a SQLite vault loads: attrs, anyio, aiosqlite, "
    "cryptography and modules of the standard library. The source is compiled already, as pip does. The imports are "
    "those of the README. A vault for blocking code opens at its first call, and loads what opens it then. What the "
    "package adds to the libraries is, by about the same part, its modules and the making of its frozen classes; about "
    "50 of these are needed for one read, and fewer would be classes that can be changed or that do not compare.",
    _run,
)
