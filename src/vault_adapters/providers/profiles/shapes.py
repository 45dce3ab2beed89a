"""How a provider's token endpoint wants its requests and shapes its answers."""

from __future__ import annotations

from datetime import timedelta

from attrs import field, frozen

from vault_adapters.providers.endpoint import as_parameters
from vault_adapters.providers.profiles import checks
from vault_adapters.providers.profiles.checks import by, checking, refused
from vault_domain.entities.errors import InvalidInputError

GRANTS = ("refresh_token", "client_credentials", "access_token", "api_key", "none")
UNITS = {"seconds": 1.0, "milliseconds": 0.001, "minutes": 60.0, "hours": 3600.0, "days": 86_400.0}


def checked_parameters(key: str, value: object) -> dict[str, str]:
    """Check extra parameters: texts, and none that the refresher sets itself."""
    given = checks.table(checks.text)(key, value)
    try:
        return as_parameters(given)
    except InvalidInputError as error:
        problem = str(error).removeprefix("extra ")
    raise refused(key, problem)


@frozen(field_transformer=checking)
class RequestShape:
    """The request for a new access token.

    Attributes:
        grant: what the vault spends. ``refresh_token``: RFC 6749 section 6. ``client_credentials``: an API key that is
            a client id and secret (section 4.4). ``access_token``: the access token itself is exchanged (Meta).
            ``api_key``: an API key's own fields are sent (Green Invoice). ``none``: nothing, because API keys of this
            provider do not expire.
        grant_type: the value of ``grant_type``; None takes the grant's own, or sends none for ``api_key``.
        credential: the member that holds the credential; None takes ``refresh_token``.
        fields: the fields of a stored API key, and the members in which they are sent (grant ``api_key``).
        format: ``form`` (RFC 6749) or ``json``.
        scopes: whether scopes go with a refresh: ``given`` sends those that the host passed; ``stored`` sends the same,
            or else the stored ones; ``never`` sends none.
        scope_separator: the text between two scopes.
        extra: further members, whose values may hold variables.
        headers: further headers.
    """

    grant: str = field(default="refresh_token", metadata=by(checks.one_of(*GRANTS)))
    grant_type: str | None = field(default=None, metadata=by(checks.optional(checks.text)))
    credential: str | None = field(default=None, metadata=by(checks.optional(checks.member)))
    fields: dict[str, str] = field(factory=dict, metadata=by(checks.table(checks.member)))
    format: str = field(default="form", metadata=by(checks.one_of("form", "json")))
    scopes: str = field(default="given", metadata=by(checks.one_of("given", "stored", "never")))
    scope_separator: str = field(default=" ", metadata=by(checks.text))
    extra: dict[str, str] = field(factory=dict, metadata=by(checked_parameters))
    headers: dict[str, str] = field(factory=dict, metadata=by(checks.table(checks.header)))

    def __attrs_post_init__(self) -> None:
        if bool(self.fields) != (self.grant == "api_key"):
            raise refused("fields", "must be given for the grant api_key, and for no other")


@frozen(field_transformer=checking)
class AnswerShape:
    """Where an answer has its parts. A dotted name stands for a member of a nested object.

    Attributes:
        within: nested objects that may hold the tokens, tried in this order before the answer itself (Slack's
            ``authed_user``). All members below, except ``extra``, are looked up where the access token was found.
        access_token: the access token's member.
        refresh_token: the refresh token's member.
        scope: the scopes' member.
        scope_separator: the text between two scopes; white space always separates.
        lifetime: the member that holds the lifetime of the access token.
        lifetime_unit: the unit of that number.
        expires_at: a member that holds the time of expiry, in Unix time or as RFC 3339, or None.
        default_lifetime: the documented lifetime of access tokens, for answers without one.
        refresh_lifetime: the member that holds the lifetime of the refresh token, or None for the usual names.
        extra: the members to keep with the token: the name under which a host finds each, and its path from the top
            of the answer (``instance_url = "instance_url"``, ``team_id = "team.id"``).
        token_type: the member that holds the token's type.
    """

    within: tuple[str, ...] = field(default=(), metadata=by(checks.items(checks.member)))
    access_token: str = field(default="access_token", metadata=by(checks.member))
    refresh_token: str = field(default="refresh_token", metadata=by(checks.member))
    scope: str = field(default="scope", metadata=by(checks.member))
    scope_separator: str = field(default=" ", metadata=by(checks.text))
    lifetime: str = field(default="expires_in", metadata=by(checks.member))
    lifetime_unit: str = field(default="seconds", metadata=by(checks.one_of(*UNITS)))
    expires_at: str | None = field(default=None, metadata=by(checks.optional(checks.member)))
    default_lifetime: timedelta | None = field(default=None, metadata=by(checks.optional(checks.duration)))
    refresh_lifetime: str | None = field(default=None, metadata=by(checks.optional(checks.member)))
    extra: dict[str, str] = field(factory=dict, metadata=by(checks.table(checks.member)))
    token_type: str = field(default="token_type", metadata=by(checks.member))
