"""Runs `token-vault` in forks of a process that has already imported it.

This module is a script, so the first entry of `sys.path` is this folder. Each run replaces this entry with its own
folder, because the program must not import modules of the tests.
"""

import os
import sys
from importlib import import_module
from pathlib import Path

import vault_adapters.cli.__main__
from vault_adapters.cli.__main__ import main
from vault_adapters.cli.application import build

# Modules that a command imports only when it needs them; `build()` names the modules of all commands.
_LATER = (
    *("aiosqlite", "anyio._backends._asyncio", "cyclopts.help", "docstring_parser", "psycopg_pool"),
    *("rich.console", "rich.markdown", "rich.progress", "rich.table"),
    *("vault_adapters.cli.plain", "vault_adapters.stores.postgres.store"),
)


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[3])
    from tests.support.warm_server import end_without_clearing, serve

    application = build()
    for name in application:
        application[name]  # loads the module of a command
    for module in _LATER:
        import_module(module)
    serve(sys.argv[1], vault_adapters.cli.__main__.__file__)
    sys.path[0] = os.getcwd()  # as `python -m` has it
    end_without_clearing(main())
