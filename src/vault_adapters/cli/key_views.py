"""Formats key reports for output: as JSON with stable names, and as rows and fields."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from attrs import asdict

from vault_adapters.cli.screen import Cell, Content, Screen
from vault_adapters.runtime.json_forms import iso
from vault_domain import KeyStatus, MasterKeyState, MasterKeyStatus

MASTER_KEY_COLUMNS = ("master key", "held by", "state", "data keys", "this process", "introduced")

_MEANING = {MasterKeyState.ACTIVE: "good", MasterKeyState.UNWRAP_ONLY: "warning", MasterKeyState.RETIRED: "quiet"}


def report_json(report: Any) -> dict[str, Any]:
    """Return a report as JSON; reports hold no secrets."""
    found: dict[str, Any] = asdict(report, value_serializer=_plain)
    if hasattr(report, "incomplete"):
        found["incomplete"] = report.incomplete
    return found


def status_json(status: KeyStatus) -> dict[str, Any]:
    """Return a key status as JSON."""
    return {**report_json(status), "master_key_rotation_due": status.master_key_rotation_due}


def count_fields(counts: dict[str, Any]) -> list[tuple[str, Content]]:
    """Return a report's counts as names and values, without its lists, because callers print these separately."""
    return [
        (name.replace("_", " "), _shown(value)) for name, value in counts.items() if not isinstance(value, tuple | list)
    ]


def status_fields(status: KeyStatus) -> list[tuple[str, Content]]:
    """Return the counts of a key status as names and values."""
    due = status.master_key_rotation_due
    return [
        ("active data keys", status.active),
        ("only decrypting", status.decrypt_only),
        ("destroyed", status.destroyed),
        ("set back by someone", _to_do(status.resurrected)),
        ("tokens to re-encrypt", _to_do(status.tokens_to_reencrypt)),
        ("wraps missing", _to_do(status.wraps_missing)),
        ("master key rotation", Cell("due", "warning") if due else Cell("not due", "good")),
        *([("the tenant's own master key", status.tenant_master_key)] if status.tenant_master_key else []),
        *([("it cannot be used", Cell(problem, "bad"))] if (problem := status.tenant_key_problem) else []),
    ]


def master_key_row(key: MasterKeyStatus, screen: Screen) -> list[Content]:
    """Return a master key as a row under `MASTER_KEY_COLUMNS`."""
    here = "configured" if key.is_configured else "open" if key.is_open else None
    if key.is_resurrected:
        state = Cell(f"{key.state.value}, set back by someone", "bad")
    else:
        state = Cell(key.state.value, _MEANING[key.state])
    return [key.key_id, key.uri or key.provider, state, key.data_keys, here, screen.moment(key.created_at)]


def _to_do(count: int) -> Cell:
    return Cell(str(count), "warning" if count else "quiet")


def _shown(value: Any) -> Content:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return None if value is None else str(value)


def _plain(_: object, __: object, value: Any) -> Any:
    if isinstance(value, MasterKeyState):
        return value.value
    return iso(value) if isinstance(value, datetime) else value
