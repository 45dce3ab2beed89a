"""`ApiHeader`: the header in which API requests carry an access token or an API key."""

from __future__ import annotations

import base64

from attrs import frozen

from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.scrub import scrubbed
from vault_domain.entities.secret import Secret


@frozen
class ApiHeader:
    """The header in which API requests carry an access token or an API key.

    Attributes:
        name: the header's name.
        scheme: the text before the token, or ``""`` for none.
        fields: None: the header carries the value itself. The names of two fields of an API key: the header carries
            these as user and password, as in Basic authentication (RFC 7617).
    """

    name: str = "Authorization"
    scheme: str = "Bearer"
    fields: tuple[str, str] | None = None

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
