"""Opens the configured vault for one command."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TypeVar

from vault_adapters.composition import open_vault
from vault_adapters.configuration.config import VaultConfig
from vault_domain import InvalidInputError, TokenRefresher, TokenVault

T = TypeVar("T")

ACTOR = "cli"
"""The actor in audit events of commands."""


_UNSHOWN = {"fault_log", "listening"}
"""Modules whose warnings are not shown.

`fault_log` warns of outages. `listening` warns that the read cache keeps a token for no longer than a second. A command
needs no cache.
"""


def with_vault(
    work: Callable[[TokenVault], Awaitable[T]],
    config: VaultConfig,
    *,
    migrate: bool = False,
    refreshers: Mapping[str, TokenRefresher] | None = None,
    logs: logging.Handler | None = None,
) -> T:
    """Open a vault, run ``work``, close the vault, and return the result of ``work``.

    Args:
        work: function to call with the vault.
        config: configuration of the vault.
        migrate: whether to create or migrate the schema. Only `init` and `demo` do so, because an operator who
            lists tokens with a newer release must not change the database of running services.
        refreshers: the refreshers, by provider.
        logs: handles the library's log records; None shows only the library's warnings.
    """

    async def opened() -> T:
        async with open_vault(config, migrate=migrate, refreshers=refreshers) as vault:
            return await work(vault.with_actor(ACTOR))

    show_logs(logs)
    return asyncio.run(opened())


async def gather(items: AsyncIterator[T], limit: int | None = None) -> list[T]:
    """Return the items of an iterator, at most ``limit`` of them."""
    if limit is not None and limit < 1:
        raise InvalidInputError("limit must be at least 1")
    found: list[T] = []
    async for item in items:
        found.append(item)
        if len(found) == limit:  # asking for the next item may read another page
            break
    return found


def show_logs(handler: logging.Handler | None = None) -> None:
    """Pass the library's log records to a handler; None shows only the library's warnings."""
    for name in ("vault_domain", "vault_adapters"):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.handlers = [handler or _warnings()]


def _warnings() -> logging.Handler:
    """Return a handler that shows the library's warnings as messages of this program.

    The library's errors and its warnings of outages are not shown, because a command that fails reports its error in
    one line of its own.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("token-vault: %(message)s"))
    handler.addFilter(lambda record: record.levelno == logging.WARNING and record.module not in _UNSHOWN)
    return handler
