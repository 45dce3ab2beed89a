"""Validators of the fields of a configuration."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from attrs import Attribute

from vault_domain.entities.errors import ConfigurationError
from vault_domain.entities.text import plain_text

ZERO, DAY = timedelta(0), timedelta(days=1)


def duration(least: timedelta, most: timedelta) -> Callable[[Any, Attribute[Any], Any], None]:
    """Accept a duration between two, both included."""

    def validate(_: Any, attribute: Attribute[Any], value: Any) -> None:
        if not isinstance(value, timedelta) or not least <= value <= most:
            limits = f"{least.total_seconds():g} to {most.total_seconds():g} seconds"
            raise ConfigurationError(f"{attribute.name} must be a timedelta from {limits}")

    return validate


def whole(least: int, most: int) -> Callable[[Any, Attribute[Any], Any], None]:
    """Accept a whole number between two, both included."""

    def validate(_: Any, attribute: Attribute[Any], value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ConfigurationError(f"{attribute.name} must be a whole number from {least} to {most}")

    return validate


def as_path(value: Path | str | None, name: str) -> Path | None:
    """Return a path, or None.

    Raises:
        ConfigurationError: the value of the field ``name`` is no path.
    """
    if value is None or isinstance(value, Path):
        return value
    text = plain_text(value)
    if not text or "\0" in text:
        raise ConfigurationError(f"{name} must be a path")
    return Path(text)
