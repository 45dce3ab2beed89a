"""A clock of the machine that a test can set, for vaults on SQLite: they go by the machine's clock."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from vault_adapters.stores.sqlite import database


@contextmanager
def machine_clock(now: Callable[[], datetime]) -> Iterator[None]:
    """Let the vaults that this process opens meanwhile take `now` for the machine's clock.

    The `clock` of `open_vault` is something else: with it, a vault does not compare the machine's clock with the time
    since the machine's start.
    """
    usual = database._utc_now
    database._utc_now = now
    try:
        yield
    finally:
        database._utc_now = usual
