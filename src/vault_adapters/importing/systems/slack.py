"""Reads the installations that Slack Bolt keeps (slack_sdk 3): in tables, or in a folder of files.

A bot is an account of ``slack`` and a user one of ``slack-user``, with the identifiers of these profiles.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vault_adapters.importing.records import Record
from vault_adapters.importing.systems.columns import as_moment, object_in
from vault_adapters.importing.systems.tables import Row, Tables
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.imported import ImportFailure

_CLIENTS = "SELECT client_id FROM slack_bots UNION SELECT client_id FROM slack_installations ORDER BY client_id LIMIT 2"
_BOTS = "SELECT * FROM slack_bots WHERE client_id = ? ORDER BY installed_at DESC, id DESC"
_INSTALLATIONS = "SELECT * FROM slack_installations WHERE client_id = ? ORDER BY installed_at DESC, id DESC"
_COUNT = "SELECT (SELECT count(*) FROM slack_bots) + (SELECT count(*) FROM slack_installations) AS rows"
_MOST_BYTES = 64 * 1024

_TOLD = (
    *("app_id", "enterprise_id", "enterprise_name", "enterprise_url", "team_id", "team_name", "bot_id", "bot_user_id"),
    *("bot_scopes", "user_id", "user_scopes", "incoming_webhook_url", "incoming_webhook_channel"),
    *("incoming_webhook_channel_id", "incoming_webhook_configuration_url", "token_type"),
)
"""What an installation says besides its tokens and times; a `VaultInstallationStore` finds it with the access token."""

_Found = Record | ImportFailure


def count(tables: Tables) -> int:
    """Return the number of rows that `read` reads, or a little more."""
    return int(next(tables.select(_COUNT))["rows"])


def read(tables: Tables, only: str | None) -> Iterator[_Found]:
    """Yield a row for each token of an app, the latest installation first, so that it is the one that is stored.

    Args:
        tables: ``slack_bots`` and ``slack_installations``.
        only: the client id of the app; None: the tables have only one.
    """
    if only is None:
        clients = [row["client_id"] for row in tables.select(_CLIENTS)]
        if len(clients) > 1:
            raise InvalidInputError("the tables hold several apps: choose one with --only CLIENT_ID")
        only = clients[0] if clients else ""
    for row in tables.select(_BOTS, only):
        yield from _bot(row, row["id"])
    for row in tables.select(_INSTALLATIONS, only):
        yield from _user(row, row["id"])


def files_of(folder: Path) -> list[Path]:
    """Return the files of a `FileInstallationStore` that hold the latest installations.

    Args:
        folder: the store's ``base_dir``, with the client id if the store was given one.
    """
    return [*sorted(folder.glob("*-*/bot-latest")), *sorted(folder.glob("*-*/installer-?*-latest"))]


def read_files(files: list[Path]) -> Iterator[_Found]:
    """Yield a row for each token; the number of a row is the file's place in the list."""
    for number, path in enumerate(files, 1):
        values = object_in(path, _MOST_BYTES)
        if values is None:
            yield ImportFailure(number, "not_json")
        else:
            yield from (_bot if path.name == "bot-latest" else _user)(values, number)


def _bot(row: Row | Mapping[str, Any], number: int) -> Iterator[_Found]:
    workspace = _workspace(row)
    if workspace is None:
        yield ImportFailure(number, "missing_team_id")
        return
    place = {"tenant_id": workspace, "provider": "slack", "identifier": workspace}
    yield from _pair("bot", row, number, place)


def _user(row: Row | Mapping[str, Any], number: int) -> Iterator[_Found]:
    workspace, user = _workspace(row), row.get("user_id")
    if workspace is None or not user:
        yield ImportFailure(number, "missing_team_id" if workspace is None else "missing_user_id")
        return
    place = {"tenant_id": workspace, "provider": "slack-user", "identifier": f"{workspace}:{user}"}
    yield from _pair("user", row, number, place)


def _pair(whose: str, row: Row | Mapping[str, Any], number: int, place: dict[str, Any]) -> Iterator[_Found]:
    """Yield the access token and the refresh token of a bot or a user, as far as there are any."""
    installed = as_moment(row.get("installed_at"))
    place |= {"created_at": installed, "updated_at": installed}
    try:
        told = json.dumps(_told(row, installed))
    except (TypeError, ValueError, RecursionError):  # SQLite keeps bytes in a column for texts
        yield ImportFailure(number, "not_json")
        return
    if token := row.get(f"{whose}_token"):
        values = {
            "kind": "access_token",
            "value": token,
            "expires_at": as_moment(row.get(f"{whose}_token_expires_at")),
            "scopes": _scopes(row.get(f"{whose}_scopes")),
            "extra": {"installation": told},
        }
        yield Record(number, place | values)
    if token := row.get(f"{whose}_refresh_token"):
        yield Record(number, place | {"kind": "refresh_token", "value": token})


def _told(row: Row | Mapping[str, Any], installed: Any) -> dict[str, Any]:
    told = {name: row[name] for name in _TOLD if row.get(name)}
    told |= {name: _scopes(told[name]) for name in ("bot_scopes", "user_scopes") if name in told}
    if isinstance(installed, str):
        told["installed_at"] = installed
    return {"enterprise_id": None, **told, "is_enterprise_install": bool(row.get("is_enterprise_install"))}


def _scopes(value: Any) -> Any:
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _workspace(row: Row | Mapping[str, Any]) -> str | None:
    """Return the team, or the enterprise for an app that is installed for a whole organization."""
    team = None if row.get("is_enterprise_install") else row.get("team_id")
    return team or row.get("enterprise_id") or None
