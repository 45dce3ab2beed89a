"""`ApiHeader`: how API requests carry an access token or an API key, and which answers reject it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from attrs import frozen

from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.scrub import scrubbed
from vault_domain.entities.secret import Secret

_LARGEST = 64 * 1024
"""Largest size in bytes of an answer that is read for an error's code; errors are short."""


@frozen
class ApiHeader:
    """The header in which API requests carry an access token or an API key.

    Attributes:
        name: the header's name.
        scheme: the text before the token, or ``""`` for none.
        fields: None: the header carries the value itself. The names of two fields of an API key: the header carries
            these as user and password, as in Basic authentication (RFC 7617).
        error: the member of an API's answer that holds the code of an error; dots join the names of nested members.
        rejected: the codes that mean a dead token, whatever the answer's status is; empty: the API answers 401.
    """

    name: str = "Authorization"
    scheme: str = "Bearer"
    fields: tuple[str, str] | None = None
    error: str = "error"
    rejected: tuple[str, ...] = ()

    def may_reject(self, status: int, content_type: str | None, length: str | None) -> bool:
        """Return whether the body of an answer has to be read to know whether it rejects the token.

        Args:
            status: the answer's status; 401 rejects the token anyway.
            content_type: the header ``Content-Type``, or None; only JSON is read.
            length: the header ``Content-Length``, or None; an answer that is longer than an error is not read.
        """
        is_json = any(kind in (content_type or "").lower() for kind in ("json", "javascript"))
        is_short = length is None or (length.isdecimal() and len(length) < 10 and int(length) <= _LARGEST)
        return bool(self.rejected) and status != 401 and status < 500 and is_json and is_short

    def rejects(self, body: bytes) -> bool:
        """Return whether an answer's body has a code that means a dead token."""
        if not self.rejected or len(body) > _LARGEST:
            return False
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            return False
        for name in self.error.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        return isinstance(found, (str, int)) and str(found) in self.rejected

    @scrubbed
    def credentials_of(self, value: Secret) -> Secret | None:
        """Return what follows the scheme; None if the value lacks a field."""
        if self.fields is None:
            return value
        try:
            fields = value.reveal_fields()
        except InvalidInputError:
            return None
        user, password = (fields.get(name, "") for name in self.fields)
        is_usable = bool(user and password) and ":" not in user
        return Secret(base64.b64encode(f"{user}:{password}".encode()).decode()) if is_usable else None

    @scrubbed
    def over(self, credentials: Secret) -> str:
        """Return the header's value with these credentials."""
        return f"{self.scheme} {credentials.reveal()}" if self.scheme else credentials.reveal()
