"""Reads the tokens for key services from a file, each for the address of one server."""

from __future__ import annotations

import json
from pathlib import Path

from vault_domain.entities.errors import ConfigurationError, InvalidInputError
from vault_domain.entities.secret import Secret, as_secret

_MOST_BYTES = 1_048_576


class ServiceTokens:
    """Gives the token for a server; it reads the file at each call, because tokens are renewed.

    The file is a JSON object: ``{"https://vault.example:8200": {"token": "hvs...", "namespace": "acme"}}``. So a token
    is sent to its own server only, whatever address a URI names.

    Args:
        path: the file; None: there are no tokens.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    def __call__(self, address: str) -> tuple[Secret, str | None] | None:
        """Return the token and the namespace for a server; None if the file has none.

        Raises:
            ConfigurationError: see `entry`.
        """
        entry = self.entry(address)
        if entry is None or not isinstance(entry.get("token"), str):
            return None
        namespace = entry.get("namespace")
        try:
            return as_secret(str(entry["token"])), namespace if isinstance(namespace, str) else None
        except InvalidInputError:
            return None

    def entry(self, address: str) -> dict[str, object] | None:
        """Return what the file says about a server or a token of a hardware security module.

        Raises:
            ConfigurationError: the file cannot be read, or is no JSON object (code ``key_service_tokens``).
        """
        found = self._entries().get(address)
        return found if isinstance(found, dict) else None

    def _entries(self) -> dict[str, object]:
        if self._path is None:
            return {}
        try:
            with self._path.open("rb") as file:
                found = json.loads(file.read(_MOST_BYTES))
        except OSError:
            raise _unusable("cannot be read") from None
        except ValueError:
            raise _unusable("holds no JSON") from None
        if not isinstance(found, dict):
            raise _unusable("holds no JSON object")
        return found


def _unusable(why: str) -> ConfigurationError:
    return ConfigurationError(f"the file of key_service_tokens {why}", code="key_service_tokens")
