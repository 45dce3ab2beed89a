"""Facts of a profile: the form of requests to the token endpoint, and of its answers."""

from __future__ import annotations

from datetime import timedelta

from attrs import Factory, field, frozen

from vault_adapters.providers.endpoint import as_parameters
from vault_adapters.providers.profiles import checks
from vault_adapters.providers.profiles.checks import by, checking, refused
from vault_adapters.providers.profiles.templates import url
from vault_domain.entities.errors import InvalidInputError

GRANTS = ("refresh_token", "client_credentials", "access_token", "api_key", "none")
UNITS = {"seconds": 1.0, "milliseconds": 0.001, "minutes": 60.0, "hours": 3600.0, "days": 86_400.0}


def _usual_scopes(shape: RequestShape) -> str:
    return "never" if shape.is_of_user else "given"


def checked_parameters(key: str, value: object) -> dict[str, str]:
    """Check that extra parameters are texts, and that the refresher sets none of them itself."""
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
        grant: what the vault sends for a new access token. ``refresh_token``: a refresh token (RFC 6749 section 6).
            ``client_credentials``: an API key that is a client id and secret (RFC 6749 section 4.4).
            ``access_token``: the stored access token, which the provider exchanges (Meta). ``api_key``: the fields of
            an API key (GreenInvoice). ``none``: nothing, because API keys of this provider do not expire.
        grant_type: the value of the member ``grant_type``. None: the grants ``refresh_token`` and
            ``client_credentials`` send their own name, and other grants send no ``grant_type``.
        credential: the member that holds the refresh token or access token; None: ``refresh_token``.
        fields: maps each field of a stored API key to the member in which the field is sent (grant ``api_key``).
        format: the format of the body: ``form`` (RFC 6749) or ``json``.
        url: where the request is sent if that is not ``token_url``, or None.
        method: ``post``, or ``get`` (Instagram): a GET whose query holds the members, without the client's id and
            secret.
        scopes: which scopes a request sends. ``never`` (the default of the grants ``refresh_token`` and
            ``access_token``): none. ``stored``: those of the stored access token, for providers that want a scope.
            ``given`` (the default of API keys): those that the host passed to `refresher`; with the two grants that a
            user has given, none, so that a refresh never asks for more than the user has granted.
        scope_separator: the text between two scopes.
        extra: further members; their values may hold the profile's variables in braces.
        headers: further headers.
    """

    grant: str = field(default="refresh_token", metadata=by(checks.one_of(*GRANTS)))
    grant_type: str | None = field(default=None, metadata=by(checks.optional(checks.text)))
    credential: str | None = field(default=None, metadata=by(checks.optional(checks.member)))
    fields: dict[str, str] = field(factory=dict, metadata=by(checks.table(checks.member)))
    format: str = field(default="form", metadata=by(checks.one_of("form", "json")))
    url: str | None = field(default=None, metadata=by(checks.optional(url)))
    method: str = field(default="post", metadata=by(checks.one_of("post", "get")))
    scopes: str = field(
        default=Factory(_usual_scopes, takes_self=True), metadata=by(checks.one_of("given", "stored", "never"))
    )
    scope_separator: str = field(default=" ", metadata=by(checks.text))
    extra: dict[str, str] = field(factory=dict, metadata=by(checked_parameters))
    headers: dict[str, str] = field(factory=dict, metadata=by(checks.table(checks.header)))

    def __attrs_post_init__(self) -> None:
        if bool(self.fields) != (self.grant == "api_key"):
            raise refused("fields", "must be given for the grant api_key, and for no other grant")
        if (self.method == "get" or self.url is not None) and self.grant != "access_token":
            raise refused("method", "get, and a url of its own, are for the grant access_token only")

    @property
    def is_of_user(self) -> bool:
        """Whether the request presents what a user has granted; else, it presents an API key."""
        return self.grant in ("refresh_token", "access_token")


@frozen(field_transformer=checking)
class LongLived:
    """One more exchange when an account is connected, of its access token for one that lasts longer (Instagram).

    It is a GET whose query holds the access token and the client secret.

    Attributes:
        url: the endpoint; it may hold the profile's variables in braces.
        grant_type: the value of the member ``grant_type``.
        credential: the member that holds the access token.
        secret: the member that holds the client secret.
    """

    url: str = field(metadata=by(url))
    grant_type: str = field(metadata=by(checks.text))
    credential: str = field(default="access_token", metadata=by(checks.member))
    secret: str = field(default="client_secret", metadata=by(checks.member))


@frozen(field_transformer=checking)
class AnswerShape:
    """Where the parts of a token endpoint's answer are. A dotted name stands for a member of a nested object.

    Attributes:
        within: nested objects that may hold the tokens (Slack's ``authed_user``). The first one that holds an access
            token is read. If none does, the answer is read itself; but with `also`, the answer to the exchange of a
            code then has no token for this profile. All members named below, except those of `extra`, are
            looked up there.
        access_token: the member that holds the access token.
        refresh_token: the member that holds the refresh token.
        scope: the member that holds the scopes.
        scope_separator: the text between two scopes; white space separates scopes too.
        lifetime: the member that holds the lifetime of the access token.
        lifetime_unit: the unit of that number.
        expires_at: the member that holds the access token's expiry, as Unix time (in seconds or milliseconds) or as a
            text of RFC 3339. None: ``expires_at``, as Unix time in seconds.
        default_lifetime: the documented lifetime of access tokens, for answers that state no expiry. When an account is
            connected, it counts only beside a refresh token.
        refresh_lifetime: the member that holds the lifetime of the refresh token in seconds. None: the first
            usable one of ``refresh_token_expires_in``, ``refresh_expires_in`` and ``x_refresh_token_expires_in``.
        extra: the members to keep with the access token. It maps the name under which a host finds a member to the
            member's path from the top of the answer (``instance_url = "instance_url"``, ``team_id = "team.id"``).
        token_type: the member that holds the token's type.
        also: the names of the profiles whose tokens the answer to the exchange of a code may hold as well (Slack's user
            beside the bot). A `Connector` that has refreshers of these, for the same client, stores them too.
    """

    within: tuple[str, ...] = field(default=(), metadata=by(checks.items(checks.member)))
    also: tuple[str, ...] = field(default=(), metadata=by(checks.items(checks.name)))
    access_token: str = field(default="access_token", metadata=by(checks.member))
    refresh_token: str = field(default="refresh_token", metadata=by(checks.member))
    scope: str = field(default="scope", metadata=by(checks.member))
    scope_separator: str = field(default=" ", metadata=by(checks.text))
    lifetime: str = field(default="expires_in", metadata=by(checks.member))
    lifetime_unit: str = field(default="seconds", metadata=by(checks.one_of(*UNITS)))
    expires_at: str | None = field(default=None, metadata=by(checks.optional(checks.member)))
    default_lifetime: timedelta | None = field(default=None, metadata=by(checks.optional(checks.duration)))
    refresh_lifetime: str | None = field(default=None, metadata=by(checks.optional(checks.member)))
    extra: dict[str, str] = field(factory=dict, metadata=by(checks.table(checks.path)))
    token_type: str = field(default="token_type", metadata=by(checks.member))
