"""Writes the output of `token-vault worker`: lines for people, or a JSON object per line for a log collector."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from vault_adapters.cli.exit_codes import ExitCode
from vault_adapters.cli.failures import described
from vault_adapters.runtime.json_forms import iso


class WorkerLog:
    """Writes the worker's own lines on standard output, and the library's warnings and errors on standard error.

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
        if self._as_json and not logging.root.handlers:
            # Other libraries and the host's refreshers log too. Python would write their warnings as plain text.
            logging.root.addHandler(handler)
            logging.captureWarnings(True)
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
            line = _json_line(now, "INFO", event=event, message=message, **facts)
        elif sys.stdout.isatty():
            line = f"{datetime.now():%H:%M:%S}  {message}"
        else:
            line = f"{iso(now)} {message}"
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def failed(self, error: Exception) -> ExitCode:
        """Write on standard error why the worker ends, as a JSON object; return the exit code.

        Raises:
            Exception: the error, if lines are for people; `failures.report` then shows it.
        """
        if not self._as_json:
            raise error
        message, code = described(error)
        line = _json_line(datetime.now(UTC), "ERROR", event="failed", message=message, exit_code=int(code))
        sys.stderr.write(line + "\n")
        return code


def _json_line(time: datetime, level: str, **members: Any) -> str:
    return json.dumps({"time": iso(time), "level": level, **members})


class _JsonLines(logging.Formatter):
    """Formats a record without its traceback, which may hold secrets."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC)
        return _json_line(time, record.levelname, logger=record.name, message=record.getMessage())
