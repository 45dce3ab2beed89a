"""Facts of a profile: limits, what errors mean, how users connect, and what refreshes and revocations do to tokens."""

from __future__ import annotations

import re
from datetime import timedelta

from attrs import field, frozen

from vault_adapters.providers.profiles import checks
from vault_adapters.providers.profiles.checks import by, checking, refused
from vault_adapters.providers.profiles.shapes import checked_parameters
from vault_adapters.providers.profiles.templates import url
from vault_domain.entities.api_header import ApiHeader
from vault_domain.entities.request_limit import RequestLimit
from vault_domain.entities.rotation_policy import RevocationScope, Rotation

MEANINGS = ("grant_dead", "client_refused", "user_needed", "not_now", "restricted", "unknown")
# A provider's own error code: it is compared with answers and never stored. A number is compared as its digits.
_code = checks.matching(r"[\x21-\x7e][\x20-\x7e]{0,127}", "must be a printable ASCII text of 1 to 128 characters")

_scheme = checks.matching(r"[A-Za-z0-9-]{0,32}", "must be at most 32 letters, digits and hyphens")


def _scope(key: str, value: object) -> RevocationScope:
    return RevocationScope(checks.one_of(*RevocationScope)(key, value))


def _search(key: str, value: object) -> re.Pattern[str]:
    return re.compile(checks.pattern(key, value).pattern, re.IGNORECASE)


@frozen(field_transformer=checking)
class ErrorRule:
    """What one of a provider's errors means. An answer fits if it has the code, the status and the message of the rule.

    A part that the rule leaves out is not compared. The body of an answer is read only if the status is 2xx, or 4xx
    except 429. Of other answers, only the status is compared. A rule must not have the status 408 or 3xx, because 408
    is always an unknown outcome, and a redirect is always a mistake of the configuration.

    Attributes:
        means: ``grant_dead``: the credential is invalid, so the user must connect again. ``client_refused``: the
            client id or secret is wrong, and no grant is at fault. If an account's API key consists of the client id
            and secret, that API key is condemned. ``user_needed``: no refresh succeeds until the user acts at the
            provider; the credential is condemned, as with ``grant_dead``. ``not_now``: the provider did nothing, so the
            refresh is tried again later. ``restricted``: the provider refuses for a while, for example because of the
            address or the hour; the credential stays valid. ``unknown``: the provider may have consumed the
            credential.
        code: the error's exact code; a number as its digits.
        status: the HTTP status.
        message: a regular expression that is searched in the first 4096 characters of the error's message, without
            regard to case. The message is neither stored nor logged.
    """

    means: str = field(metadata=by(checks.one_of(*MEANINGS)))
    code: str | None = field(default=None, metadata=by(checks.optional(_code)))
    status: int | None = field(default=None, metadata=by(checks.optional(checks.whole(200, 599))))
    message: re.Pattern[str] | None = field(default=None, metadata=by(checks.optional(_search)))

    def __attrs_post_init__(self) -> None:
        if self.code is None and self.status is None and self.message is None:
            raise refused("means", "needs a code, a status or a message to compare")
        if self.status is None:
            return
        if self.status == 408 or 300 <= self.status < 400:
            raise refused("status", "no rule applies to 408 and to redirects")
        has_text = self.code is not None or self.message is not None
        if self.status < 300 and not has_text:
            raise refused("status", "a status below 300 needs a code or a message too")
        if (self.status == 429 or self.status >= 500) and has_text:
            raise refused("status", "the bodies of 429 and 5xx are not read, so leave out code and message")

    def fits(self, code: str | None, status: int, message: str | None) -> bool:
        """Return whether an answer fits the rule; None stands for a part that the answer does not have."""
        return (
            self.code in (None, code)
            and self.status in (None, status)
            and (self.message is None or (message is not None and bool(self.message.search(message))))
        )


@frozen(field_transformer=checking)
class ErrorMap:
    """Which errors a provider sends. The first rule that fits decides; if none fits, the OAuth error code decides.

    Attributes:
        code: the member of the answer that holds the error's code.
        message: the member of the answer that holds the error's message.
        rules: the meanings of the provider's own errors.
    """

    code: str = field(default="error", metadata=by(checks.member))
    message: str = field(default="error_description", metadata=by(checks.member))
    rules: tuple[ErrorRule, ...] = field(default=(), metadata=by(checks.items(checks.section(ErrorRule))))


@frozen(field_transformer=checking)
class ApiFacts:
    """How API requests carry an access token or an API key.

    Attributes:
        header: the header's name.
        scheme: the text before the token; empty for none.
        fields: the names of two fields of an API key that the header carries as user and password (RFC 7617), with the
            scheme ``Basic``; empty: the header carries the value itself.
        error: the member of an API's answer that holds the code of an error, such as ``error.code``.
        rejected: the codes that mean a dead token although the answer's status is not 401; a number as its digits.
    """

    header: str = field(default="Authorization", metadata=by(checks.header_name))
    scheme: str = field(default="Bearer", metadata=by(_scheme))
    fields: tuple[str, ...] = field(default=(), metadata=by(checks.items(checks.member)))
    error: str = field(default="error", metadata=by(checks.member))
    rejected: tuple[str, ...] = field(default=(), metadata=by(checks.items(_code)))

    def __attrs_post_init__(self) -> None:
        if len(self.fields) not in (0, 2):
            raise refused("fields", "must be the names of two fields, for user and password, or be left out")

    @property
    def value(self) -> ApiHeader:
        """The header for API requests."""
        fields = (self.fields[0], self.fields[1]) if self.fields else None
        return ApiHeader(self.header, self.scheme, fields, self.error, self.rejected)


@frozen(field_transformer=checking)
class RotationFacts:
    """What a refresh does to the tokens, and when a refresh token ends.

    Attributes:
        kind: the rotation policy. ``strict``: a refresh token works once. ``grace``: a refresh token works for a while
            after its first use. ``non_rotating``: a refresh does not replace the refresh token.
            ``none``: the provider gives no refresh tokens; if it does nevertheless, they are treated as strict.
        grace: the time for which a used refresh token still works; for the kind ``grace`` only.
        old_token_dies: whether a refresh ends the old access token at once.
        idle: the time after which a refresh token lapses if nobody uses it, or None.
        absolute: the longest life of a grant or a refresh token, however often it is used, or None. If it is
            unverified, it is not stored with the refresh token, because a stored lapse is final.
    """

    kind: str = field(default="strict", metadata=by(checks.one_of("strict", "grace", "non_rotating", "none")))
    grace: timedelta | None = field(default=None, metadata=by(checks.optional(checks.duration)))
    old_token_dies: bool = field(default=False, metadata=by(checks.flag))
    idle: timedelta | None = field(default=None, metadata=by(checks.optional(checks.duration)))
    absolute: timedelta | None = field(default=None, metadata=by(checks.optional(checks.duration)))

    def __attrs_post_init__(self) -> None:
        if (self.grace is not None) != (self.kind == "grace"):
            raise refused("grace", "must be given for the kind grace, and for no other kind")

    @property
    def policy(self) -> Rotation:
        """The rotation policy for refreshes."""
        if self.grace is not None:
            return Rotation.grace(self.grace)
        return Rotation.non_rotating() if self.kind == "non_rotating" else Rotation.strict()


@frozen(field_transformer=checking)
class RevocationFacts:
    """How tokens are revoked at `revocation_url`, and what a revocation ends.

    Attributes:
        scope: what a revocation ends. ``grant``: the grant of the token (RFC 7009). ``user_and_client``: all grants of
            the user for this client.
        token: the member of the request that holds the token to revoke.
        hint: whether the request has the member ``token_type_hint``.
        format: ``form`` (RFC 7009) or ``json``.
    """

    scope: RevocationScope = field(default=RevocationScope.GRANT, metadata=by(_scope))
    token: str = field(default="token", metadata=by(checks.member))
    hint: bool = field(default=True, metadata=by(checks.flag))
    format: str = field(default="form", metadata=by(checks.one_of("form", "json")))


@frozen(field_transformer=checking)
class Limits:
    """How many token requests a provider accepts.

    Attributes:
        requests: the number of token requests that the provider accepts within the time `per`, or None.
        per: the time within which `requests` are counted, or None.
        counted: whose requests are counted together. ``client``: those of a client id, for all of its accounts.
            ``account``: those of one account.
        concurrency: the number of requests that the provider accepts from a client at the same time, or None. Each
            process keeps to this number for its own requests.
    """

    requests: int | None = field(default=None, metadata=by(checks.optional(checks.whole(1, 1_000_000))))
    per: timedelta | None = field(default=None, metadata=by(checks.optional(checks.duration)))
    counted: str = field(default="client", metadata=by(checks.one_of("client", "account")))
    concurrency: int | None = field(default=None, metadata=by(checks.optional(checks.whole(1, 1000))))

    @property
    def request_limit(self) -> RequestLimit | None:
        """The request limit for refreshes, or None."""
        if self.requests is None or self.per is None:
            return None
        return RequestLimit(self.requests, self.per, self.counted)

    def __attrs_post_init__(self) -> None:
        if (self.requests is None) != (self.per is None):
            raise refused("requests", "must be given together with per")


@frozen(field_transformer=checking)
class AuthorizationFacts:
    """How a user's consent is asked for at `authorization_url`.

    Attributes:
        pkce: whether the provider accepts PKCE with S256: ``supported``, ``required`` or ``unsupported``. A
            `Connector` uses PKCE unless it is ``unsupported``.
        scopes: scopes that a `Connector` requests besides the host's, because without them the provider gives no
            refresh token (``offline_access``) or does not tell which account was connected (``openid``).
        scopes_parameter: the parameter of the authorization request that holds the scopes.
        scope_separator: the text between two scopes.
        parameters: further parameters of the authorization request (``access_type = "offline"``). Their values may hold
            the profile's variables in braces.
        exchange: further members of the request that exchanges the authorization code. Their values may hold the
            profile's variables in braces.
        iss: whether the provider always sends ``iss`` in the callback (RFC 9207).
        nonce: whether the provider's id_tokens hold the nonce of the request.
        dpop: whether the provider binds tokens to a key of the account (DPoP, RFC 9449). A `Connector` then makes a key
            for each account, and refuses tokens that are not bound to it.
        hmac: the parameter of the callback that holds an HMAC-SHA256 of the other parameters under the client secret
            (Shopify), or None. A callback without it, or with another, is refused.
    """

    pkce: str = field(default="supported", metadata=by(checks.one_of("supported", "required", "unsupported")))
    scopes: tuple[str, ...] = field(default=(), metadata=by(checks.items(checks.text)))
    scopes_parameter: str = field(default="scope", metadata=by(checks.member))
    scope_separator: str = field(default=" ", metadata=by(checks.text))
    parameters: dict[str, str] = field(factory=dict, metadata=by(checked_parameters))
    exchange: dict[str, str] = field(factory=dict, metadata=by(checked_parameters))
    iss: bool = field(default=False, metadata=by(checks.flag))
    nonce: bool = field(default=True, metadata=by(checks.flag))
    dpop: bool = field(default=False, metadata=by(checks.flag))
    hmac: str | None = field(default=None, metadata=by(checks.optional(checks.member)))


SOURCES = ("id_token", "userinfo", "answer", "further", "callback", "variable")


@frozen(field_transformer=checking)
class Further:
    """One further request after the exchange of a code, with the access token. Its answer is a source of `Place`.

    Attributes:
        url: the URL of the request; it may hold the profile's variables in braces.
        body: the JSON of the request's body, such as a GraphQL query; the request is then a POST. None: it is a GET.
    """

    url: str = field(metadata=by(url))
    body: str | None = field(default=None, metadata=by(checks.optional(checks.json_object)))


@frozen(field_transformer=checking)
class Place:
    """Where the provider states a text about the connected account.

    Attributes:
        source: ``id_token`` (a claim), ``userinfo`` (a member of the answer of `userinfo_url`), ``answer`` (of the
            token endpoint's answer) or ``further`` (of the answer to the further request); ``callback`` (a parameter
            of the callback, which proves nothing, unless the profile has `AuthorizationFacts.hmac`), or ``variable``
            (the value of a variable of `token_url`, which the exchange of the code proves).
        member: the claim, the path of the member, the parameter or the variable; see
            `vault_adapters.providers.members`.
        otherwise: the claims or members to read instead if there is no ``member``; the first that there is counts.
        within: for an identifier that is unique within a group only, such as a user of a team: the claims or members
            that name the group. The first that there is counts, and is put before the identifier. ``callback.NAME``
            is a parameter of the callback; it proves nothing, so only the identifier behind it does.
        collides: whether different accounts are known to have the same identifier. A `Connector` then refuses the
            profile unless it has `within`, which distinguishes them.
    """

    source: str = field(metadata=by(checks.one_of(*SOURCES)))
    member: str = field(metadata=by(checks.path))
    otherwise: tuple[str, ...] = field(default=(), metadata=by(checks.items(checks.path)))
    within: tuple[str, ...] = field(default=(), metadata=by(checks.items(checks.path)))
    collides: bool = field(default=False, metadata=by(checks.flag))


def kept(key: str, value: object) -> Place:
    """Check where a member to keep is: the source and the path, joined by a dot, as in ``userinfo.accounts.0.id``."""
    if isinstance(value, Place):
        return value
    source, _, member = checks.text(key, value).partition(".")
    return Place(source=checks.one_of(*SOURCES)(key, source), member=checks.path(key, member))
