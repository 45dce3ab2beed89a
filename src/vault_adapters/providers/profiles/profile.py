"""`Profile`: everything that the vault knows about one provider."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import date
from types import MappingProxyType
from typing import get_args

import attrs
from attrs import field, frozen

from vault_adapters.providers.client_auth import AuthMethod
from vault_adapters.providers.profiles import checks
from vault_adapters.providers.profiles.checks import by, checking, refused
from vault_adapters.providers.profiles.facts import (
    ApiFacts,
    AuthorizationFacts,
    ErrorMap,
    Further,
    Limits,
    Place,
    RevocationFacts,
    RotationFacts,
    kept,
)
from vault_adapters.providers.profiles.shapes import AnswerShape, LongLived, RequestShape
from vault_adapters.providers.profiles.templates import (
    Allows,
    Variable,
    deciding,
    filled,
    filled_host,
    host,
    names_in,
    url,
)
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.text import plain_text

CLIENT_AUTH = get_args(AuthMethod)
_page = checks.matching(
    r"https://[\x21-\x7e]{1,2000}|http://(localhost|127\.0\.0\.1|\[::1\])([:/][\x21-\x7e]{0,2000})?",
    "must be a page's address that begins with https:// (http is for loopback only)",
)
_VARIABLE = re.compile(r"[a-z][a-z0-9_]{0,63}")
# Arguments of `refresher`; variables are passed beside them, as further keyword arguments.
_ARGUMENTS = {
    "name_or_profile",
    "client_id",
    "client_secret",
    "scopes",
    "auth_method",
    "signing_key",
    "audience",
    "account_variables",
    "dpop",
    "client",
    "private_addresses",
}
_URLS = (
    *("token_url", "revocation_url", "authorization_url", "pushed_authorization_url", "device_authorization_url"),
    *("userinfo_url", "issuer"),
)
_ABOUT_FILE = {"name", "title", "docs", "checked", "unverified", "sources", "quirks", "variables"}


def _variable(key: str, value: object) -> Variable:
    if not _VARIABLE.fullmatch(own := key.rpartition(".")[2]) or own in _ARGUMENTS:
        raise refused(key, "the name of a variable must match [a-z][a-z0-9_]{0,63} and be no argument of refresher()")
    return checks.made(key, Variable, value)


@frozen(field_transformer=checking)
class Profile:
    """One provider's facts.

    URLs, API hosts and parameters may hold variables in braces. The host service or the account gives their values.

    Attributes:
        name: the provider's name, as in `Account.provider`.
        title: the name that people read.
        docs: pages of the provider's documentation. They are the source of every fact that neither `sources` nor
            `unverified` names.
        checked: the day on which the facts were compared with these pages.
        unverified: the names of the facts that are not from the provider's own pages. A name is a key (``limits``) or a
            key within a section (``rotation.idle``).
        sources: maps the name of a fact (see `unverified`) to the pages from which it comes, if these are not `docs`.
        quirks: sentences about surprising behaviour of the provider.
        token_url: the token endpoint; None if `request.grant` is ``none``.
        revocation_url: the revocation endpoint (RFC 7009), or None.
        authorization_url: the authorization endpoint, or None.
        pushed_authorization_url: the endpoint for pushed authorization requests (RFC 9126), or None. If there is one, a
            `Connector` sends each authorization request there, whether or not the provider requires it.
        device_authorization_url: the endpoint at which devices without a browser begin (RFC 8628), or None.
        userinfo_url: the endpoint that describes the user whose access token is sent to it, or None.
        issuer: the issuer's URL in OpenID Connect, or None.
        client_auth: the methods by which a client may authenticate, as RFC 7591 section 2 and OpenID Connect Core
            section 9 name them, and ``secret_as_user`` (see `OAuth2Refresher`). Unless the host chooses one,
            `refresher` takes the first that fits the client.
        api_hosts: the hosts to which access tokens may be sent; ``*.example.com`` stands for all hosts below
            ``example.com``. They may hold variables in braces, and names of `answer.extra` and `kept`, such as
            ``{instance_url}``, which stands for the host of this URL.
        api_domains: the domains to which API hosts that an extra member names must belong.
        variables: the variables in URLs, API hosts and parameters.
        request, answer, errors, rotation, revocation, limits, authorization: see their classes.
        identifier: where the provider states the account's identifier, or None.
        label: where the provider states the account's label, or None.
        api: how API requests carry the token.
        further: a further request when an account is connected, or None.
        long_lived: one more exchange of the access token when an account is connected, or None.
        kept: further texts to keep with the access token when an account is connected. It maps the name under which a
            host finds a text to the text's source and path (``userinfo.accounts.0.base_uri``). Those with the source
            ``callback`` pass through the browser, so they prove nothing.
    """

    name: str = field(metadata=by(checks.name))
    title: str = field(metadata=by(checks.text))
    docs: tuple[str, ...] = field(metadata=by(checks.items(_page, least=1)))
    checked: date = field(metadata=by(checks.day))
    unverified: tuple[str, ...] = field(default=(), metadata=by(checks.items(checks.text)))
    sources: dict[str, tuple[str, ...]] = field(factory=dict, metadata=by(checks.table(checks.items(_page, least=1))))
    quirks: tuple[str, ...] = field(default=(), metadata=by(checks.items(checks.text)))
    token_url: str | None = field(default=None, metadata=by(checks.optional(url)))
    revocation_url: str | None = field(default=None, metadata=by(checks.optional(url)))
    authorization_url: str | None = field(default=None, metadata=by(checks.optional(url)))
    pushed_authorization_url: str | None = field(default=None, metadata=by(checks.optional(url)))
    device_authorization_url: str | None = field(default=None, metadata=by(checks.optional(url)))
    userinfo_url: str | None = field(default=None, metadata=by(checks.optional(url)))
    issuer: str | None = field(default=None, metadata=by(checks.optional(url)))
    client_auth: tuple[str, ...] = field(
        default=("client_secret_basic",),
        metadata=by(checks.items(checks.one_of(*CLIENT_AUTH), least=1)),
    )
    api_hosts: tuple[str, ...] = field(default=(), metadata=by(checks.items(host)))
    api_domains: tuple[str, ...] = field(default=(), metadata=by(checks.items(host)))
    variables: dict[str, Variable] = field(factory=dict, metadata=by(checks.table(_variable)))
    request: RequestShape = field(factory=RequestShape, metadata=by(checks.section(RequestShape)))
    answer: AnswerShape = field(factory=AnswerShape, metadata=by(checks.section(AnswerShape)))
    errors: ErrorMap = field(factory=ErrorMap, metadata=by(checks.section(ErrorMap)))
    rotation: RotationFacts = field(factory=RotationFacts, metadata=by(checks.section(RotationFacts)))
    revocation: RevocationFacts = field(factory=RevocationFacts, metadata=by(checks.section(RevocationFacts)))
    limits: Limits = field(factory=Limits, metadata=by(checks.section(Limits)))
    authorization: AuthorizationFacts = field(
        factory=AuthorizationFacts, metadata=by(checks.section(AuthorizationFacts))
    )
    identifier: Place | None = field(default=None, metadata=by(checks.optional(checks.section(Place))))
    label: Place | None = field(default=None, metadata=by(checks.optional(checks.section(Place))))
    api: ApiFacts = field(factory=ApiFacts, metadata=by(checks.section(ApiFacts)))
    further: Further | None = field(default=None, metadata=by(checks.optional(checks.section(Further))))
    long_lived: LongLived | None = field(default=None, metadata=by(checks.optional(checks.section(LongLived))))
    kept: dict[str, Place] = field(factory=dict, metadata=by(checks.table(kept)))

    def __attrs_post_init__(self) -> None:
        if (self.token_url is None) != (self.request.grant == "none"):
            raise refused("token_url", "must be given, unless request.grant is none; then it must be left out")
        used = {variable for key, template in self._templates() for variable in self._declared(key, template)}
        # A callback proves nothing, so it must not choose who gets the token.
        proven = {name for name, place in self.kept.items() if place.source != "callback"} | set(self.answer.extra)
        for template in self.api_hosts:
            used.update(self._declared("api_hosts", template, proven))
        for variable in self.variables:
            if variable not in used:
                raise refused(f"variables.{variable}", "is not used in any URL, host or parameter")
        self._check_sources()
        self._check_domains()
        known = fact_names()
        for key, named in (("unverified", self.unverified), ("sources", tuple(self.sources))):
            for fact in named:
                if fact not in known:
                    raise refused(f"{key}.{fact}", "is not the key of a fact")

    @property
    def places(self) -> tuple[Place, ...]:
        """All places where a `Connector` reads a text about an account."""
        return tuple(place for place in (self.identifier, self.label, *self.kept.values()) if place is not None)

    def lacking(self, begins_at: str = "authorization_url") -> list[str]:
        """Return what the profile lacks for connecting accounts at the URL that ``begins_at`` names."""
        lacking = [key for key in (begins_at, "token_url", "identifier") if getattr(self, key) is None]
        if any(place.source == "id_token" for place in self.places) and self.issuer is None:
            lacking.append("issuer")
        if self.identifier is not None and self.identifier.collides and not self.identifier.within:
            lacking.append("identifier.within (different accounts have the same identifier)")
        return lacking

    def _check_sources(self) -> None:
        for source, key, fact in (
            ("userinfo", "userinfo_url", self.userinfo_url),
            ("further", "further", self.further),
        ):
            if fact is None and any(place.source == source for place in self.places):
                raise refused(key, f"is missing, but identifier, label or kept has the source {source}")
        for place in self.places:
            if place.source == "variable" and place.member not in self.variables:
                raise refused("variables", "identifier, label or kept names an unknown variable")
        for name in self.kept:
            if name in self.variables or name in self.answer.extra:
                raise refused(f"kept.{name}", "must not be the name of a variable or of a member of answer.extra")
        itself = self.identifier
        if itself is not None and itself.source == "callback" and self.authorization.hmac is None:
            raise refused("identifier.source", "a callback proves nothing unless authorization.hmac is given")
        if itself is not None and itself.source == "variable" and itself.member not in names_in(self.token_url or ""):
            raise refused("identifier.member", "must be a variable of token_url, because its answer proves the value")

    def _check_domains(self) -> None:
        """Refuse a text that decides a registrable domain and is neither bounded nor declared."""
        urls = [template for _, template in self._templates() if "://" in template]
        for template in (*urls, *self.api_hosts):
            for name in deciding(template):
                if name not in self.variables:
                    if not self.api_domains:
                        raise refused("api_domains", f"is missing, but the extra member {name} decides an API host")
                elif not self.variables[name].free_host and not self.variables[name].is_bounded:
                    raise refused(
                        f"variables.{name}.free_host",
                        "must be true, because the pattern leaves every domain; or let the pattern end in the domain",
                    )

    def refusal(self, extra: Mapping[str, object], found: Mapping[str, object] = MappingProxyType({})) -> str | None:
        """Return why a profile's variable among an account's members is refused, without the value; None if it is not.

        A value that decides a domain must be one that the host service has listed, or the one that it has ``found`` for
        this account.
        """
        for name, variable in self.variables.items():
            text = plain_text(extra.get(name))
            is_named = name in found and variable.free_host
            if name in extra and (text is None or not (text == found[name] if is_named else variable.admits(text))):
                why = "is not one that the host service allows" if variable.free_host else "does not match its pattern"
                return f"the account's value of the variable {name} {why}"
        return None

    def chosen(self, own: Mapping[str, str], fixed: Mapping[str, object]) -> frozenset[str]:
        """Return the variables whose value is an account's own: neither the profile nor the host service names it."""
        return frozenset(
            name
            for name, variable in self.variables.items()
            if name in own and own[name] != fixed.get(name) and not variable.lists(own[name])
        )

    def admits(self, name: str, text: str) -> bool:
        """Return whether an extra member from elsewhere may be kept: it decides no domain that the profile refuses."""
        if self.refusal({name: text}) is not None:
            return False
        own = (each for each in self.api_hosts if name in deciding(each) and name not in self.variables)
        try:
            return all(filled_host(f"{{{name}}}", {}, {}, {name: text}, self.api_domains) for _ in own)
        except InvalidInputError:
            return False

    def limited(self, given: Mapping[str, tuple[str | Allows, ...]]) -> Profile:
        """Return the profile with the host service's values of variables that decide a domain."""
        own = {name: self.variables[name].limited_to(*given[name]) for name in given if self.variables[name].free_host}
        return attrs.evolve(self, variables={**self.variables, **own}) if own else self

    def url(self, key: str, values: Mapping[str, object]) -> str | None:
        """Return a URL of the profile with its variables replaced; None if the profile has no such URL.

        ``key`` names the URL, such as ``token_url``.

        Raises:
            InvalidInputError: a variable has no value or a wrong one; the error does not contain the value.
        """
        template = getattr(self, key)
        return None if template is None else self.filled(template, values)

    def filled(self, template: str, values: Mapping[str, object]) -> str:
        """Return a template of this profile with its variables replaced; see `url`."""
        return filled(template, self.variables, values)

    def parameters(self, given: Mapping[str, str], values: Mapping[str, object]) -> dict[str, str]:
        """Return parameters with their variables replaced; see `url`."""
        return {key: self.filled(template, values) for key, template in given.items()}

    def is_verified(self, fact: str) -> bool:
        """Return whether a fact, such as ``rotation.idle``, is from the provider's own pages."""
        return fact not in self.unverified and fact.partition(".")[0] not in self.unverified

    def sources_of(self, fact: str) -> tuple[str, ...]:
        """Return the pages that `sources` names for a fact, or else for the fact's section, or else `docs`."""
        return self.sources.get(fact) or self.sources.get(fact.partition(".")[0]) or self.docs

    def _templates(self) -> Iterator[tuple[str, str]]:
        for key in _URLS:
            if getattr(self, key) is not None:
                yield key, getattr(self, key)
        for key, section in (("further", self.further), ("request", self.request), ("long_lived", self.long_lived)):
            if section is not None and section.url is not None:
                yield f"{key}.url", section.url
        for key, given in (
            ("request.extra", self.request.extra),
            ("authorization.parameters", self.authorization.parameters),
            ("authorization.exchange", self.authorization.exchange),
        ):
            yield from ((f"{key}.{member}", template) for member, template in given.items())

    def _declared(self, key: str, template: str, others: Collection[str] = ()) -> list[str]:
        for variable in names_in(template):
            if variable not in self.variables and variable not in others:
                raise refused(key, f"the variable {variable} is not in variables")
        return names_in(template)


def fact_names() -> frozenset[str]:
    """Return the names of all facts: each key of a profile, and each key within a section."""
    sections = {
        "request": RequestShape,
        "answer": AnswerShape,
        "errors": ErrorMap,
        "rotation": RotationFacts,
        "revocation": RevocationFacts,
        "limits": Limits,
        "authorization": AuthorizationFacts,
        "identifier": Place,
        "label": Place,
        "further": Further,
        "long_lived": LongLived,
        "api": ApiFacts,
    }
    top = {item.name for item in attrs.fields(Profile)} - _ABOUT_FILE
    return frozenset(top | {f"{key}.{item.name}" for key, cls in sections.items() for item in attrs.fields(cls)})
