"""Keeps psycopg's pool from logging each failed attempt to connect, and each connection that an outage has ended."""

import logging

from vault_adapters.stores.postgres.own_connection import OwnConnection

POOL_NAME = "token-vault"


class _OncePerOutage(logging.Filter):
    """Drops the lines of the vault's own pool about failed and lost connections; the vault logs each fault once."""

    def filter(self, record: logging.LogRecord) -> bool:
        subject = record.args[0] if isinstance(record.args, tuple) and record.args else None
        message = str(record.msg)
        is_attempt = subject == POOL_NAME and "connect" in message
        return not is_attempt and not (isinstance(subject, OwnConnection) and message.startswith("discarding"))


_FILTER = _OncePerOutage()


def quieten_pool() -> None:
    """Filter the pool's log; a repeated call changes nothing, and the lines of other pools are kept."""
    logging.getLogger("psycopg.pool").addFilter(_FILTER)
