"""The module from which the views, tasks, commands and URLs of a Django project import the vault."""

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import close_old_connections
from django.dispatch import Signal

from vault_adapters import AuditAction, AuditEvent, VaultConfig, open_sync_vault
from vault_adapters.connect import Connector
from vault_adapters.providers import refresher

LIBPQ = ("sslmode", "sslrootcert", "sslcert", "sslkey", "options", "target_session_attrs")

reconnect_required = Signal()  # gives its receivers the argument `account`


def database_url(database: Mapping[str, Any]) -> str:
    """Return the URL of an entry of Django's ``DATABASES``: the vault keeps its tables beside Django's."""
    if database["ENGINE"].endswith("sqlite3"):
        return f"sqlite:///{database['NAME']}"
    user, password, name = (quote(str(database.get(part) or ""), safe="") for part in ("USER", "PASSWORD", "NAME"))
    given = database.get("OPTIONS") or {}
    places = {"host": database.get("HOST"), "port": database.get("PORT")} | {part: given.get(part) for part in LIBPQ}
    query = urlencode({part: value for part, value in places.items() if value}, quote_via=quote)
    return f"postgresql://{user}:{password}@/{name}?{query}"


@sync_to_async
def on_event(event: AuditEvent) -> None:
    """Send `reconnect_required` to the project's own code; ``sync_to_async`` lets this code use Django's database."""
    if event.action is AuditAction.REAUTHORIZATION_REQUIRED:
        close_old_connections()
        reconnect_required.send(sender=None, account=event.account)


# TOKEN_VAULT_DATABASE_URL in the environment takes precedence; the tests set it to a database in memory.
variables = {"TOKEN_VAULT_DATABASE_URL": database_url(settings.DATABASES["default"]), **os.environ}
refreshers = {"google": refresher("google", os.environ["GOOGLE_CLIENT_ID"], os.environ["GOOGLE_CLIENT_SECRET"])}

vault = open_sync_vault(VaultConfig.from_env(variables), refreshers=refreshers, on_event=on_event)
connector = Connector(vault, refreshers, redirect_uri=os.environ["REDIRECT_URI"])
