"""What a provider's errors mean, what it does to tokens, and what it allows."""

from __future__ import annotations

import re
from datetime import timedelta

from attrs import field, frozen

from vault_adapters.providers.profiles import checks
from vault_adapters.providers.profiles.checks import by, checking, refused
from vault_adapters.providers.profiles.shapes import checked_parameters
from vault_domain.entities.request_limit import RequestLimit
from vault_domain.entities.rotation_policy import RevocationScope, Rotation

MEANINGS = ("grant_dead", "client_refused", "user_needed", "not_now", "unknown")
# A provider's own code, compared and never stored; a number is compared as its digits.
_code = checks.matching(r"[\x21-\x7e][\x20-\x7e]{0,127}", "must be a printable ASCII text of 1 to 128 characters")


def _scope(key: str, value: object) -> RevocationScope:
    return RevocationScope(checks.one_of(*RevocationScope)(key, value))


def _search(key: str, value: object) -> re.Pattern[str]:
    return re.compile(checks.pattern(key, value).pattern, re.IGNORECASE)


@frozen(field_transformer=checking)
class ErrorRule:
    """What an error means; all of code, status and message that are given must fit.

    Attributes:
        means: ``grant_dead``: the user must connect again. ``client_refused``: the client id or secret is wrong, and
            no grant is at fault. ``user_needed``: the user must act at the provider. ``not_now``: nothing was done,
            try later. ``unknown``: the request may have been carried out.
        code: the error's code, exactly; a number as its digits.
        status: the HTTP status.
        message: a regular expression that is searched in the first 4096 characters of the message, without regard to
            case. The message is neither stored nor logged.

    Code and message are compared with answers whose body is read: those of the status 2xx, and 4xx without 429.
    """

    means: str = field(metadata=by(checks.one_of(*MEANINGS)))
    code: str | None = field(default=None, metadata=by(checks.optional(_code)))
    status: int | None = field(default=None, metadata=by(checks.optional(checks.whole(200, 599))))
    message: re.Pattern[str] | None = field(default=None, metadata=by(checks.optional(_search)))

    def __attrs_post_init__(self) -> None:
        if self.code is None and self.status is None and self.message is None:
            raise refused("means", "needs a code, a status or a message to compare")
        if self.status is not None and self.status < 400 and self.code is None and self.message is None:
            raise refused("status", "of a success or a redirect needs a code or a message")

    def fits(self, code: str | None, status: int, message: str | None) -> bool:
        """Return whether an error fits; None stands for a part that the answer does not have."""
        return (
            self.code in (None, code)
            and self.status in (None, status)
            and (self.message is None or (message is not None and bool(self.message.search(message))))
        )


@frozen(field_transformer=checking)
class ErrorMap:
    """Which errors a provider sends. The first rule that fits decides; else the registered OAuth codes do.

    Attributes:
        code: the member that holds the code.
        message: the member that holds the message.
        rules: the provider's own errors.
    """

    code: str = field(default="error", metadata=by(checks.member))
    message: str = field(default="error_description", metadata=by(checks.member))
    rules: tuple[ErrorRule, ...] = field(default=(), metadata=by(checks.items(checks.section(ErrorRule))))


@frozen(field_transformer=checking)
class RotationFacts:
    """What a refresh does to the tokens.

    Attributes:
        kind: ``strict``: a refresh token works once. ``grace``: it works for a while after its first use.
            ``non_rotating``: it stays the same.
        grace: how long a used refresh token still works (kind ``grace``).
        old_token_dies: whether a refresh ends the old access token at once.
        idle: the time after which a refresh token that is not used lapses, or None.
        absolute: the longest life of a grant or a refresh token, however it is used, or None.
    """

    kind: str = field(default="strict", metadata=by(checks.one_of("strict", "grace", "non_rotating")))
    grace: timedelta | None = field(default=None, metadata=by(checks.optional(checks.duration)))
    old_token_dies: bool = field(default=False, metadata=by(checks.flag))
    idle: timedelta | None = field(default=None, metadata=by(checks.optional(checks.duration)))
    absolute: timedelta | None = field(default=None, metadata=by(checks.optional(checks.duration)))

    def __attrs_post_init__(self) -> None:
        if (self.grace is not None) != (self.kind == "grace"):
            raise refused("grace", "must be given for the kind grace, and for no other")

    @property
    def policy(self) -> Rotation:
        """The rotation policy that refreshes follow."""
        if self.grace is not None:
            return Rotation.grace(self.grace)
        return Rotation.strict() if self.kind == "strict" else Rotation.non_rotating()


@frozen(field_transformer=checking)
class RevocationFacts:
    """How tokens are revoked at `revocation_url`, and what a revocation ends.

    Attributes:
        scope: ``grant`` (RFC 7009), or ``user_and_client``: all grants of the user for this client.
        token: the member that holds the token to revoke.
        hint: whether ``token_type_hint`` is sent.
    """

    scope: RevocationScope = field(default=RevocationScope.GRANT, metadata=by(_scope))
    token: str = field(default="token", metadata=by(checks.member))
    hint: bool = field(default=True, metadata=by(checks.flag))


@frozen(field_transformer=checking)
class Limits:
    """How many token requests a provider accepts.

    Attributes:
        requests: the number of token requests within `per`, or None.
        per: the time, or None.
        counted: whose requests are counted together. ``client``: those of a client id, for all of its accounts.
            ``account``: those of one account.
        concurrency: the number of requests of a client at the same time, or None.
    """

    requests: int | None = field(default=None, metadata=by(checks.optional(checks.whole(1, 1_000_000))))
    per: timedelta | None = field(default=None, metadata=by(checks.optional(checks.duration)))
    counted: str = field(default="client", metadata=by(checks.one_of("client", "account")))
    concurrency: int | None = field(default=None, metadata=by(checks.optional(checks.whole(1, 1000))))

    @property
    def request_limit(self) -> RequestLimit | None:
        """The limit that refreshes keep, or None."""
        if self.requests is None or self.per is None:
            return None
        return RequestLimit(self.requests, self.per, self.counted)

    def __attrs_post_init__(self) -> None:
        if (self.requests is None) != (self.per is None):
            raise refused("requests", "and per must be given together")


@frozen(field_transformer=checking)
class AuthorizationFacts:
    """How a user's consent is asked for at `authorization_url`.

    Attributes:
        pkce: whether the provider accepts PKCE with S256: ``supported``, ``required`` or ``unsupported``. A client
            sends it unless it is unsupported.
        scopes: the scopes that are needed to keep an account or to tell it apart (``offline_access``, ``openid``).
        scopes_parameter: the parameter that holds the scopes.
        scope_separator: the text between two scopes.
        parameters: further parameters (``access_type = "offline"``), whose values may hold variables.
        exchange: further members of the request that exchanges the code.
        iss: whether the callback holds ``iss`` (RFC 9207).
    """

    pkce: str = field(default="supported", metadata=by(checks.one_of("supported", "required", "unsupported")))
    scopes: tuple[str, ...] = field(default=(), metadata=by(checks.items(checks.text)))
    scopes_parameter: str = field(default="scope", metadata=by(checks.member))
    scope_separator: str = field(default=" ", metadata=by(checks.text))
    parameters: dict[str, str] = field(factory=dict, metadata=by(checked_parameters))
    exchange: dict[str, str] = field(factory=dict, metadata=by(checked_parameters))
    iss: bool = field(default=False, metadata=by(checks.flag))


SOURCES = ("id_token", "userinfo", "answer")


@frozen(field_transformer=checking)
class Place:
    """Where a text about the connected account is found.

    Attributes:
        source: ``id_token`` (a claim), ``userinfo`` (a member of the answer of `userinfo_url`) or ``answer`` (a member
            of the token endpoint's answer).
        member: the claim or member; dots join the names of nested members.
    """

    source: str = field(metadata=by(checks.one_of(*SOURCES)))
    member: str = field(metadata=by(checks.member))
