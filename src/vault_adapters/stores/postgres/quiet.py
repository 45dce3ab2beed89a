"""Keeps psycopg's pool from logging each failed attempt to connect, several times per second of an outage."""

import logging

POOL_NAME = "token-vault"


class _OncePerOutage(logging.Filter):
    """Drops the lines about attempts of the vault's own pool; the vault logs that its database fails, and why."""

    def filter(self, record: logging.LogRecord) -> bool:
        is_ours = isinstance(record.args, tuple) and record.args[:1] == (POOL_NAME,)
        return not is_ours or "connect" not in str(record.msg)


_FILTER = _OncePerOutage()


def quieten_pool() -> None:
    """Filter the pool's log; a repeated call changes nothing, and pools of other names are not concerned."""
    logging.getLogger("psycopg.pool").addFilter(_FILTER)
