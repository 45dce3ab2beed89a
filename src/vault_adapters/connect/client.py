"""`Client`: a provider's profile, and the id and the secret or key of the host's OAuth client there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from attrs import field, frozen

from vault_adapters.connect.asking import unavailable
from vault_adapters.providers.client_auth import AuthMethod
from vault_adapters.providers.profiled import Discovering
from vault_adapters.providers.profiles.profile import Profile
from vault_adapters.providers.profiles.templates import in_host
from vault_adapters.providers.signing_key import SigningKey
from vault_domain.entities.causes import VARIABLE_REFUSED
from vault_domain.entities.errors import ConfigurationError, IdentityRefusedError, InvalidInputError
from vault_domain.entities.secret import Secret
from vault_domain.entities.text import INTERNAL_PROVIDERS, as_provider

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient


@runtime_checkable
class MadeOfProfile(Protocol):
    """A refresher that was made from a profile by `vault_adapters.providers.refresher`."""

    @property
    def profile(self) -> Profile:
        """The provider's profile."""

    @property
    def client_id(self) -> str:
        """The client id registered with the provider."""

    @property
    def client_secret(self) -> Secret | None:
        """The client secret; None for a public client."""

    @property
    def auth_method(self) -> AuthMethod:
        """How the client authenticates."""

    @property
    def signing_key(self) -> SigningKey | None:
        """The client's key for ``private_key_jwt``, or None."""

    @property
    def audience(self) -> str | None:
        """The ``aud`` of the client's JWT; None: the token endpoint's URL."""

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes that the host asks for."""

    @property
    def fixed(self) -> Mapping[str, str]:
        """Values of variables in the profile's URLs, hosts and parameters; all accounts share these values."""

    @property
    def dpop(self) -> bool:
        """Whether each account gets a key that its tokens are bound to (DPoP, RFC 9449)."""

    @property
    def private_addresses(self) -> bool:
        """Whether a host that an account chose may have a private address."""

    @property
    def client(self) -> HttpClient | None:
        """The given HTTP client, or None."""


@frozen
class Client:
    """A provider, and this host's client there.

    Attributes:
        name: the provider's name in the vault.
        made_of: the refresher that the host gave.
        begins_at: names the URL of the profile at which a connection begins.
    """

    name: str
    made_of: MadeOfProfile = field(repr=False)
    begins_at: str = "authorization_url"

    @property
    def is_discovered(self) -> bool:
        """Whether the facts of the provider are known."""
        return not isinstance(self.made_of, Discovering)

    async def discovered(self) -> Client:
        """Return the client with the facts of its provider, which is asked if they are not known.

        Raises:
            ConnectError: the provider does not answer (code ``provider_unavailable``).
            ConfigurationError: what it publishes cannot be used, or lacks facts that connecting needs.
        """
        made_of = self.made_of
        if not isinstance(made_of, Discovering):
            return self
        outage = None
        try:
            found = await made_of.discovered()
        except ConfigurationError as error:
            if not error.retryable:
                raise
            outage = error.reason
        else:
            return _as_client(self.name, found, self.begins_at)
        raise unavailable(outage)

    @property
    def profile(self) -> Profile:
        """The provider's profile."""
        return self.made_of.profile

    def url(self, key: str, values: Mapping[str, str]) -> str | None:
        """Return a URL of the profile with its variables replaced; None if the profile has no such URL.

        Args:
            key: names the URL, such as ``token_url``.
            values: the values of the account's own variables.
        """
        template = getattr(self.profile, key)
        return None if template is None else self.profile.filled(template, self.values(values))

    def values(self, own: Mapping[str, str]) -> dict[str, str]:
        """Return the values of all variables; an account's own value overrides a shared one (`MadeOfProfile.fixed`).

        Raises:
            InvalidInputError: the profile or the host service refuses an account's own value.
        """
        if (problem := self.profile.refusal(own)) is not None:
            raise InvalidInputError(problem, code=VARIABLE_REFUSED)
        return {**self.made_of.fixed, **own}

    def public(self, template: str, own: Mapping[str, str]) -> bool:
        """Return whether a URL must lead to a public address, because an account's own value is in its host's name."""
        chosen = self.profile.chosen(own, self.made_of.fixed)
        return not self.made_of.private_addresses and not chosen.isdisjoint(in_host(template))

    def instance(self, own: Mapping[str, str]) -> tuple[str, ...]:
        """Return the values of all variables, which tell the instance of an account from others; () if it is shared.

        Two instances of a provider may give the same identifier to different users.

        Args:
            own: the values of the account's own variables. They make no instance of its own if they are the values that
                all accounts share: those of the host, or the profile's defaults.
        """
        place = self.profile.identifier
        # A variable that is the identifier itself is not put before it.
        itself = place.member if place is not None and place.source == "variable" else None
        variables = {name: each for name, each in self.profile.variables.items() if name != itself}
        shared = {name: self.made_of.fixed.get(name, variable.default) for name, variable in variables.items()}
        values = {name: own.get(name, value) for name, value in shared.items()}
        return () if values == shared else tuple(values[name] or "" for name in sorted(values))

    def told(self, callback: Mapping[str, str]) -> dict[str, str]:
        """Return the values of variables that the parameters of a callback state.

        Raises:
            IdentityRefusedError: a value is not one that the profile accepts, such as a server of somebody else.
        """
        found = {}
        for name, variable in self.profile.variables.items():
            value = callback.get(variable.callback or "", "").removeprefix("https://").rstrip("/")
            if not value:
                continue
            if not variable.admits(value):
                raise IdentityRefusedError(reason="callback")
            found[name] = value
        return found

    def own(self, extra: Mapping[str, str]) -> dict[str, str]:
        """Return the values of the profile's variables that are among an account's extra members."""
        return {name: extra[name] for name in self.profile.variables if name in extra}

    @property
    def uses_openid(self) -> bool:
        """Whether the identifier or the label is read from the id_token. Only then is the id_token checked."""
        return any(place.source == "id_token" for place in self.profile.places)


def as_clients(providers: object, begins_at: str = "authorization_url") -> dict[str, Client]:
    """Return a client for each of the host's providers, by the provider's name.

    Args:
        providers: maps names to refreshers.
        begins_at: names the URL of the profile at which a connection begins.

    Raises:
        ConfigurationError: there is no provider, or a provider's refresher lacks facts that connecting needs; the
            message names them.
        InvalidInputError: a provider's name is not valid.
    """
    if not isinstance(providers, Mapping) or not providers:
        raise ConfigurationError("providers must map names to refreshers made by vault_adapters.providers.refresher")
    if not INTERNAL_PROVIDERS.isdisjoint(providers):
        raise InvalidInputError(
            f"no provider may be named {', '.join(sorted(INTERNAL_PROVIDERS))}: the vault uses them"
        )
    return {as_provider(name): _as_client(as_provider(name), given, begins_at) for name, given in providers.items()}


def _as_client(name: str, given: object, begins_at: str) -> Client:
    if isinstance(given, Profile) or not isinstance(given, MadeOfProfile):
        raise ConfigurationError(
            f"{name}: pass refresher(profile, client_id, client_secret), because connecting needs profile and client"
        )
    profile = given.profile
    lacking = profile.lacking(begins_at)
    if profile.authorization.hmac is not None and given.client_secret is None:
        raise ConfigurationError(f"{name}: its callbacks are checked with the client secret, so pass client_secret")
    if profile.long_lived is not None and given.client_secret is None:
        raise ConfigurationError(f"{name}: its tokens are exchanged with the client secret, so pass client_secret")
    if lacking:
        raise ConfigurationError(f"{name}: its profile lacks {', '.join(lacking)}, so accounts cannot be connected")
    return Client(name, given, begins_at)


def provider_unknown(names: Iterable[str]) -> InvalidInputError:
    """Return the error for a provider that a connector does not have; it names those that the connector has."""
    return InvalidInputError(f"provider must be one of {', '.join(names)}", code="provider_unknown")
