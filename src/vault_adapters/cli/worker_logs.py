"""Writes the output of `token-vault worker`: lines for people, or a JSON object per line for a log collector."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from vault_adapters.runtime.json_forms import iso


class WorkerLog:
    """Writes the worker's own lines on standard output, and the library's log on standard error.

    Args:
        as_json: write JSON objects with the members ``time``, ``level``, ``event`` or ``logger``, and ``message``.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def handler(self) -> logging.Handler:
        """Return a handler for the library's warnings and errors."""
        handler = logging.StreamHandler(sys.stderr)
        handler.setLevel(logging.WARNING)
        handler.setFormatter(_JsonLines() if self._as_json else logging.Formatter("token-vault: %(message)s"))
        return handler

    def say(self, event: str, message: str, **facts: Any) -> None:
        """Write a line about an event.

        Args:
            event: the name of the event.
            message: the line for people.
            facts: further members of the JSON object.
        """
        now = datetime.now(UTC)
        if self._as_json:
            line = json.dumps({"time": iso(now), "level": "INFO", "event": event, "message": message, **facts})
        elif sys.stdout.isatty():
            line = f"{datetime.now():%H:%M:%S}  {message}"
        else:
            line = f"{iso(now)} {message}"
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


class _JsonLines(logging.Formatter):
    """Formats a record without its traceback, which may hold secrets."""

    def format(self, record: logging.LogRecord) -> str:
        time = iso(datetime.fromtimestamp(record.created, UTC))
        return json.dumps(
            {"time": time, "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        )
