"""Checks the arguments of `open_vault`, so that a secret in the wrong place does not end up in a traceback."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from vault_adapters.configuration.config import VaultConfig
from vault_domain.entities.errors import ConfigurationError, InvalidInputError, VaultError
from vault_domain.entities.text import INTERNAL_PROVIDERS


def misuse(
    config: object, refreshers: object = None, pool: object = None, clock: object = None, on_event: object = None
) -> VaultError | None:
    """Return the error for an argument of a wrong type, or None.

    This function raises nothing, because a traceback would show its frame, which holds the arguments.
    """
    if not isinstance(config, VaultConfig):
        return InvalidInputError("config must be a VaultConfig")
    if refreshers is not None and not _are_refreshers(refreshers):
        return InvalidInputError(
            "refreshers must map providers' names to refreshers, with the attributes rotation and spends and the method"
            " refresh"
        )
    if isinstance(refreshers, Mapping) and not INTERNAL_PROVIDERS.isdisjoint(refreshers):
        return InvalidInputError(
            f"no provider may be named {', '.join(sorted(INTERNAL_PROVIDERS))}: the vault uses them"
        )
    if pool is not None and not hasattr(pool, "getconn"):
        return ConfigurationError("pool must be a psycopg_pool.AsyncConnectionPool", code="host_pool")
    if clock is not None and not hasattr(clock, "now"):
        return InvalidInputError("clock must have the method now()")
    if on_event is not None and not callable(on_event):
        return InvalidInputError("on_event must be a function")
    return None


def wrong_event_loop() -> VaultError | None:
    """Return the error if no event loop of asyncio runs, as under trio, or None."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return ConfigurationError(
            "the vault runs on asyncio only: under trio or another event loop, use open_sync_vault in a worker thread",
            code="event_loop",
        )
    return None


def _are_refreshers(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and all(hasattr(refresher, needed) for needed in ("rotation", "spends", "refresh"))
        for name, refresher in value.items()
    )
